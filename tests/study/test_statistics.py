"""Intervals and tests, against hand arithmetic, printed tables and every resample."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from cnn.study import statistics

NAN = float("nan")
T = {1: 12.7062, 2: 4.30265}  # 97.5 % quantiles of Student's t, from the printed tables


@pytest.mark.parametrize(
    "values, half",
    [
        # deviation 0.02 / sqrt 2, standard error 0.01
        ([0.96, 0.98], T[1] * 0.01),
        # deviation 0.01, standard error 0.01 / sqrt 3; the unknown value does not count
        ([0.95, NAN, 0.96, 0.97], T[2] * 0.01 / math.sqrt(3)),
    ],
)
def test_t_interval(values, half):
    low, high = statistics.t_interval(values)
    assert (low, high) == pytest.approx((np.nanmean(values) - half, np.nanmean(values) + half), abs=1e-6)


@pytest.mark.parametrize("values", [[], [0.9], [0.9, NAN], [0.97, 0.97, 0.97], [0.1 + 0.2, 0.3]])
def test_no_interval(values):
    assert statistics.t_interval(values) is None


def test_paired_p_value_by_hand():
    # Differences 1, 3, NaN: mean 2, deviation sqrt 2, t = 2 / (sqrt 2 / sqrt 2) = 2 with 1 degree of freedom, where
    # Student's t is Cauchy's: p = 1 - 2 atan(2) / pi = 0.2951672
    p = statistics.paired_p_value([0.51, 0.53, NAN], [0.50, 0.50, 0.50])
    assert p == pytest.approx(1 - 2 * math.atan(2) / math.pi, abs=1e-9)


@pytest.mark.parametrize(
    "first, second",
    [
        ([0.9], [0.8]),
        ([0.9, NAN], [0.8, 0.7]),
        ([0.9, NAN], [NAN, 0.7]),
        (
            [350 / 360, 351 / 360, 353 / 360],
            [349 / 360, 350 / 360, 352 / 360],
        ),  # one image each: no variance but rounding
    ],
)
def test_no_p_value(first, second):
    assert statistics.paired_p_value(first, second) is None


def test_holm_by_hand():
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1: 0.03, 0.06, 0.04, and never below the one before: 0.03, 0.06, 0.06
    adjusted = statistics.holm({"a": 0.04, "b": None, "c": 0.01, "d": 0.03})
    assert adjusted == {"a": pytest.approx(0.06), "b": None, "c": pytest.approx(0.03), "d": pytest.approx(0.06)}
    assert statistics.holm({"a": None}) == {"a": None}
    assert statistics.holm({"a": 0.7, "b": 0.6}) == {"a": 1.0, "b": 1.0}


def test_bootstrap_against_every_resample():
    correct = np.array([[1, 1, 0], [0, 1, 1]], bool)
    spread = {(0, 0): (1 + 2**0.5, 1 - 2**0.5), (1, 1): (1 - 2**0.5, 1 + 2**0.5), (0, 1): (1, 1), (1, 0): (1, 1)}
    every = [
        np.mean([[weight * correct[s, i] for i in images] for s, weight in enumerate(spread[seeds])])
        for seeds in itertools.product(range(2), repeat=2)
        for images in itertools.product(range(3), repeat=3)
    ]
    # Both seeds have two thirds right, so only the images vary, with two degrees of freedom: Student's t in the place
    # of the normal quantile. Weights of seeds are 1 + (count - 1) sqrt(2 / 1).
    low, high = np.quantile(every, [0.025, 0.975], method="inverted_cdf")
    expected = [2 / 3 + (end - 2 / 3) * T[2] / 1.959964 for end in (low, high)]
    expected = [max(expected[0], 0.0), min(expected[1], 1.0)]  # shares
    assert statistics.bootstrap_interval(correct, resamples=50_000) == pytest.approx(expected, abs=1e-5)


def test_bootstrap_is_wider_than_either_source_alone():
    generator = np.random.default_rng(0)
    skill = generator.uniform(0.7, 0.99, (6, 1))
    ease = generator.uniform(0, 1, (1, 300))
    correct = ease < skill
    low, high = statistics.bootstrap_interval(correct)
    over_seeds = correct.mean(axis=1).std(ddof=1) / math.sqrt(6)
    over_images = correct.mean(axis=0).std(ddof=1) / math.sqrt(300)
    both = math.hypot(over_seeds, over_images)
    assert 0.95 * 1.96 * both < (high - low) / 2 < 1.05 * 2.5706 * both  # normal quantile; Student's of 5 degrees


def test_bootstrap_is_fixed_by_its_seed_and_knows_its_limits():
    correct = np.random.default_rng(1).random((5, 10_000)) < 0.98
    assert statistics.bootstrap_interval(correct, seed=3) == statistics.bootstrap_interval(correct, seed=3)
    assert statistics.bootstrap_interval(correct, seed=3) != statistics.bootstrap_interval(correct, seed=4)
    assert statistics.bootstrap_interval(correct[:1]) is None
    assert statistics.bootstrap_interval(np.ones((3, 4), bool)) is None
    assert statistics.bootstrap_interval(np.eye(2, dtype=bool)) is None
    with pytest.raises(ValueError, match="must be boolean"):
        statistics.bootstrap_interval(np.ones((3, 4)))


@pytest.mark.parametrize(
    "values, expected",
    [
        pytest.param([0.96, NAN, 0.98], (2, 0.97, 0.02 / math.sqrt(2), 0.97 - T[1] * 0.01), id="one unknown"),
        pytest.param([0.97], (1, 0.97, None, None), id="one"),
        pytest.param([NAN], (0, None, None, None), id="none"),
        pytest.param([0.1 + 0.2, 0.3], (2, 0.3, 0.0, None), id="equal but for rounding"),
    ],
)
def test_moments(values, expected):
    estimate = statistics.moments(values)
    count, mean, deviation, low = expected
    assert (estimate.n, estimate.mean, estimate.std) == (count, pytest.approx(mean), pytest.approx(deviation))
    assert estimate.low == (None if low is None else pytest.approx(low, abs=1e-6))
    assert (estimate.high is None) == (low is None)


def test_the_interval_of_an_accuracy_stays_within_0_and_1():
    estimate = statistics.moments([0.99, 0.97])
    assert (estimate.low, estimate.high) == (pytest.approx(0.98 - T[1] * 0.01, abs=1e-6), 1.0)
    assert statistics.differences([0.9, -0.9]).low == -1.0


def test_ratios_are_averaged_on_a_log_scale():
    estimate = statistics.ratios([0.25, 1.0])
    half_width = T[1] * math.log(4) / 2
    assert estimate.mean == pytest.approx(0.5)
    ends = (0.5 * math.exp(-half_width), 0.5 * math.exp(half_width))
    assert (estimate.low, estimate.high) == pytest.approx(ends, rel=1e-5)
    assert statistics.ratios([NAN]).mean is None and statistics.ratios([0.5]).low is None


@pytest.mark.parametrize("seeds, tests", [(3, 1), (5, 3), (10, 3)])
def test_the_detectable_difference_is_found_in_four_of_five_studies(seeds, tests):
    """By simulation: normal differences with this true mean, and a deviation of 1."""
    values = stats.zscore(np.arange(seeds), ddof=1)  # their deviation is 1
    true = statistics.detectable_difference(statistics.differences(values), tests)
    studies = np.random.default_rng(0).normal(true, 1, (4000, seeds))
    significant = stats.ttest_1samp(studies, 0, axis=1).pvalue < 0.05 / tests
    assert significant.mean() == pytest.approx(0.8, abs=4 * math.sqrt(0.8 * 0.2 / 4000))
    assert statistics.detectable_difference(statistics.differences([0.1]), tests) is None
