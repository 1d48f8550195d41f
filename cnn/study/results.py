"""The results of a study's trials as rows for the statistics: one row for each trial.

Validation accuracy alone decides; test accuracy only describes. Variants that are numbers are in ascending order, other
variants in the order in which they first appear.

Example:
    >>> rows = [Row("compare", blocks, 1e-3, seed, Result("done", val_accuracy=0.9 + 0.02 * blocks))
    ...         for blocks in (2, 1) for seed in (0, 1)]
    >>> variants_of(rows)
    [1, 2]
    >>> by_seed(compared(rows), "val_accuracy", [1, 2])
    array([[0.92, 0.92],
           [0.94, 0.94]])
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn.study.statistics import Estimate, moments
from cnn.study.tuning import BestRate, best_rate
from cnn.training.folder import Result

ACCURACY = "test_accuracy"


@dataclass(frozen=True)
class Row:
    """One trial: what was run, and its result."""

    phase: str  # tune or compare
    variant: Any  # the value of the study's column, such as the number of blocks
    learning_rate: float | None
    seed: int
    result: Result

    @property
    def done(self) -> bool:
        """Whether the trial finished and learnt something: it neither diverged nor collapsed."""
        return self.result.status == "done" and not self.result.collapsed

    def value(self, name: str) -> float:
        """The number of that name, from the result or from what was measured; NaN where it is unknown."""
        number = self.result.value(name)
        return np.nan if number is None else float(number)


@dataclass(frozen=True)
class Summary:
    """The trials of one variant in numbers: of the comparison, unless a name begins with tuning. None is unknown."""

    variant: Any
    learning_rate: float | None  # the rate that tuning chose, or the only rate
    learning_rate_at_edge: bool  # whether it is at the edge of the grid that tuning tried
    n: int  # trials done, without those that collapsed
    diverged: int
    collapsed: int  # finished, and no better than always the commonest class
    failed: int
    val: Estimate  # validation accuracy
    test: Estimate  # test accuracy
    parameters: int | None
    macs: int | None  # multiply-accumulates of one image forward
    train_seconds: float | None  # mean over the trials
    tuning_tried: int = 0  # trials that chose the learning rate; the next two are among them
    tuning_diverged: int = 0
    tuning_collapsed: int = 0

    @property
    def tried(self) -> int:
        """How many trials there are: done, diverged, collapsed and failed."""
        return self.n + self.diverged + self.collapsed + self.failed

    def to_json(self) -> dict[str, Any]:
        """The plain values that a file keeps, without the variant."""
        values = dataclasses.asdict(self)
        for part in ("val", "test"):
            estimate = values.pop(part)
            values |= {f"{part}_{name}": estimate[name] for name in ("mean", "std", "low", "high")}
        first = ("learning_rate", "learning_rate_at_edge", "n", "diverged", "collapsed", "failed")
        last = ("parameters", "macs", "train_seconds", "tuning_tried", "tuning_diverged", "tuning_collapsed")
        between = [name for name in values if name not in (*first, *last, "variant")]
        return {name: values[name] for name in (*first, *between, *last)}

    @classmethod
    def from_json(cls, variant: Any, values: Mapping[str, Any]) -> "Summary":
        """The summary in these plain values, which may have others beside it."""
        val, test = (
            Estimate(values["n"], *(values[f"{part}_{name}"] for name in ("mean", "std", "low", "high")))
            for part in ("val", "test")
        )
        names = {field.name for field in dataclasses.fields(cls)} - {"variant", "val", "test"}
        return cls(variant=variant, val=val, test=test, **{name: values[name] for name in names})


def variants_of(rows: Iterable[Row]) -> list[Any]:
    """The variants: numbers in ascending order, others in the order in which they first appear."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    return sorted(variants) if all(isinstance(variant, (int, float)) for variant in variants) else variants


def best_rates(rows: Iterable[Row]) -> dict[Any, BestRate]:
    """The best learning rate of each tuned variant; variants without tuning trials are left out."""
    tried: dict[Any, dict[float, list[float | None]]] = {}
    for row in rows:
        if row.phase == "tune" and row.learning_rate is not None:
            accuracy = row.result.val_accuracy if row.done else None
            tried.setdefault(row.variant, {}).setdefault(row.learning_rate, []).append(accuracy)
    return {variant: best_rate(rates) for variant, rates in tried.items()}


def compared(rows: Sequence[Row]) -> list[Row]:
    """The trials of the phase `compare`, those of each variant at its best learning rate.

    A work folder whose grid has grown may hold older comparison trials at another rate; these do not count.

    Raises:
        ValueError: a variant has two such trials of one seed.
    """
    best = best_rates(rows)
    trials: dict[tuple[Any, int], Row] = {}
    for row in rows:
        chosen = best.get(row.variant)
        if row.phase != "compare" or (chosen is not None and row.learning_rate != chosen.learning_rate):
            continue
        if (row.variant, row.seed) in trials:
            raise ValueError(f"{row.variant!r}, seed={row.seed}: two comparison trials, where one is expected")
        trials[row.variant, row.seed] = row
    return list(trials.values())


def by_seed(rows: Iterable[Row], name: str, variants: Sequence[Any]) -> np.ndarray:
    """One number of the finished trials: [variants, seeds], seeds in ascending order, NaN where unknown."""
    done = [row for row in rows if row.done]
    seeds = sorted({row.seed for row in done})
    values = np.full((len(variants), len(seeds)), np.nan)
    for row in done:
        if row.variant in variants:
            values[variants.index(row.variant), seeds.index(row.seed)] = row.value(name)
    return values


def summarize(rows: Sequence[Row]) -> list[Summary]:
    """A summary of each variant's comparison trials, in the order of `variants_of`.

    Raises:
        ValueError: a variant has two comparison trials of one seed.
    """
    trials = compared(rows)
    best = best_rates(rows)
    return [
        _summary(
            variant,
            [row for row in trials if row.variant == variant],
            [row for row in rows if row.phase == "tune" and row.variant == variant],
            best.get(variant),
        )
        for variant in variants_of(rows)
    ]


def _summary(variant: Any, rows: list[Row], tuning: list[Row], best: BestRate | None) -> Summary:
    done = [row for row in rows if row.done]
    rates = {row.learning_rate for row in rows if row.learning_rate is not None}
    rate = best.learning_rate if best else rates.pop() if len(rates) == 1 else None
    seconds = np.array([row.value("train_seconds") for row in done])
    known = seconds[~np.isnan(seconds)]
    return Summary(
        variant=variant,
        learning_rate=rate,
        learning_rate_at_edge=bool(best and best.at_edge),
        n=len(done),
        diverged=sum(row.result.status == "diverged" for row in rows),
        collapsed=sum(bool(row.result.collapsed) for row in rows),
        failed=sum(row.result.status == "failed" for row in rows),
        val=moments([row.value("val_accuracy") for row in done]),
        test=moments([row.value(ACCURACY) for row in done]),
        parameters=next((row.result.parameters for row in rows if row.result.parameters is not None), None),
        macs=next((row.result.macs for row in rows if row.result.macs is not None), None),
        train_seconds=float(known.mean()) if len(known) else None,
        tuning_tried=len(tuning),
        tuning_diverged=sum(row.result.status == "diverged" for row in tuning),
        tuning_collapsed=sum(bool(row.result.collapsed) for row in tuning),
    )


def variant_name(column: str, variant: Any) -> str:
    """A variant in words.

    >>> variant_name("blocks", 1), variant_name("blocks", 2), variant_name("pooling", "max")
    ('1 block', '2 blocks', 'pooling=max')
    """
    return f"{variant} block{'' if variant == 1 else 's'}" if column == "blocks" else f"{column}={variant}"
