"""Chooses a variant's learning rate: the best on the validation images of the tuning seeds.

Example:
    >>> best_rate({1e-3: [0.96], 3e-3: [0.98], 1e-2: [0.97]})
    BestRate(learning_rate=0.003, at_edge=False)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

DECIMALS = 9  # means are compared to this many, so that rounding errors do not separate equal means
STEPS = 2  # by which the default grid may extend itself


class BestRate(NamedTuple):
    """The learning rate that tuning chose."""

    learning_rate: float
    at_edge: bool  # whether it is the lowest or the highest of several learning rates that were tried


def best_rate(tried: Mapping[float, Sequence[float | None]]) -> BestRate:
    """The learning rate with the highest mean validation accuracy over the tuning seeds.

    A rate at which a trial diverged or failed ranks below every rate at which none did. Of equally good rates the
    smallest is taken.

    Args:
        tried: for each learning rate (at least one) the validation accuracies of its tuning trials, `None` where a
            trial diverged or failed.

    Example:
        >>> best_rate({1e-3: [0.5, 0.5], 1e-2: [0.99, None]})
        BestRate(learning_rate=0.001, at_edge=True)
    """
    rates = sorted(tried)
    best = max(rates, key=lambda rate: (*_rank(tried[rate]), -rate))
    return BestRate(best, len(rates) > 1 and best in (rates[0], rates[-1]))


def _rank(accuracies: Sequence[float | None]) -> tuple[bool, float]:
    """Whether every trial finished, and the mean accuracy of those that did."""
    known = np.array([accuracy for accuracy in accuracies if accuracy is not None])
    mean = float(known.mean()) if len(known) else -np.inf
    return len(known) == len(accuracies), round(mean, DECIMALS)


def extended(grid: Sequence[float], best: Iterable[BestRate]) -> tuple[float, ...]:
    """The grid and one rate more beyond each edge at which a best rate lies; the same grid where none does.

    Args:
        grid: the learning rates that were tried, for every variant.
        best: the best rate of each variant.

    Example:
        >>> extended((1e-3, 3e-3), [BestRate(3e-3, at_edge=True), BestRate(3e-3, at_edge=True)])
        (0.001, 0.003, 0.01)
    """
    rates = sorted(grid)
    edges = {rate.learning_rate for rate in best if rate.at_edge}
    lower = [beyond(rates[0], -1)] if rates[0] in edges else []
    higher = [beyond(rates[-1], 1)] if rates[-1] in edges else []
    return (*lower, *rates, *higher)


def widest(grid: Sequence[float]) -> tuple[float, ...]:
    """Every rate that the grid can come to hold when it extends itself."""
    for _ in range(STEPS):
        grid = (beyond(min(grid), -1), *grid, beyond(max(grid), 1))
    return tuple(grid)


def beyond(rate: float, direction: int) -> float:
    """The next of 1, 3, 10, 30, ... above a rate, or below it, at a factor of at least 2.

    >>> beyond(3e-3, 1), beyond(3e-4, -1), beyond(8e-3, 1)
    (0.01, 0.0001, 0.03)
    """
    exponent = int(f"{rate:e}".split("e")[1])
    ladder = [float(f"{digit}e{exponent + step}") for step in range(-2, 3) for digit in (1, 3)]
    if direction > 0:
        return min(step for step in ladder if step >= 2 * rate)
    return max(step for step in ladder if 2 * step <= rate)
