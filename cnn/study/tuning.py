"""Chooses a variant's learning rate: the best on the validation images of the tuning seeds.

Example:
    >>> best_rate({1e-3: [0.96], 3e-3: [0.98], 1e-2: [0.97]})
    BestRate(learning_rate=0.003, at_edge=False)
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

DECIMALS = 9  # means are compared to this many, so that rounding errors do not separate equal means


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
