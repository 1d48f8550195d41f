"""Compares variants of a network: means with intervals, and differences to a reference, paired by seed.

The main job ranks depths and recommends one (`answer`). Every other experiment compares variants with a reference. The
tests only describe: no choice depends on test images.

Example:
    >>> from cnn.training.folder import Result
    >>> accuracies = {"max": [0.98, 0.97], "stride": [0.96, 0.96]}
    >>> rows = [Row("compare", name, 1e-3, seed, Result("done", test_accuracy=value, train_seconds=1.0))
    ...         for name, values in accuracies.items() for seed, value in enumerate(values)]
    >>> stride = compare(rows, column="pooling", reference="max")["stride"]
    >>> round(stride.difference.mean, 3), round(stride.p_adjusted, 3)
    (-0.015, 0.205)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cnn.study.results import ACCURACY, Row, Summary, by_seed, compared, summarize
from cnn.study.statistics import Estimate, detectable_difference, differences, holm, moments, paired_p_value, ratios


@dataclass(frozen=True)
class Variant:
    """One variant: its trials in numbers, and how it differs from the reference. A value that is unknown is None."""

    summary: Summary
    measured: Mapping[str, Estimate]  # the metric, and what else was asked for, by name
    difference: Estimate | None  # of the metric to the reference, paired by seed; None for the reference itself
    p: float | None  # paired t-test on the metric against the reference; None for the reference itself
    p_adjusted: float | None  # the same, Holm-adjusted for all tests that one sentence draws on
    detectable: float | None  # the smallest true difference that four of five such studies would find
    seconds_ratio: Estimate | None  # training time over the reference's, seed by seed; None for the reference itself

    @property
    def name(self) -> Any:
        """The value of the study's column."""
        return self.summary.variant

    def to_json(self) -> dict[str, Any]:
        """The plain values that `answer.json` keeps, without the name."""
        difference = None
        if self.difference is not None:
            tests = {"p_adjusted": self.p_adjusted, "detectable_difference": self.detectable}
            difference = {**self.difference.to_json(), **tests}
        return {
            **self.summary.to_json(),
            "measured": {name: estimate.to_json() for name, estimate in self.measured.items()},
            "difference": difference,
            "seconds_ratio": None if self.seconds_ratio is None else self.seconds_ratio.to_json(),
        }


@dataclass(frozen=True)
class Comparison:
    """Variants compared with a reference. Intervals are 95 %."""

    column: str  # what the variants are values of, such as pooling
    reference: Any  # the variant that the others are compared with
    metric: str  # what the differences and tests are about, such as test_accuracy
    variants: tuple[Variant, ...]

    def __getitem__(self, name: Any) -> Variant:
        """The variant of that name.

        Raises:
            KeyError: there is no such variant.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)

    @property
    def others(self) -> tuple[Variant, ...]:
        """The variants without the reference."""
        return tuple(variant for variant in self.variants if variant.name != self.reference)

    def to_json(self) -> dict[str, Any]:
        """The plain values that `answer.json` keeps."""
        return {
            "by": self.column,
            "reference": self.reference,
            "metric": self.metric,
            "variants": [{self.column: variant.name, **variant.to_json()} for variant in self.variants],
        }


@dataclass(frozen=True)
class ComparisonAnswer:
    """What an experiment answers with a comparison: `answer.json` holds this."""

    experiment: str
    dataset: str
    comparison: Comparison
    sentence: str  # the result in words
    learning_rates: tuple[float, ...]  # those that were tried, in ascending order
    more: Mapping[str, Comparison] = field(default_factory=dict)  # of the same trials, by their names in the file

    def to_json(self) -> dict[str, Any]:
        """The plain values that `answer.json` keeps."""
        names = {"experiment": self.experiment, "dataset": self.dataset}
        further = {name: comparison.to_json() for name, comparison in self.more.items()}
        tried = {"learning_rates": list(self.learning_rates)}
        return {**names, **tried, **self.comparison.to_json(), **further, "sentence": self.sentence}


def compare(
    rows: Sequence[Row], *, column: str, reference: Any, metric: str = ACCURACY, others: tuple[str, ...] = ()
) -> Comparison:
    """Every variant's accuracy, cost and measurements, and how far it lies from the reference.

    Args:
        rows: one for each trial.
        column: what the variants are values of.
        reference: the variant that the others are compared with.
        metric: the number of a result that the differences and tests are about.
        others: names of more numbers of a result, to get means and intervals of.

    Returns:
        The comparison. Seeds that trained together share one timing; it counts once in the `n` of `seconds_ratio`.

    Raises:
        ValueError: the reference is no variant, or a variant has two comparison trials of one seed.
    """
    trials = compared(rows)
    summaries = summarize(rows)
    variants = [summary.variant for summary in summaries]
    place = variants.index(reference)
    measured = {name: by_seed(trials, name, variants) for name in dict.fromkeys((metric, *others))}
    values = measured[metric]
    seconds = by_seed(trials, "train_seconds", variants)
    time_ratios = seconds / seconds[place]
    described = []
    for index, summary in enumerate(summaries):
        itself = index == place
        described.append(
            Variant(
                summary=summary,
                measured={name: moments(numbers[index]) for name, numbers in measured.items()},
                difference=None if itself else differences(values[index] - values[place]),
                p=None if itself else paired_p_value(values[place], values[index]),
                p_adjusted=None,  # these two follow from all tests together, below
                detectable=None,
                seconds_ratio=None if itself else ratios(np.unique(time_ratios[index])),
            )
        )
    return in_one_family(Comparison(column, reference, metric, tuple(described)))[0]


def in_one_family(*comparisons: Comparison) -> tuple[Comparison, ...]:
    """The same comparisons, with their p-values adjusted for the tests of all of them.

    A sentence that draws on several comparisons has one chance for each test to find a difference that does not exist.
    `compare` adjusts for the tests of its own comparison alone.

    Returns:
        The comparisons in the same order.

    Example:
        >>> from cnn.training.folder import Result
        >>> accuracies = {"max": [0.98, 0.97], "stride": [0.96, 0.96]}
        >>> rows = [Row("compare", name, 1e-3, seed, Result("done", test_accuracy=value, train_seconds=1.0))
        ...         for name, values in accuracies.items() for seed, value in enumerate(values)]
        >>> alone = compare(rows, column="pooling", reference="max")
        >>> first, again = in_one_family(alone, alone)
        >>> round(first["stride"].p_adjusted / alone["stride"].p_adjusted, 6)
        2.0
    """
    tests = {
        (place, variant.name): variant.p
        for place, comparison in enumerate(comparisons)
        for variant in comparison.others
    }
    adjusted = holm(tests)
    count = sum(p is not None for p in tests.values())

    def with_tests(place: int, variant: Variant) -> Variant:
        difference = variant.difference
        detectable = None if difference is None else detectable_difference(difference, count)
        return replace(variant, p_adjusted=adjusted.get((place, variant.name)), detectable=detectable)

    return tuple(
        replace(comparison, variants=tuple(with_tests(place, variant) for variant in comparison.variants))
        for place, comparison in enumerate(comparisons)
    )
