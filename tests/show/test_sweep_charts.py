"""The charts of a sweep: they have a mark for each number, and the numbers are those of the answer."""

import numpy as np
import pytest

from cnn.show.sweep_charts import accuracy_by_cost, accuracy_by_depth, decision, pareto
from cnn.study.answer import answer
from tests.show.trials import trials

SWEEPS = {
    "usual": {0: [0.94, 0.95], 1: [0.98, 0.985], 2: [0.981, 0.985]},
    "one depth, one seed": {1: [0.98]},
    "some diverged": {1: [0.97, 0.97], 2: [0.98, None]},
    "all diverged": {1: [None, None], 2: [None, None]},
    "perfect": {1: [1.0, 1.0], 2: [1.0, 1.0]},
    "eight depths": {depth: [0.9 + depth / 100] * 3 for depth in range(8)},
}


def answered(accuracies):
    rows = trials(accuracies)
    return answer(rows, dataset="mnist", match="width", margin=0.05), rows


def values(chart, layer):
    return chart.spec["layer"][layer]["data"]["values"]


@pytest.mark.parametrize("accuracies", SWEEPS.values(), ids=SWEEPS)
def test_the_decision_has_the_numbers_of_the_rule(accuracies):
    found, rows = answered(accuracies)
    chart = decision(found, rows)
    ranked = [depth for depth in found.depths if depth.shortfall is not None]
    assert len(values(chart, 3)) == len(ranked) == len(chart.table.rows)
    for depth, mean in zip(ranked, values(chart, 3), strict=True):
        own = [each["short"] for each in values(chart, 2) if each["variant"] == depth.blocks]
        assert len(own) == depth.summary.n and np.mean(own) == pytest.approx(100 * depth.shortfall, abs=1e-4)
        assert mean["short"] == pytest.approx(100 * depth.shortfall, abs=1e-4)
        assert mean["allowed"] == pytest.approx(100 * depth.allowance, abs=1e-4)
        assert mean["top"] == pytest.approx(max([mean["short"], *own]))
    good = [row[0].number for row in chart.table.rows if row[3].text == "yes"]
    assert min(good, default=None) == found.recommended


def test_dots_lie_below_the_most_accurate_depth_where_another_is_better_on_common_seeds():
    found, rows = answered({1: [0.70, 0.95, None], 2: [None, 0.80, 0.90]})
    dots = [(each["variant"], each["seed"], round(each["short"], 6)) for each in values(decision(found, rows), 2)]
    assert dots == [(1, 1, -15.0), (2, 1, 0.0), (2, 2, 0.0)]


def test_close_numbers_have_as_many_decimals_as_tell_them_apart():
    found, rows = answered({1: [0.97896], 2: [0.98]})
    chart = decision(found, rows)
    assert [cell.text for cell in chart.table.rows[0][1:4]] == ["0.104", "0.100", "no"]


@pytest.mark.parametrize("accuracies", SWEEPS.values(), ids=SWEEPS)
def test_a_dot_for_each_seed_and_a_mean_for_each_depth(accuracies):
    found, rows = answered(accuracies)
    chart = accuracy_by_depth(found, rows)
    done = [value for own in accuracies.values() for value in own if value is not None]
    assert [each["accuracy"] for each in values(chart, 1)] == pytest.approx([100 * value for value in done])
    assert len(values(chart, 3)) == sum(depth.summary.n > 0 for depth in found.depths)
    low, high = chart.spec["layer"][1]["encoding"]["y"]["scale"]["domain"]
    assert high <= 100.0 and (not done or low <= 100 * min(done))


def test_a_long_interval_leaves_room_for_the_seeds():
    found, rows = answered({1: [0.90, 0.94], 2: [0.97, 0.98]})
    assert found.depths[0].summary.test.low < 0.7
    for chart in (accuracy_by_depth(found, rows), accuracy_by_cost(found).options["parameters"]):
        low, high = chart.spec["layer"][1]["encoding"]["y"]["scale"]["domain"]
        assert 85.0 < low < 92.0 and 97.5 < high <= 100.0


@pytest.mark.parametrize("accuracies", SWEEPS.values(), ids=SWEEPS)
def test_accuracy_against_each_cost(accuracies):
    found, _ = answered(accuracies)
    choice = accuracy_by_cost(found)
    assert list(choice.options) == ["multiply-accumulates", "parameters", "seconds"]
    for chart in choice.options.values():
        assert len(values(chart, 3)) == sum(depth.summary.n > 0 for depth in found.depths)


def test_the_pareto_front_is_that_of_all_pairs():
    random = np.random.default_rng(0)
    for _ in range(50):
        points = [{"cost": cost, "accuracy": accuracy} for cost, accuracy in random.integers(0, 6, (8, 2)).tolist()]
        front = {(point["cost"], point["accuracy"]) for point in pareto(points)}
        beaten = {
            (point["cost"], point["accuracy"])
            for point in points
            for other in points
            if (other["cost"] < point["cost"] and other["accuracy"] >= point["accuracy"])
            or (other["cost"] == point["cost"] and other["accuracy"] > point["accuracy"])
        }
        assert front == {(point["cost"], point["accuracy"]) for point in points} - beaten
