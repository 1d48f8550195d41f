"""The rule that recommends a depth: the smallest whose validation accuracy is within reach of the best.

Example:
    >>> choose(np.array([[0.96, 0.97], [0.98, 0.98]]), margin=0.05).chosen  # short by 0.015, where 0.005 are allowed
    1
"""

from typing import NamedTuple

import numpy as np

from cnn.study.statistics import RESOLUTION


class Choice(NamedTuple):
    """The rule's choice, and the numbers of each depth that led to it."""

    chosen: int | None  # the index of the depth; None where no trial finished
    shortfall: np.ndarray  # [depths], best mean minus this depth's mean; inf where the depth is not ranked
    allowance: np.ndarray  # [depths], max(margin x error of the best, standard error of the paired difference)


def choose(accuracy: np.ndarray, margin: float) -> Choice:
    """The rule on an array: the first row whose mean is within reach of the best row's.

    A row is within reach if it is short of the best mean by at most max(margin x error, SE). The error is 1 minus the
    best mean: a further block must remove at least the share `margin` of it. SE is the standard error (ddof 1) of the
    difference to the best row, paired by seed; below two common seeds it is 0. This is the one-standard-error rule of
    Breiman et al. (1984), paired, with a margin that does not depend on the number of seeds. A row with an unknown
    value (of a diverged trial, for example) is ranked only if every row has one. It is then compared on the seeds that
    it shares with the best row.

    Args:
        accuracy: [depths, seeds], validation accuracies from the shallowest to the deepest; NaN where unknown.
        margin: the share of the best row's error that is always accepted as shortfall.

    >>> choose(np.array([[0.96, 0.97], [0.98, 0.98]]), margin=0.05)  # short by 0.015, SE 0.005; 0.05 x 0.02 is less
    Choice(chosen=1, shortfall=array([0.015, 0.   ]), allowance=array([0.005, 0.001]))
    """
    accuracy = np.asarray(accuracy, float)
    known = ~np.isnan(accuracy)
    complete = known.all(axis=1)
    if complete.any():
        known &= complete[:, None]
    mean = _mean(accuracy, known, unknown=-np.inf)
    if not np.isfinite(mean).any():
        return Choice(None, np.full(len(mean), np.inf), np.full(len(mean), np.inf))
    best = int(np.argmax(mean >= mean.max() - RESOLUTION))  # of equally good depths, the smallest
    difference = accuracy[best] - accuracy
    paired = known & known[best]
    shortfall = _mean(difference, paired, unknown=np.inf)
    allowance = np.maximum(margin * (1 - mean[best]), _standard_error(difference, shortfall, paired))
    return Choice(int(np.argmax(shortfall <= allowance + RESOLUTION)), shortfall, allowance)


def _mean(values: np.ndarray, known: np.ndarray, unknown: float) -> np.ndarray:
    """The mean of each row's known values; NumPy's masked arrays give the same bits and take eight times as long."""
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), unknown), where=count > 0)


def _standard_error(values: np.ndarray, mean: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The standard error (ddof 1) of each row's mean over its known values; 0 for fewer than two values."""
    count = known.sum(axis=1)
    squares = np.where(known, values - mean[:, None], 0.0) ** 2
    variance = np.divide(squares.sum(axis=1), count - 1, out=np.zeros(len(values)), where=count > 1)
    return np.sqrt(variance) / np.sqrt(np.maximum(count, 1))
