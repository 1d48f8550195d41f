"""Which learning rate each variant compares at: the best on the validation images of the tuning seeds.

Example:
    >>> import pandas as pd
    >>> tuned = pd.DataFrame({"phase": "tune", "blocks": 1, "learning_rate": [1e-3, 3e-3, 1e-2], "seed": 9,
    ...                       "status": "done", "val_accuracy": [0.96, 0.98, 0.97]})
    >>> best_learning_rates(tuned)
    {1: BestRate(learning_rate=0.003, at_edge=False)}
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:  # only its methods are called here, so `--help` need not wait for the import
    import pandas as pd


class BestRate(NamedTuple):
    """The learning rate that tuning chose, and whether it is the lowest or the highest of several tried."""

    learning_rate: float
    at_edge: bool


def best_learning_rates(results: "pd.DataFrame", by: str = "blocks") -> dict[Any, BestRate]:
    """The best learning rate of each tuned variant: the highest mean validation accuracy over the tuning seeds.

    A rate at which a tuning trial diverged or failed ranks below every rate without one; of equal rates the smaller is
    taken. Variants without tuning trials are left out.
    """
    tuned = results[results["phase"] == "tune"]
    return {variant: _best_rate(tuned[tuned[by] == variant]) for variant in values_of(tuned, by)}


def _best_rate(trials: "pd.DataFrame") -> BestRate:
    def rank(rate: float) -> tuple[bool, float, float]:
        tried = trials[trials["learning_rate"] == rate]
        finished = tried.loc[tried["status"] == "done", "val_accuracy"].dropna()
        mean = finished.mean() if len(finished) else -np.inf
        return bool((tried["status"] == "done").all()), round(float(mean), 9), -rate  # rounded, or ties are luck

    grid = sorted(trials["learning_rate"].unique())
    best = max(grid, key=rank)
    return BestRate(float(best), len(grid) > 1 and best in (grid[0], grid[-1]))


def values_of(results: "pd.DataFrame", by: str) -> list[Any]:
    """The values of the variant column: numbers in ascending order, others as they first appear."""
    values = [plain(value) for value in results[by].dropna().unique()]
    return sorted(values) if all(isinstance(value, (int, float)) for value in values) else values


def plain(value: Any) -> Any:
    """A Python value for JSON: whole numbers as int, unknown as None.

    Example:
        >>> plain(np.float64(2.0)), plain(np.nan)
        (2, None)
    """
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return None if np.isnan(value) else int(value) if value.is_integer() else value
    return value
