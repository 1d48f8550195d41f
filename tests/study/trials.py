"""Rows of results, as the statistics see them."""

from types import MappingProxyType

import numpy as np

from cnn.study.answer import answer
from cnn.study.comparison import Comparison, Variant, compare
from cnn.study.results import Row, Summary
from cnn.study.statistics import Estimate
from cnn.training.folder import Result


def row(phase="compare", blocks=1, rate=1e-3, seed=0, val=None, test=None, status="done", seconds=1.0, **measured):
    """One trial; cost grows with the depth."""
    cost = blocks if isinstance(blocks, int) else 0
    result = Result(
        status,
        val_accuracy=val,
        test_accuracy=test,
        parameters=100 + cost,
        macs=1000 + cost,
        train_seconds=seconds,
        measured=measured,
    )
    return Row(phase, blocks, rate, seed, result)


def compared(accuracies, **options):
    """Rows from {depth: [accuracy of seed 0, 1, ...]}; None is a diverged trial; test accuracy is validation's."""
    return [
        row(
            blocks=blocks,
            seed=seed,
            val=value,
            test=value,
            **{"status": "diverged" if value is None else "done", **options},
        )
        for blocks, values in accuracies.items()
        for seed, value in enumerate(values)
    ]


def tuned(trials):
    """Rows from (rate, seed, accuracy), None for a diverged trial."""
    return [
        row("tune", rate=rate, seed=seed, val=value, status="diverged" if value is None else "done")
        for rate, seed, value in trials
    ]


LOG_SPACED = np.geomspace(1e-4, 1e-1, 24)  # rates whose last digit a table on disk may change

MAX = [0.98, 0.97, 0.99]
STRIDE = [0.95, 0.96, 0.95]


def answered(rows, dataset="mnist", match="width", margin=0.05, **options):
    """The answer of these rows."""
    return answer(rows, dataset=dataset, match=match, margin=margin, **options)


def compared_pooling(accuracies, **options):
    """The comparison of ways to pool, with maximum pooling as the reference."""
    return compare(compared(accuracies), column="pooling", reference="max", **options)


def comparison_of(name, **options):
    """A comparison that holds one variant."""
    unknown = {"difference": None, "p": None, "p_adjusted": None, "detectable": None, "seconds_ratio": None}
    summary = Summary(name, 1e-3, False, 5, 0, 0, 0, Estimate(0), Estimate(0), 10, 1000, 1.0)
    variant = Variant(summary, MappingProxyType({}), **unknown | options)
    return Comparison("pooling", "max", "test_accuracy", (variant,))
