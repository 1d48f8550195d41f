"""Comparisons against hand arithmetic and SciPy."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from cnn.study import comparison
from cnn.study.statistics import Estimate
from tests.study.trials import MAX, STRIDE, compared_pooling, row


def detectable_by_hand(differences, tests):
    """The true difference that four of five paired t-tests find, searched on a fine grid of effects."""
    count = len(differences)
    critical = stats.t.ppf(1 - 0.025 / tests, count - 1)
    effects = np.linspace(0, 50, 200_001)
    with np.errstate(divide="ignore"):  # as in the library
        found = stats.nct.sf(critical, count - 1, effects * math.sqrt(count))
    return effects[np.argmax(found >= 0.8)] * np.std(differences, ddof=1)


def test_differences_are_paired_by_seed():
    poolings = compared_pooling({"max": MAX, "stride": STRIDE})
    reference, stride = poolings.to_json()["variants"]
    assert reference["difference"] is None and reference["pooling"] == "max"
    difference = np.array(STRIDE) - np.array(MAX)
    low, high = stats.t.interval(0.95, 2, loc=difference.mean(), scale=stats.sem(difference))
    wanted = {"n": 3, "mean": difference.mean(), "std": difference.std(ddof=1), "low": low, "high": high}
    wanted["p_adjusted"] = stats.ttest_rel(STRIDE, MAX).pvalue
    wanted["detectable_difference"] = detectable_by_hand(difference, tests=1)
    assert stride["difference"] == pytest.approx(wanted, rel=1e-4)
    assert stride["measured"]["test_accuracy"]["mean"] == pytest.approx(np.mean(STRIDE))
    json.dumps(poolings.to_json(), allow_nan=False)


def test_p_values_are_adjusted_for_the_number_of_variants():
    alone = compared_pooling({"max": MAX, "stride": STRIDE})["stride"].p_adjusted
    both = compared_pooling({"max": MAX, "stride": STRIDE, "average": [0.9801, 0.9699, 0.9902]})
    assert both["stride"].p_adjusted == pytest.approx(2 * alone)


def test_p_values_of_one_family_are_adjusted_for_all_of_its_comparisons():
    # Two seeds: p = 1 - 2 atan(t) / pi. Differences 6 and 7: t = 13, p = 0.04888; 0 and 1: t = 1, p = 0.5.
    alone = compared_pooling({"max": [0.9, 0.9], "stride": [0.96, 0.97]})
    beside = compared_pooling({"max": [0.9, 0.9], "average": [0.9, 0.91]})
    p = 1 - 2 * math.atan(13) / math.pi
    assert alone["stride"].p_adjusted == pytest.approx(p) and p < 0.05
    together = comparison.in_one_family(alone, beside)
    assert together[0]["stride"].p_adjusted == pytest.approx(2 * p)  # Holm's first step of two tests
    assert together[1]["average"].p_adjusted == pytest.approx(0.5)
    assert together[0]["stride"].difference == alone["stride"].difference
    differences = np.subtract([0.96, 0.97], [0.9, 0.9])
    assert alone["stride"].detectable == pytest.approx(detectable_by_hand(differences, 1), rel=1e-3)
    assert together[0]["stride"].detectable == pytest.approx(detectable_by_hand(differences, 2), rel=1e-3)
    assert together[0]["max"].p_adjusted is None


def test_a_comparison_without_a_test_adds_none_to_its_family():
    alone = compared_pooling({"max": MAX, "stride": STRIDE})
    first, untested = comparison.in_one_family(alone, compared_pooling({"max": MAX, "average": [0.9]}))
    assert first == alone and untested["average"].p_adjusted is None


def test_only_common_seeds_are_compared_and_the_unfinished_are_counted():
    poolings = compared_pooling({"max": MAX, "stride": [0.95, None, 0.95]})
    stride = poolings["stride"]
    assert stride.difference.n == 2 and stride.summary.diverged == 1 and stride.summary.tried == 3
    assert stride.difference.mean == pytest.approx(0.95 - 0.985)


@pytest.mark.parametrize("other", [[None, None, None], [None, 0.9]])
def test_what_is_unknown_stays_unknown(other):
    poolings = compared_pooling({"max": [0.9, None], "stride": other})
    stride = poolings["stride"]
    assert stride.difference.mean is None and stride.p_adjusted is None
    assert stride.seconds_ratio.mean is None
    json.dumps(poolings.to_json(), allow_nan=False)


def test_time_is_compared_seed_by_seed():
    # max and stride; the last two seeds trained together
    seconds = {"max": [10.0, 20.0, 40.0, 40.0], "stride": [5.0, 12.0, 28.0, 28.0]}
    rows = [row(blocks=name, seed=seed, test=0.9, seconds=seconds[name][seed]) for seed in range(4) for name in seconds]
    poolings = comparison.compare(rows, column="pooling", reference="max")
    assert poolings["max"].seconds_ratio is None
    logs = np.log([0.5, 0.6, 0.7])  # on a scale where half and twice are equally far from 1
    low, high = np.exp(stats.t.interval(0.95, 2, loc=logs.mean(), scale=stats.sem(logs)))
    wanted = {"n": 3, "mean": np.cbrt(0.5 * 0.6 * 0.7), "std": logs.std(ddof=1), "low": low, "high": high}
    assert poolings["stride"].seconds_ratio.to_json() == pytest.approx(wanted)


def test_other_measurements_have_a_mean_each():
    moved = {"max": [0.5, 0.6, 0.7], "stride": [0.4, 0.4, 0.4]}
    rows = [
        row(blocks=name, seed=seed, test=value, moved_1=moved[name][seed])
        for name, values in {"max": MAX, "stride": STRIDE}.items()
        for seed, value in enumerate(values)
    ]
    poolings = comparison.compare(rows, column="pooling", reference="max", others=("moved_1",))
    assert poolings["max"].measured["moved_1"].mean == pytest.approx(0.6)
    stride = poolings["stride"].measured["moved_1"]
    assert stride == Estimate(3, stride.mean, 0.0, None, None) and stride.mean == pytest.approx(0.4)


def test_variants_that_are_words_keep_their_order():
    poolings = compared_pooling({"max": [0.97, 0.97], "average": [0.97, 0.97]})
    assert [each.name for each in poolings.variants] == ["max", "average"]
    assert [each.name for each in poolings.others] == ["average"]


def test_a_metric_may_be_anything_measured():
    rows = [row(blocks=name, seed=0, test=0.9, test_error=0.1 * place) for place, name in enumerate(("a", "b"))]
    models = comparison.compare(rows, column="model", reference="a", metric="test_error")
    assert models["b"].difference.mean == pytest.approx(0.1) and models.metric == "test_error"


def test_the_answer_names_experiment_and_data():
    poolings = compared_pooling({"max": MAX, "stride": STRIDE})
    values = comparison.ComparisonAnswer(
        "downsampling", "mnist", poolings, "So it is.", (1e-3, 3e-3), {"again": poolings}
    ).to_json()
    assert list(values) == [
        "experiment", "dataset", "learning_rates", "by", "reference", "metric", "variants", "again", "sentence",
    ]  # fmt: skip
    assert values["again"] == poolings.to_json() and values["by"] == "pooling"
    with pytest.raises(KeyError, match="average"):
        poolings["average"]
