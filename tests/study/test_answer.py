"""The answer of a sweep, against hand arithmetic, plain formulas and brute force."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn.study import answer, words
from cnn.study.rule import choose
from cnn.study.statistics import detectable_difference
from tests.study.trials import answered, compared, row, tuned

T = {1: 12.7062, 2: 4.30265}  # 97.5 % quantiles of Student's t, from the printed tables


def recommended(rows, margin):
    return answered(rows, margin=margin).recommended


def share(shortfall, best):
    """The margin that allows this shortfall from a best accuracy."""
    return shortfall / (1 - best)


RULE = [
    pytest.param({1: [0.95]}, 0.05, 1, id="one depth"),
    pytest.param(
        {1: [0.98], 2: [0.982]}, share(0.002, 0.982), 1, id="short by the margin, n=1"
    ),  # 0.982 - 0.98 > 0.002 in binary
    pytest.param({1: [0.98], 2: [0.9821]}, share(0.002, 0.9821), 2, id="short by more than the margin, n=1"),
    pytest.param({1: [0.98, 0.98], 2: [0.99, 0.99], 3: [0.99, 0.99]}, 0.0, 2, id="tie of the best: smaller"),
    # 2 and 3 tie but for rounding: 2 is the best, and 1 short of it by 0.05, 0.05, SE 0 (of 3: 0.15, -0.05, SE 0.1)
    pytest.param({1: [0.05, 0.65], 2: [0.1, 0.7], 3: [0.2, 0.6]}, 0.005, 2, id="SE to the smaller of the best"),
    # differences to 2: 0.00, 0.03; mean 0.015, deviation 0.03 / sqrt 2, SE = 0.03 / 2 = 0.015: just within
    pytest.param({1: [0.95, 0.95], 2: [0.95, 0.98]}, 0.05, 1, id="within one SE"),
    # differences 0.01, 0.03; mean 0.02, SE = 0.02 / 2 = 0.01
    pytest.param({1: [0.95, 0.95], 2: [0.96, 0.98]}, 0.05, 2, id="beyond one SE"),
    pytest.param({1: [0.95, 0.95], 2: [0.96, 0.98]}, share(0.02, 0.97), 1, id="the margin is larger than the SE"),
    # each depth spreads by 0.04, yet every difference is 0.01, so SE is 0: seeds pair
    pytest.param({1: [0.90, 0.94], 2: [0.91, 0.95]}, 0.05, 2, id="paired"),
    pytest.param({1: [None, None], 2: [0.97, 0.97]}, 0.5, 2, id="diverged depth is never taken"),
    pytest.param({1: [0.98, None], 2: [0.97, 0.97]}, 0.0, 2, id="a depth with a diverged seed is not ranked"),
    pytest.param({1: [0.97] * 5, 2: [0.98, None, None, None, None]}, 0.0, 1, id="one survivor of five"),
    # every depth misses a seed: equal on the one that both have, though their means differ by 0.04
    pytest.param({1: [0.90, 0.98, None], 2: [None, 0.98, 0.98]}, 0.0, 1, id="only common seeds compare"),
    # common seeds: 0 only, so the margin alone; means 0.96 and 0.97 (over 0.96, 0.98)
    pytest.param({1: [0.96, None], 2: [0.96, 0.98]}, 0.05, 2, id="one common seed"),
    pytest.param({1: [None], 2: [None]}, 0.05, None, id="nothing finished"),
    pytest.param({3: [0.99, 0.99], 1: [0.99, 0.99]}, 0.05, 1, id="rows in any order"),
    pytest.param({2: [0.99, 0.99], 10: [0.99, 0.99]}, 0.05, 2, id="numeric, not alphabetic"),
]


@pytest.mark.parametrize("accuracies, margin, expected", RULE)
def test_rule(accuracies, margin, expected):
    assert recommended(compared(accuracies), margin) == expected


def test_rule_reads_only_finished_comparison_trials_at_the_best_rate():
    rows = [
        *compared({1: [0.9, 0.9], 2: [0.95, 0.95]}),
        *compared({1: [0.99, 0.99]}, rate=1e-2),  # of an older, smaller grid
        *tuned([(1e-3, 8, 0.9), (1e-2, 8, 0.8)]),
        row("tune", seed=9, val=1.0, test=1.0),
        row(seed=5, val=1.0, test=1.0, status="failed"),
    ]
    assert recommended(rows, 0.05) == 2


def test_rule_never_reads_test_accuracy():
    rows = compared({1: [0.9, 0.9], 2: [0.95, 0.96]})
    spoilt = [
        dataclasses.replace(trial, result=dataclasses.replace(trial.result, test_accuracy=accuracy))
        for trial, accuracy in zip(rows, [1.0, 1.0, 0.0, 0.0], strict=True)
    ]
    assert recommended(spoilt, 0.05) == 2


def test_repeated_trial_is_an_error():
    with pytest.raises(ValueError, match="1, seed=0: two comparison trials, where one is expected"):
        answered(compared({1: [0.9]}) * 2)


@pytest.mark.parametrize("missing", ["no row", "failed", "diverged", "no accuracy"])
def test_a_missing_trial_takes_its_depth_out_of_the_ranking_whatever_became_of_it(missing):
    rows = compared({1: [0.97, 0.96, 0.97], 2: [0.99, 0.99, 0.98], 3: [0.98, 0.97, 0.98]})
    place = next(place for place, trial in enumerate(rows) if (trial.variant, trial.seed) == (2, 1))
    if missing == "no row":
        del rows[place]
    else:
        rows[place] = row(blocks=2, seed=1, status=missing if missing != "no accuracy" else "done")
    result = answered(rows)
    one, two, three = result.depths
    assert result.recommended == 3  # 2 would be, with all of its seeds
    assert two.shortfall is two.allowance is None
    assert (one.shortfall, three.shortfall) == (pytest.approx(0.01), 0.0)
    # 2 against 3 on the seeds that both have, 0 and 2: differences 0.01, 0.00
    assert two.p_adjusted == pytest.approx(0.5) and two.summary.test.mean == pytest.approx(0.985)
    json.dumps(result.to_json(), allow_nan=False)


accuracy = st.integers(0, 360).map(lambda right: right / 360)
sweeps = (
    st.integers(1, 5)
    .flatmap(lambda seeds: st.lists(st.lists(accuracy, min_size=seeds, max_size=seeds), min_size=1, max_size=5))
    .map(np.array)
)


@given(sweeps, st.floats(0, 0.1), st.floats(0, 0.1))
@settings(deadline=None)
def test_rule_properties(values, margin, more):
    index = choose(values, margin).chosen
    means = values.mean(axis=1)
    assert means[:index].max(initial=-1) < means.max()  # what is shallower and passed over is worse than the best
    assert index <= int(np.argmax(means > means.max() - 1e-9))
    assert choose(values, margin + more).chosen <= index
    # The same errors, a quarter as large, are the same shares of the best error.
    assert choose(1 - (1 - values) / 4, margin).chosen == index


@given(sweeps, st.floats(0, 0.1))
@settings(deadline=None)
def test_rule_is_its_definition(values, margin):
    def standard_error(differences):
        n = len(differences)
        mean = math.fsum(differences) / n
        return math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n) if n > 1 else 0.0

    means = [math.fsum(depth) / len(depth) for depth in values.tolist()]
    best = next(depth for depth, mean in enumerate(means) if mean > max(means) - 1e-9)
    reached = [
        means[best] - mean <= max(margin * (1 - means[best]), standard_error((values[best] - depth).tolist())) + 1e-9
        for mean, depth in zip(means, values, strict=True)
    ]
    assert choose(values, margin).chosen == reached.index(True)


CONTRACT = {
    "blocks", "learning_rate", "n", "diverged", "val_mean", "val_std", "val_low", "val_high", "test_mean", "test_std",
    "test_low", "test_high", "parameters", "macs", "p_adjusted", "shortfall", "allowance", "difference",
    "difference_low", "difference_high", "pick_share", "collapsed",
}  # fmt: skip


def test_answer():
    rows = [
        *compared({0: [0.90, 0.92], 1: [0.97, 0.98], 2: [0.96, 0.99], 3: [None, None]}),
        *(row("tune", blocks=1, rate=rate, seed=9, val=val) for rate, val in [(1e-4, 0.5), (1e-3, 0.9)]),
    ]
    correct = {1: np.array([[True] * 9 + [False]] * 2), 2: None}
    result = answered(rows, match="macs", correct=correct)
    plain = result.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    top = {"recommended_blocks", "rule", "margin", "indistinguishable", "dataset", "match", "depths"}
    assert set(plain) == top | {"learning_rates", "deeper_fits"}
    assert (plain["dataset"], plain["match"], plain["margin"]) == ("mnist", "macs", 0.05)
    assert plain["learning_rates"] == [1e-4, 1e-3] and plain["deeper_fits"] is False
    assert all(set(depth) >= CONTRACT for depth in plain["depths"])
    # Means 0.91, 0.975, 0.975: the tie goes to 1. Differences 1 - 0: 0.07, 0.06: mean 0.065, SE 0.005, t = 13, one
    # degree of freedom: p = 1 - 2 atan(13) / pi = 0.04888; 1 - 2: 0.01, -0.01: t = 0, p = 1. Holm: 2 x 0.04888, 1.
    assert plain["recommended_blocks"] == 1 and plain["indistinguishable"] == [0, 2]
    zero, one, two, three = plain["depths"]
    assert zero["p_adjusted"] == pytest.approx(2 * (1 - 2 * math.atan(13) / math.pi), abs=1e-9)
    assert two["p_adjusted"] == pytest.approx(1.0) and one["p_adjusted"] is three["p_adjusted"] is None
    assert (one["learning_rate"], one["learning_rate_at_edge"], zero["learning_rate_at_edge"]) == (1e-3, True, False)
    assert (one["n"], one["diverged"], three["n"], three["diverged"]) == (2, 0, 0, 2)
    assert one["val_mean"] == pytest.approx(0.975) and one["val_std"] == pytest.approx(0.01 / math.sqrt(2))
    assert one["val_low"] == pytest.approx(0.975 - T[1] * 0.005, abs=1e-6) == one["test_low"]
    assert one["val_high"] == one["test_high"] == 1.0  # cut: 0.975 + 12.7 x 0.005 is above 1
    # 0 - 1: -0.07, -0.06: mean -0.065, SE 0.005
    assert zero["difference"] == pytest.approx(-0.065) and one["difference"] is None
    assert zero["difference_low"] == pytest.approx(-0.065 - T[1] * 0.005, abs=1e-6)
    assert (one["parameters"], one["macs"], one["train_seconds"]) == (101, 1001, 1.0)
    assert (three["parameters"], three["val_mean"], three["shortfall"]) == (103, None, None)
    assert three["train_seconds"] is None
    assert one["test_bootstrap_low"] < 0.9 < one["test_bootstrap_high"] and two["test_bootstrap_low"] is None
    assert zero["shortfall"] == pytest.approx(0.065)
    # Differences 1 - 2 have deviation 0.01 sqrt 2, SE 0.01
    assert (zero["allowance"], two["allowance"]) == pytest.approx((0.005, 0.01))
    assert "1 block: 0.9750" in result.rule and "0.05 x error" in result.rule


def test_answer_tells_apart():
    # Differences 2 - 1: 0.049, 0.05, 0.051: mean 0.05, SE 0.001 / sqrt 3, t = 86.6: p far below 0.05
    result = answered(compared({1: [0.921, 0.92, 0.919], 2: [0.97, 0.97, 0.97]}))
    assert result.recommended == 2 and result.indistinguishable == ()
    one, two = result.depths
    assert one.p_adjusted < 0.001
    assert two.summary.test.std == 0.0 and two.summary.test.low is None  # zero variance


def test_answer_of_one_seed():
    result = answered(compared({1: [0.9], 2: [0.97]}))
    assert result.recommended == 2 and result.indistinguishable == (1,)
    names = ("val_std", "val_low", "val_high", "test_std", "test_low", "test_high", "p_adjusted")
    assert all(depth[name] is None for depth in result.to_json()["depths"] for name in names)
    assert "of one seed SE is unknown, so the share of the error alone counts" in result.rule
    assert "unknown" not in answered(compared({1: [0.9, 0.91], 2: [0.97, 0.98]})).rule
    json.dumps(result.to_json(), allow_nan=False)


def test_a_failed_trial_is_counted_and_keeps_its_depth_out():
    rows = [*compared({1: [0.9, 0.91]}), row(blocks=2, test=0.9, status="failed")]
    result = answered(rows)
    assert result.depths[1].summary.failed == 1 and result.recommended == 1 and result.best is result.depths[0]


def test_the_most_accurate_depth_is_that_of_the_highest_mean_even_where_another_is_better_on_common_seeds():
    """Means 0.825 and 0.85; on seed 1, which both have, 1 block is better by 0.15, so it falls short by less than 0."""
    result = answered(compared({1: [0.70, 0.95, None], 2: [None, 0.80, 0.90]}))
    assert [depth.shortfall for depth in result.ranked] == [pytest.approx(-0.15), 0.0]
    assert result.recommended == 1 and result.most_accurate is result.depths[1]
    assert "the best depth's (2 blocks: 0.8500)" in result.rule and "short" not in words.answer_sentence(result)
    # the deviation of a difference of 0.01 and 0.02 is 0.00707; one test, not two: 2 blocks have no test
    alone = answered(compared({1: [0.97, 0.98], 2: [None, None], 3: [0.98, 1.0]}))
    assert alone.depths[0].detectable == detectable_difference(alone.depths[0].difference, tests=1)


def test_an_answer_survives_json():
    rows = compared({0: [0.95, 0.96, 0.97], 1: [0.97, 0.98, None], 2: [0.98, 0.98, 0.98]})
    result = answered(rows, correct={2: np.eye(3, 40) > 0})
    assert answer.Answer.from_json(json.loads(json.dumps(result.to_json()))) == result
