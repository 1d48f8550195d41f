"""Computes the answer of a sweep from its results: the recommended number of blocks, and how sure it is.

Validation accuracy alone decides; test accuracy only describes. Accuracies are fractions.

Example:
    >>> from cnn.training.folder import Result
    >>> accuracies = {1: [0.96, 0.97], 2: [0.98, 0.98]}
    >>> rows = [Row("compare", blocks, 1e-3, seed, Result("done", val_accuracy=value, test_accuracy=value))
    ...         for blocks, values in accuracies.items() for seed, value in enumerate(values)]
    >>> found = answer(rows, dataset="mnist", match="width", margin=0.002)
    >>> found.recommended, found.indistinguishable
    (2, (1,))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from cnn.study.results import ACCURACY, Row, Summary, by_seed, compared, summarize, variant_name
from cnn.study.statistics import RESOLUTION, Interval, bootstrap_interval, holm, paired_p_value

SIGNIFICANCE = 0.05  # of the family of comparisons with the recommended depth
NO_IMAGES: Mapping[int, np.ndarray | None] = MappingProxyType({})


class Choice(NamedTuple):
    """The rule's choice, and the numbers of each depth that led to it."""

    chosen: int | None  # the index of the depth; None where no trial finished
    shortfall: np.ndarray  # [depths], best mean minus this depth's mean; inf where the depth is not ranked
    allowance: np.ndarray  # [depths], max(margin, standard error of the paired difference)


@dataclass(frozen=True)
class Depth:
    """One number of blocks: a summary of its trials, and its numbers in the rule and in the tests."""

    summary: Summary
    bootstrap: Interval | None  # 95 % interval of the test accuracy over seeds and test images
    shortfall: float | None  # best mean validation accuracy minus this depth's; None where the depth is not ranked
    allowance: float | None  # the shortfall that the rule accepts
    p_adjusted: float | None  # paired t-test on test accuracy against the recommended depth, Holm-adjusted

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return self.summary.variant

    def to_json(self) -> dict[str, Any]:
        """The plain values that `answer.json` keeps."""
        low, high = self.bootstrap or (None, None)
        return {
            "blocks": self.blocks,
            **self.summary.to_json(),
            "test_bootstrap_low": low,
            "test_bootstrap_high": high,
            "shortfall": self.shortfall,
            "allowance": self.allowance,
            "p_adjusted": self.p_adjusted,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Depth":
        """The depth whose plain values these are."""
        low = values["test_bootstrap_low"]
        return cls(
            summary=Summary.from_json(values["blocks"], values),
            bootstrap=None if low is None else (low, values["test_bootstrap_high"]),
            shortfall=values["shortfall"],
            allowance=values["allowance"],
            p_adjusted=values["p_adjusted"],
        )


@dataclass(frozen=True)
class Answer:
    """How many blocks to use. Intervals are 95 %; a value that is unknown is None."""

    dataset: str
    match: str  # what the depths have in common: width, parameters or macs
    margin: float  # shortfall in validation accuracy that the rule always accepts
    recommended: int | None  # number of blocks; None where no trial finished
    rule: str  # the rule in one sentence, with its numbers
    indistinguishable: tuple[int, ...]  # other depths with a finished trial that the tests do not tell apart
    depths: tuple[Depth, ...]  # in ascending order

    @property
    def best(self) -> Depth | None:
        """The recommended depth."""
        return next((depth for depth in self.depths if depth.blocks == self.recommended), None)

    def to_json(self) -> dict[str, Any]:
        """The plain values that `answer.json` keeps."""
        return {
            "recommended_blocks": self.recommended,
            "rule": self.rule,
            "margin": float(self.margin),
            "indistinguishable": list(self.indistinguishable),
            "dataset": self.dataset,
            "match": self.match,
            "depths": [depth.to_json() for depth in self.depths],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Answer":
        """The answer in an `answer.json`, which an earlier process wrote."""
        return cls(
            dataset=values["dataset"],
            match=values["match"],
            margin=values["margin"],
            recommended=values["recommended_blocks"],
            rule=values["rule"],
            indistinguishable=tuple(values["indistinguishable"]),
            depths=tuple(map(Depth.from_json, values["depths"])),
        )


def choose(accuracy: np.ndarray, margin: float) -> Choice:
    """The rule on an array: the first row whose mean is within reach of the best row's.

    A row is within reach if it is short of the best mean by at most max(margin, SE). SE is the standard error (ddof 1)
    of the difference to the best row, paired by seed; below two common seeds it is 0. This is the one-standard-error
    rule of Breiman et al. (1984), paired, with a margin that does not depend on the number of seeds. A row with an
    unknown value (of a diverged trial, for example) is ranked only if every row has one. It is then compared on the
    seeds that it shares with the best row.

    Args:
        accuracy: [depths, seeds], validation accuracies from the shallowest to the deepest; NaN where unknown.
        margin: shortfall that is always accepted.

    >>> choose(np.array([[0.96, 0.97], [0.98, 0.98]]), margin=0.002)  # short by 0.015, SE 0.005
    Choice(chosen=1, shortfall=array([0.015, 0.   ]), allowance=array([0.005, 0.002]))
    """
    accuracy = np.asarray(accuracy, float)
    known = ~np.isnan(accuracy)
    complete = known.all(axis=1)
    if complete.any():
        known &= complete[:, None]
    mean = _mean(accuracy, known, unknown=-np.inf)
    if not np.isfinite(mean).any():
        return Choice(None, np.full(len(mean), np.inf), np.full(len(mean), margin))
    best = int(np.argmax(mean >= mean.max() - RESOLUTION))  # of equally good depths, the smallest
    difference = accuracy[best] - accuracy
    paired = known & known[best]
    shortfall = _mean(difference, paired, unknown=np.inf)
    allowance = np.maximum(margin, _standard_error(difference, shortfall, paired))
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


def answer(
    rows: Sequence[Row],
    *,
    dataset: str,
    match: str,
    margin: float,
    correct: Mapping[int, np.ndarray | None] = NO_IMAGES,
) -> Answer:
    """The recommended depth, and for each depth its accuracy, intervals, cost and p-value.

    Args:
        rows: one for each trial; the variants are numbers of blocks.
        dataset: name of the data set.
        match: what the depths have in common: width, parameters or macs.
        margin: shortfall in validation accuracy that the rule always accepts.
        correct: for each depth, boolean [seeds, images]: which test images each finished seed has right. A depth that
            is missing, or None, gets no bootstrap interval.

    Returns:
        The answer. `indistinguishable` has each other depth with a finished trial whose `p_adjusted` is unknown or at
        least 0.05.

    Raises:
        ValueError: a depth has two comparison trials of one seed.
    """
    summaries = summarize(rows)
    depths = [summary.variant for summary in summaries]
    trials = compared(rows)
    choice = choose(by_seed(trials, "val_accuracy", depths), margin)
    adjusted = _adjusted_p_values(by_seed(trials, ACCURACY, depths), choice.chosen)
    found = []
    for index, summary in enumerate(summaries):
        images = correct.get(summary.variant)
        ranked = bool(np.isfinite(choice.shortfall[index]))
        found.append(
            Depth(
                summary=summary,
                bootstrap=None if images is None else bootstrap_interval(images),
                shortfall=float(choice.shortfall[index]) if ranked else None,
                allowance=float(choice.allowance[index]) if ranked else None,
                p_adjusted=adjusted.get(index),
            )
        )
    others = [depth for index, depth in enumerate(found) if choice.chosen not in (None, index) and depth.summary.n]
    alike = [depth.blocks for depth in others if depth.p_adjusted is None or depth.p_adjusted >= SIGNIFICANCE]
    return Answer(
        dataset=dataset,
        match=match,
        margin=margin,
        recommended=None if choice.chosen is None else depths[choice.chosen],
        rule=_rule(found, margin),
        indistinguishable=tuple(alike),
        depths=tuple(found),
    )


def _adjusted_p_values(test: np.ndarray, chosen: int | None) -> dict[int, float | None]:
    """The adjusted p-values of all depths but the chosen one, by index; `test` are accuracies [depths, seeds]."""
    if chosen is None:
        return {}
    others = (index for index in range(len(test)) if index != chosen)
    return holm({index: paired_p_value(test[chosen], test[index]) for index in others})


def _rule(depths: Sequence[Depth], margin: float) -> str:
    """The rule in one sentence, with its numbers."""
    ranked = [depth for depth in depths if depth.shortfall is not None]
    best = min(ranked, key=lambda depth: depth.shortfall or 0.0, default=None)
    reference = f" ({variant_name('blocks', best.blocks)}: {best.summary.val.mean:.4f})" if best else ""
    several = any(depth.summary.n > 1 for depth in ranked)
    unknown = "" if several else "; of one seed SE is unknown, so the margin alone counts"
    return (
        f"the smallest depth whose mean validation accuracy falls short of the best depth's{reference} by at most "
        f"max(margin, SE), with margin {margin:g} and SE the standard error of the seed-paired difference{unknown}"
    )
