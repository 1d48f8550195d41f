"""Which trials a study has, and which of them are still ahead of it.

The trials of phase `compare` depend on the learning rates that tuning chooses; until then they are planned at the first
rate of the grid. Their number and their work are the same at every rate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnn.study.plan import Plan, Trial
from cnn.study.results import best_rates
from cnn.study.tuning import STEPS, extended
from cnn.training.folder import Result


@dataclass(frozen=True, eq=False)
class Ahead:
    """The trials of a study, and the results of those that have finished."""

    plan: Plan  # with the grid to which an earlier run has extended it
    tuning: tuple[Trial, ...]
    comparing: tuple[Trial, ...]  # at the first rate of the grid where the best one is not known yet
    finished: Mapping[Trial, Result]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trials of both phases."""
        return (*self.tuning, *self.comparing)

    @property
    def missing(self) -> tuple[Trial, ...]:
        """The trials that have not finished."""
        return tuple(trial for trial in self.trials if trial not in self.finished)


def ahead(plan: Plan, finished: Mapping[Trial, Result]) -> Ahead:
    """The trials that a study has when these have finished.

    A variant's comparison trials count as finished only if its learning rate has been chosen already.
    """
    plan = _tuned_before(plan, finished)
    tuning = plan.tuning()
    tuned = among(finished, tuning)
    waiting = {trial.variant for trial in tuning if trial not in tuned}
    known = {variant: chosen for variant, chosen in rates(plan, tuned).items() if variant not in waiting}
    comparing = plan.comparing({variant: known.get(variant, plan.grid[:1]) for variant in plan.study.variants})
    compared = among(finished, plan.comparing(known))
    return Ahead(plan, tuple(tuning), tuple(comparing), {**tuned, **compared})


def among(finished: Mapping[Trial, Result], trials: Sequence[Trial]) -> dict[Trial, Result]:
    """The results of these trials, as far as they have finished."""
    return {trial: finished[trial] for trial in trials if trial in finished}


def _tuned_before(plan: Plan, finished: Mapping[Trial, Result]) -> Plan:
    """The plan with the grid to which an earlier run has extended it."""
    for _ in range(STEPS):
        tuned = among(finished, plan.tuning())
        grown = wider(plan, tuned) if len(tuned) == len(plan.tuning()) else plan
        if grown.grid == plan.grid:
            return plan
        plan = grown
    return plan


def wider(plan: Plan, tuned: Mapping[Trial, Result]) -> Plan:
    """The plan with one rate more beyond each edge at which a variant's best rate lies, if the grid may extend."""
    best = best_rates([trial.row(result) for trial, result in tuned.items()])
    return replace(plan, grid=extended(plan.grid, best.values())) if plan.extends else plan


def tried_too(grid: Sequence[float], grown: Sequence[float]) -> str:
    """Why a grid has grown, and by which rates.

    >>> tried_too((0.01, 0.03), (0.01, 0.03, 0.1))
    'a best learning rate lies at the edge of the grid, so 0.1 is tried too'
    """
    added = ", ".join(f"{rate:g}" for rate in grown if rate not in grid)
    return f"a best learning rate lies at the edge of the grid, so {added} is tried too"


def rates(plan: Plan, tuned: Mapping[Trial, Result]) -> dict[Any, tuple[float]]:
    """The learning rate of each variant's comparison trials: the best of those tuned, or the only one."""
    study = plan.study
    if not plan.tunes:
        return {variant: (float(plan.grid[0]),) for variant in study.variants}
    best = best_rates([trial.row(result) for trial, result in tuned.items()])
    return {variant: (rate.learning_rate,) for variant, rate in best.items()}
