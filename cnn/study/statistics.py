"""Intervals and tests on accuracies, computed by SciPy, statsmodels and NumPy.

Accuracies are fractions. Where the data allow no interval or test (fewer than two values, or no variance), the result
is `None`, and nothing warns.

Example:
    >>> low, high = t_interval([0.97, 0.98])  # half width 12.706 x 0.005
    >>> round(low, 4), round(high, 4)
    (0.9115, 1.0385)
    >>> t_interval([0.97])
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95  # of every interval
POWER = 0.8  # how often a difference that can be detected is found
RESOLUTION = 1e-9  # closer accuracies count as equal: one image in a thousand million, far above rounding errors
Interval = tuple[float, float]
Values = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Estimate:
    """The mean of independent values, and how sure it is."""

    n: int  # how many values are known
    mean: float | None = None  # None where no value is known
    std: float | None = None  # ddof 1; None for fewer than two values
    low: float | None = None  # the 95 % t interval; None for fewer than two values, or no variance
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The plain values that a file keeps."""
        return dataclasses.asdict(self)


def t_interval(values: Values) -> Interval | None:
    """Student's 95 % interval for the mean of independent values (Student 1908), whatever the range of the values.

    Args:
        values: [n]; NaN are left out.

    Returns:
        The lower and the upper end; `None` for n < 2 or no variance.
    """
    from scipy import stats

    values = _known(values)
    if _constant(values):
        return None
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    return float(low), float(high)


def moments(values: Values, low: float = 0.0, high: float = 1.0) -> Estimate:
    """How many values are known, their mean, standard deviation (ddof 1) and 95 % t interval.

    The interval is cut to the range that the mean can have, which costs no coverage.

    Args:
        values: [n]; NaN are left out.
        low: the least value that is possible; by default that of an accuracy.
        high: the largest value that is possible.

    Example:
        >>> moments([0.97, np.nan])
        Estimate(n=1, mean=0.97, std=None, low=None, high=None)
        >>> moments([0.97, 0.97]).std
        0.0
        >>> moments([0.97, 0.99]).high
        1.0
    """
    values = _known(values)
    if len(values) == 0:
        return Estimate(0)
    mean = float(values.mean())
    interval = t_interval(values)
    if interval is None:  # one value, or equal values, whose deviation is 0 up to rounding
        return Estimate(len(values), mean, 0.0 if len(values) > 1 else None)
    ends = (max(interval[0], low), min(interval[1], high))
    return Estimate(len(values), mean, float(values.std(ddof=1)), *ends)


def differences(values: Values) -> Estimate:
    """The same as `moments` for differences of two fractions, which lie from -1 to 1."""
    return moments(values, -1.0, 1.0)


def ratios(values: Values) -> Estimate:
    """The geometric mean of positive ratios and its 95 % interval, computed on their logarithms.

    On that scale half and twice are equally far from 1, and no interval reaches below 0. `std` is the deviation of the
    logarithms.

    Example:
        >>> estimate = ratios([0.5, 2.0])
        >>> round(estimate.mean, 6), estimate.low > 0
        (1.0, True)
    """
    logs = moments(np.log(_known(values)), -np.inf, np.inf)
    ends = [None if value is None else float(np.exp(value)) for value in (logs.mean, logs.low, logs.high)]
    return Estimate(logs.n, ends[0], logs.std, ends[1], ends[2])


def detectable_difference(difference: Estimate, tests: int) -> float | None:
    """The smallest true difference that a paired t-test would find in four of five such studies.

    Args:
        difference: of `differences` by seed, whose deviation stands for that of the next studies.
        tests: how many tests share the 5 % (Bonferroni, which Holm's first step is).

    Returns:
        The difference, without a sign; `None` for fewer than two values, or no variance.

    Source: Cohen 1988, "Statistical power analysis for the behavioral sciences", chapter 2.

    Example:
        >>> round(detectable_difference(differences([0.01, 0.02, 0.03]), tests=1), 4)  # deviation 0.01, 3 seeds
        0.0326
    """
    return _effect(difference.n, tests) * difference.std if difference.std else None


@functools.cache
def _effect(count: int, tests: int) -> float:
    """The true difference that is found, in standard deviations of a difference."""
    from scipy import optimize, stats

    critical = stats.t.ppf(1 - 0.05 / tests / 2, count - 1)
    # The noncentral t distribution; that the test finds the opposite direction is too rare to count.
    with np.errstate(divide="ignore"):  # SciPy 1.13 does so far from the root
        found = optimize.brentq(lambda size: stats.nct.sf(critical, count - 1, size * np.sqrt(count)) - POWER, 0, 1000)
    return float(found)


def paired_p_value(first: Values, second: Values) -> float | None:
    """The two-sided p-value of a paired t-test (Student 1908) for equal means.

    Args:
        first: [n], one value for each seed; NaN where unknown.
        second: [n], for the same seeds in the same order. Only the seeds known in both count.

    Returns:
        The p-value; `None` for fewer than two pairs or differences without variance.

    >>> p = paired_p_value([0.98, 0.97, 0.99], [0.96, 0.96, 0.98])  # differences 2, 1, 1: t = 4, 2 degrees of freedom
    >>> round(p, 4)
    0.0572
    """
    from scipy import stats

    first = np.asarray(first, float)
    second = np.asarray(second, float)
    if _constant(_known(first - second)):
        return None
    return float(stats.ttest_rel(first, second, nan_policy="omit").pvalue)


def holm(p_values: Mapping[Any, float | None]) -> dict[Any, float | None]:
    """Step-down adjusted p-values (Holm 1979): at most 5 % of families of tests have a false finding below 0.05.

    Args:
        p_values: p-values by name. `None` stands for no test: it stays `None` and does not count in the family.

    >>> holm({"a": 0.01, "b": 0.04, "c": None})
    {'a': 0.02, 'b': 0.04, 'c': None}
    """
    from statsmodels.stats.multitest import multipletests

    tested = {name: p for name, p in p_values.items() if p is not None}
    adjusted = multipletests(list(tested.values()), method="holm")[1] if tested else []
    return {**p_values, **{name: float(p) for name, p in zip(tested, adjusted, strict=True)}}


def bootstrap_interval(correct: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> Interval | None:
    """Percentile interval of 95 % for the mean accuracy, over seeds and test images (Efron 1979; crossed: Owen 2007).

    Each resample draws seeds with replacement, draws images with replacement, and scores every drawn image by every
    drawn seed. So the interval holds for other seeds and for other test images too; the t interval holds for these
    test images only. With few seeds the plain percentiles lie too close together, so they are spread (Hesterberg 2015,
    expanded percentiles), with the degrees of freedom of both variances (Satterthwaite 1946).

    Args:
        correct: boolean [seeds, images], whether a seed's network has an image right.
        resamples: how many means are drawn.
        seed: seed of the random generator; the same seed gives the same interval.

    Returns:
        The lower and the upper end, from 0 to 1; `None` for fewer than two seeds or images, or means without variance.

    Raises:
        ValueError: `correct` is not a boolean matrix.

    >>> low, high = bootstrap_interval(np.array([[True, True, False, True], [True, True, True, False]]))
    >>> round(low, 2), round(high, 2)  # plain percentiles are 0.5 and 1.0
    (0.18, 1.0)
    """
    correct = np.asarray(correct)
    if correct.ndim != 2 or correct.dtype != bool:
        raise ValueError(f"correct: must be boolean [seeds, images], not {correct.dtype} {list(correct.shape)}")
    seeds, images = correct.shape
    if min(seeds, images) < 2:
        return None
    # Images that the same seeds have right are one kind. To draw how often each kind occurs is exact, and fast.
    kinds, counts = np.unique(correct, axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    seed_counts = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    # The mean of n drawn seeds has (n - 1) / n of the variance of the mean of n new seeds; the weights correct this.
    # There are so many images that the same factor does not matter for them.
    seed_weights = 1 + (seed_counts - 1) * np.sqrt(seeds / (seeds - 1))
    image_counts = generator.multinomial(images, counts / images, size=resamples)
    means = ((seed_weights @ kinds) * image_counts).sum(axis=1) / (seeds * images)
    spread = _spread(correct)
    if spread is None or _constant(means):
        return None
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    mean = correct.mean()
    return max(float(mean + (low - mean) * spread), 0.0), min(float(mean + (high - mean) * spread), 1.0)


def _spread(correct: np.ndarray) -> float | None:
    """How much wider Student's interval is than a normal one, for a mean over both axes; None without variance."""
    from scipy import stats

    variances = np.array([correct.mean(axis=1 - axis).var(ddof=1) / correct.shape[axis] for axis in (0, 1)])
    if not variances.any():
        return None
    freedom = variances.sum() ** 2 / (variances**2 / (np.array(correct.shape) - 1)).sum()
    tail = (1 + CONFIDENCE) / 2
    return float(stats.t.ppf(tail, freedom) / stats.norm.ppf(tail))


def _known(values: Values) -> np.ndarray:
    values = np.asarray(values, float)
    return values[~np.isnan(values)]


def _constant(values: np.ndarray) -> bool:
    """Whether values have no variance: fewer than two values, or all equal except for rounding."""
    return len(values) < 2 or float(np.ptp(values)) <= RESOLUTION
