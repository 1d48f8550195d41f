"""The charts of a comparison: a mark for each number, whatever has finished."""

import pytest

from cnn.show.comparison_charts import Lines, along, by_variant, differences
from cnn.study.comparison import compare
from tests.show.test_comparison import COMPARED
from tests.show.trials import trials


def compared(accuracies):
    rows = trials(accuracies)
    return compare(rows, column="pooling", reference=next(iter(accuracies)), others=("moved_1",)), rows


def values(chart, layer):
    return chart.spec["layer"][layer]["data"]["values"]


@pytest.mark.parametrize("accuracies", COMPARED.values(), ids=COMPARED)
def test_every_number_has_its_mark(accuracies):
    poolings, rows = compared(accuracies)
    done = [value for own in accuracies.values() for value in own if value is not None]
    chart = by_variant(poolings, rows, "test_accuracy", "test accuracy", {"a line": 0.5})
    assert [each["value"] for each in values(chart, 0)] == pytest.approx([100 * value for value in done])
    known = [variant for variant in poolings.variants if variant.summary.n]
    assert [each["value"] for each in values(chart, 2)] == pytest.approx(
        [100 * variant.measured["test_accuracy"].mean for variant in known], abs=1e-3
    )
    assert [each["name"] for each in values(chart, 5)] == ["a line"]
    lines = along(poolings, Lines({0: "test_accuracy", 1: "moved_1"}, "pixels"))
    assert len(values(lines, 2)) == 2 * len(known)


def test_differences_have_the_colour_of_their_side():
    accuracies = {"max": [0.9, 0.91, 0.92], "worse": [0.80, 0.811, 0.82], "alike": [0.9, 0.92, 0.91]}
    poolings, _ = compared(accuracies)
    chart = differences(poolings, "test accuracy")
    assert [each["colour"] for each in values(chart, 2)] == ["var(--bad)", "var(--ink)"]
    assert [each["value"] for each in values(chart, 2)] == pytest.approx([-9.96667, 0.0], abs=1e-3)


def test_of_an_error_less_is_better():
    poolings, _ = compared({"max": [0.1, 0.09, 0.08], "more": [0.20, 0.189, 0.18], "less": [0.01, 0.002, 0.0]})
    chart = differences(poolings, "test error", lower_is_better=True)
    colours = {each["variant"]: each["colour"] for each in values(chart, 2)}
    assert colours == {"more": "var(--bad)", "less": "var(--good)"}


@pytest.mark.parametrize("accuracies", [{"max": [0.9]}, {"max": [0.9], "stride": [None]}], ids=["alone", "diverged"])
def test_without_a_difference_there_is_no_chart(accuracies):
    poolings, _ = compared(accuracies)
    assert differences(poolings, "test accuracy") is None
