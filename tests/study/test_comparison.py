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
    assert comparison.versus(found, "stride").endswith("(no common seed finished)")
    assert row["seconds_ratio"]["mean"] is None
    assert comparison.share(found, "stride") == "100% of the parameters and 100% of the multiply-accumulates"
    assert comparison.verdict(found, "max pooling") == "Not to be told apart from max pooling: stride."
    assert "-" in comparison.table(found)
    json.dumps(found, allow_nan=False)


def test_one_seed_has_a_mean_and_no_interval():
    found = compare({"max": [0.98], "stride": [0.96]})
    assert comparison.accuracy(found, "stride") == "96.00 % (n=1)"
    assert comparison.versus(found, "stride") == "2.00 points less"
    assert comparison.share(found, "stride").endswith("and 100% of the training time (1 timing)")


@pytest.mark.parametrize(
    "mean, low, high, words",
    [
        (-0.011, -0.0125, -0.0096, "1.10 points less (95% interval 0.96 to 1.25, p = 0.03)"),
        (0.011, 0.0096, 0.0125, "1.10 points more (95% interval 0.96 to 1.25, p = 0.03)"),
        (0.0004, -0.0011, 0.0019, "0.04 points more (95% interval -0.11 to 0.19, p = 0.03)"),
        (-0.0004, -0.0019, 0.0011, "0.04 points less (95% interval -0.11 to 0.19, p = 0.03)"),
        (-0.00004, -0.00004, 0.001, "0.00 points apart (95% interval 0.00 to 0.10, p = 0.03)"),
        (0.00004, -0.0018, 0.0017, "0.00 points apart (95% interval -0.18 to 0.17, p = 0.03)"),
        (-0.01, -0.02, 0.00004, "1.00 points less (95% interval 0.00 to 2.00, p = 0.03)"),
    ],
)
def test_the_interval_has_the_sign_of_the_words(mean, low, high, words):
    row = {"pooling": "stride", "difference": {"mean": mean, "low": low, "high": high, "p_adjusted": 0.03}}
    assert comparison.versus({"by": "pooling", "variants": [row]}, "stride") == words


def test_time_is_compared_seed_by_seed():
    trials = results({"max": [*MAX, 0.9], "stride": [*STRIDE, 0.9]}).sort_values("seed", kind="stable")
    trials["train_seconds"] = [10.0, 5.0, 20.0, 12.0, 40.0, 28.0, 40.0, 28.0]  # max and stride; the last two together
    found = comparison.compare(trials, by="pooling", reference="max")
    assert found["variants"][0]["seconds_ratio"] is None
    low, high = stats.t.interval(0.95, 2, loc=0.6, scale=stats.sem([0.5, 0.6, 0.7]))
    wanted = {"n": 3, "mean": 0.6, "std": 0.1, "low": low, "high": high}
    assert found["variants"][1]["seconds_ratio"] == pytest.approx(wanted)
    assert comparison.share(found, "stride") == (
        "100% of the parameters, 100% of the multiply-accumulates and 60% of the training time "
        f"(95% interval {100 * low:.0f} to {100 * high:.0f}, 3 timings)"
    )


def test_the_verdict_names_every_variant_on_its_side():
    better = [value + 0.005 for value in MAX]
    better[0] += 0.0001  # else the difference has no variance
    found = compare({"max": MAX, "stride": [0.5, 0.49, 0.5], "average": [0.981, 0.969, 0.99], "wide": better})
    assert comparison.verdict(found, "max pooling") == (
        "Worse than max pooling: stride; not to be told apart from max pooling: average; better than max pooling: wide."
    )


def test_differences_that_are_written_as_0_have_no_sign():
    text = comparison.table(compare({"max": MAX, "average": [value - 0.00001 for value in MAX]}))
    assert "0.00" in text and "-0.00" not in text


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
