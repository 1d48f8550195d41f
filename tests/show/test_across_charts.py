"""The charts of several sweeps: a mark for each number, whatever has finished, and axes that hold all of them."""

import pytest

from cnn.show.across_charts import by_cost, by_depth, decisions
from cnn.study.across import across
from tests.study.sweeps import CLOSE, DEEP, SHALLOW, swept

SEVERAL = {
    "two data sets": (swept(DEEP, "digits"), swept(SHALLOW)),
    "other depths": (swept(CLOSE, width=8), swept({0: [0.5, 0.6], 4: [0.9, 0.9]}, width=16)),
    "one seed": (swept({1: [0.9]}, "digits"), swept({1: [0.97], 2: [0.9]})),
    "some diverged": (swept({1: [0.9, None], 2: [0.97, 0.96]}, "digits"), swept({1: [None], 2: [0.9]})),
    "none succeeded": (swept({1: [None]}, "digits"), swept({1: [None], 2: [None]})),
    "ten": tuple(swept(CLOSE, f"set{number}") for number in range(10)),
}
several = pytest.mark.parametrize("sweeps", SEVERAL.values(), ids=SEVERAL)


def values(chart, layer):
    return chart.spec["layer"][layer]["data"]["values"]


def known(found):
    """Each depth with a result, with the place of its sweep."""
    return [
        (place, depth) for place, sweep in enumerate(found.sweeps) for depth in sweep.answer.depths if depth.summary.n
    ]


def within(chart, channel, marks, *fields):
    """Whether the axis of every layer holds every mark, so that hiding some moves no other."""
    domains = [layer["encoding"][channel]["scale"]["domain"] for layer in chart.spec["layer"]]
    assert all(each == domains[0] for each in domains)
    low, high = domains[0]
    assert all(low - 1e-3 <= mark[field] <= high + 1e-3 for mark in marks for field in fields)


@several
def test_each_panel_has_the_numbers_of_its_rule(sweeps):
    found = across(sweeps)
    panels = decisions(found)
    assert [chart.variant for chart in panels.charts] == list(range(len(sweeps)))
    rows = []
    for place, (chart, sweep) in enumerate(zip(panels.charts, found.sweeps, strict=True)):
        ranked = [depth for depth in sweep.answer.depths if depth.shortfall is not None]
        assert [each["variant"] for each in values(chart, 3)] == [depth.blocks for depth in ranked]
        for depth, mark in zip(ranked, values(chart, 3), strict=True):
            assert mark["short"] == pytest.approx(100 * depth.shortfall, abs=1e-4)
            assert mark["allowed"] == pytest.approx(100 * depth.allowance, abs=1e-4)
            rows.append((place, depth.blocks))
        assert all("transform" not in layer for layer in chart.spec["layer"])  # a panel is hidden as a whole
    assert [(place, row[1].number) for place, row in zip(panels.table.variants, panels.table.rows, strict=True)] == rows


@several
def test_each_sweep_has_its_line_of_accuracies(sweeps):
    found = across(sweeps)
    chart = by_depth(found).options["test accuracy"]
    marks = values(chart, 0)
    assert [(each["variant"], each["blocks"]) for each in marks] == [
        (place, each.blocks) for place, each in known(found)
    ]
    assert [each["accuracy"] for each in marks] == pytest.approx(
        [100 * depth.summary.test.mean for _, depth in known(found)], abs=1e-3
    )
    within(chart, "y", marks, "low", "accuracy", "high")
    assert [each["blocks"] for each in values(chart, 3)] == [
        sweep.answer.recommended for sweep in found.sweeps if sweep.answer.recommended is not None
    ]
    cells = [cell.number for row in chart.table.rows for cell in row if cell.number is not None]
    assert len(cells) == len(marks)


@several
def test_differences_are_those_of_the_answers(sweeps):
    found = across(sweeps)
    chart = by_depth(found).options["points above or below the sweep's own choice"]
    for mark in values(chart, 0):
        sweep = found.sweeps[mark["variant"]]
        depth = next(depth for depth in sweep.answer.depths if depth.blocks == mark["blocks"])
        assert mark["taken"] == (depth is sweep.answer.best)
        expected = 0.0 if mark["taken"] else 100 * depth.difference.mean
        assert mark["accuracy"] == pytest.approx(expected, abs=1e-4)
    within(chart, "y", values(chart, 0), "low", "accuracy", "high")


@several
def test_accuracy_against_cost(sweeps):
    found = across(sweeps)
    chart = by_cost(found)
    marks = values(chart, 0)
    assert [each["macs"] for each in marks] == pytest.approx(
        [depth.summary.macs for _, depth in known(found)], rel=1e-5
    )
    assert len(marks) == len(chart.table.rows) == len(values(chart, 1))
    within(chart, "x", marks, "macs")
    within(chart, "y", marks, "accuracy")


@pytest.mark.slow
def test_a_colour_and_a_shape_tell_sweeps_apart():
    chart = by_cost(across([swept(CLOSE, f"set{number}") for number in range(40)]))
    encoding = chart.spec["layer"][1]["encoding"]
    looks = zip(encoding["color"]["scale"]["range"], encoding["shape"]["scale"]["range"], strict=True)
    assert len(set(looks)) == 40
