import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cnn.study import comparison

MAX, STRIDE = [0.98, 0.97, 0.99], [0.95, 0.96, 0.95]


def results(accuracies, **columns):
    rows = [
        {
            "phase": "compare",
            "pooling": name,
            "learning_rate": 1e-3,
            "seed": seed,
            "status": "done" if value is not None else "diverged",
            "parameters": 10,
            "macs": 1000,
            "train_seconds": 2.0,
            "val_accuracy": 0.9,
            "test_accuracy": value,
            **{column: values[name][seed] for column, values in columns.items()},
        }
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows).astype({"test_accuracy": float})


def compare(accuracies, **options):
    return comparison.compare(results(accuracies), by="pooling", reference="max", **options)


def test_differences_are_paired_by_seed():
    found = compare({"max": MAX, "stride": STRIDE})
    reference, stride = found["variants"]
    assert reference["difference"] is None and reference["pooling"] == "max"
    difference = np.array(STRIDE) - np.array(MAX)
    low, high = stats.t.interval(0.95, 2, loc=difference.mean(), scale=stats.sem(difference))
    wanted = {"n": 3, "mean": difference.mean(), "std": difference.std(ddof=1), "low": low, "high": high}
    wanted["p_adjusted"] = stats.ttest_rel(STRIDE, MAX).pvalue
    assert stride["difference"] == pytest.approx(wanted)
    assert stride["measured"]["test_accuracy"]["mean"] == pytest.approx(np.mean(STRIDE))
    json.dumps(found, allow_nan=False)


def test_p_values_are_adjusted_for_the_number_of_variants():
    alone = compare({"max": MAX, "stride": STRIDE})["variants"][1]["difference"]["p_adjusted"]
    both = compare({"max": MAX, "stride": STRIDE, "average": [0.9801, 0.9699, 0.9902]})["variants"]
    assert both[1]["difference"]["p_adjusted"] == pytest.approx(2 * alone)


def test_only_common_seeds_are_compared_and_the_unfinished_are_counted():
    found = compare({"max": MAX, "stride": [0.95, None, 0.95]})
    row = found["variants"][1]
    assert row["difference"]["n"] == 2 and row["diverged"] == 1
    assert row["difference"]["mean"] == pytest.approx(0.95 - 0.985)
    assert "| 2 of 3 |" in " ".join(comparison.table(found).split())


@pytest.mark.parametrize("other", [[None, None, None], [None, 0.9]])
def test_what_is_unknown_stays_unknown(other):
    found = compare({"max": [0.9, None], "stride": other})
    row = found["variants"][1]
    assert row["difference"]["mean"] is None and row["difference"]["p_adjusted"] is None
    assert comparison.versus(found, "stride") == "nothing to compare: no common seed finished"
    assert "-" in comparison.table(found)
    json.dumps(found, allow_nan=False)


def test_one_seed_has_a_mean_and_no_interval():
    found = compare({"max": [0.98], "stride": [0.96]})
    assert comparison.accuracy(found, "stride") == "96.00 % (n=1)"
    assert comparison.versus(found, "stride") == "2.00 points less than max"


def test_other_measurements_have_a_column_each():
    moved = {"max": [0.5, 0.6, 0.7], "stride": [0.4, 0.4, 0.4]}
    rows = results({"max": MAX, "stride": STRIDE}, moved_1=moved)
    found = comparison.compare(rows, by="pooling", reference="max", others=("moved_1",))
    assert found["variants"][0]["measured"]["moved_1"]["mean"] == pytest.approx(0.6)
    assert found["variants"][1]["measured"]["moved_1"] == {
        "n": 3,
        "mean": pytest.approx(0.4),
        "std": 0.0,
        "low": None,
        "high": None,
    }
    head = comparison.table(found, {"test_accuracy": "as it is %", "moved_1": "moved %"}).splitlines()[0]
    assert "as it is %" in head and "moved %" in head
