"""Computes the answer of a sweep from its results: the recommended number of blocks, and how sure it is.

Validation accuracy alone decides; test accuracy only describes. Accuracies are fractions.

Example:
    >>> from cnn.training.folder import Result
    >>> accuracies = {1: [0.96, 0.97], 2: [0.98, 0.98]}
    >>> rows = [Row("compare", blocks, 1e-3, seed, Result("done", val_accuracy=value, test_accuracy=value))
    ...         for blocks, values in accuracies.items() for seed, value in enumerate(values)]
    >>> result = answer(rows, dataset="mnist", match="width", margin=0.05)
    >>> result.recommended, result.indistinguishable
    (2, (1,))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from cnn.study.results import ACCURACY, Row, Summary, by_seed, compared, summarize, variant_name
from cnn.study.rule import choose
from cnn.study.stability import pick_shares
from cnn.study.statistics import (
    RESOLUTION,
    Estimate,
    Interval,
    bootstrap_interval,
    detectable_difference,
    differences,
    holm,
    paired_p_value,
)

SIGNIFICANCE = 0.05  # of the family of comparisons with the recommended depth
NO_IMAGES: Mapping[int, np.ndarray | None] = MappingProxyType({})


@dataclass(frozen=True)
class Depth:
    """One number of blocks: a summary of its trials, and its numbers in the rule and in the tests."""

    summary: Summary
    bootstrap: Interval | None  # 95 % interval of the test accuracy over seeds and test images
    shortfall: float | None  # best mean validation accuracy minus this depth's; None where the depth is not ranked
    allowance: float | None  # the shortfall that the rule accepts
    difference: Estimate | None  # test accuracy minus the recommended depth's, paired by seed; None for that depth
    p_adjusted: float | None  # paired t-test on test accuracy against the recommended depth, Holm-adjusted
    detectable: float | None  # the smallest true difference that four of five such sweeps would find
    pick_share: float | None  # how often the rule takes this depth on resampled seeds and validation images

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return self.summary.variant

    @property
    def good_enough(self) -> bool:
        """Whether the depth is ranked, and falls short by no more than the rule accepts."""
        return (
            self.shortfall is not None and self.allowance is not None and self.shortfall <= self.allowance + RESOLUTION
        )

    def to_json(self) -> dict[str, Any]:
        """The plain values that `answer.json` keeps."""
        low, high = self.bootstrap or (None, None)
        difference = self.difference or Estimate(0)
        return {
            "blocks": self.blocks,
            **self.summary.to_json(),
            "test_bootstrap_low": low,
            "test_bootstrap_high": high,
            "shortfall": self.shortfall,
            "allowance": self.allowance,
            "difference": difference.mean,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "difference_n": difference.n,
            "difference_std": difference.std,
            "p_adjusted": self.p_adjusted,
            "detectable_difference": self.detectable,
            "pick_share": self.pick_share,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Depth":
        """The depth whose plain values these are."""
        low = values["test_bootstrap_low"]
        names = ("difference_n", "difference", "difference_std", "difference_low", "difference_high")
        difference = Estimate(*(values[name] for name in names))
        return cls(
            summary=Summary.from_json(values["blocks"], values),
            bootstrap=None if low is None else (low, values["test_bootstrap_high"]),
            shortfall=values["shortfall"],
            allowance=values["allowance"],
            difference=difference if difference.n else None,
            p_adjusted=values["p_adjusted"],
            detectable=values["detectable_difference"],
            pick_share=values["pick_share"],
        )


@dataclass(frozen=True)
class Answer:
    """How many blocks to use. Intervals are 95 %; a value that is unknown is None."""

    dataset: str
    match: str  # what the depths have in common: width, parameters or macs
    margin: float  # share of the best depth's validation error that the rule always accepts as shortfall
    recommended: int | None  # number of blocks; None where no trial finished
    rule: str  # the rule in one sentence, with its numbers
    indistinguishable: tuple[int, ...]  # other depths with a finished trial that the tests do not tell apart
    depths: tuple[Depth, ...]  # in ascending order
    learning_rates: tuple[float, ...]  # those that tuning tried, in ascending order; none where there was one rate
    deeper_fits: bool  # whether the images allow more blocks than the deepest depth that was tried

    @property
    def best(self) -> Depth | None:
        """The recommended depth."""
        return next((depth for depth in self.depths if depth.blocks == self.recommended), None)

    @property
    def ranked(self) -> tuple[Depth, ...]:
        """The depths that the rule ranks."""
        return tuple(depth for depth in self.depths if depth.shortfall is not None)

    @property
    def most_accurate(self) -> Depth | None:
        """The ranked depth that all others fall short of: that of the highest mean validation accuracy."""
        return _most_accurate(self.ranked)

    def to_json(self) -> dict[str, Any]:
        """The plain values that `answer.json` keeps."""
        return {
            "recommended_blocks": self.recommended,
            "rule": self.rule,
            "margin": float(self.margin),
            "indistinguishable": list(self.indistinguishable),
            "dataset": self.dataset,
            "match": self.match,
            "learning_rates": list(self.learning_rates),
            "deeper_fits": self.deeper_fits,
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
            learning_rates=tuple(values["learning_rates"]),
            deeper_fits=values["deeper_fits"],
        )


def answer(
    rows: Sequence[Row],
    *,
    dataset: str,
    match: str,
    margin: float,
    deeper_fits: bool = False,
    correct: Mapping[int, np.ndarray | None] = NO_IMAGES,
    val_correct: Mapping[int, np.ndarray | None] = NO_IMAGES,
) -> Answer:
    """The recommended depth, and for each depth its accuracy, intervals, cost and p-value.

    Args:
        rows: one for each trial; the variants are numbers of blocks.
        dataset: name of the data set.
        match: what the depths have in common: width, parameters or macs.
        margin: share of the best depth's validation error that the rule always accepts as shortfall.
        deeper_fits: whether the images allow more blocks than the deepest depth.
        correct: for each depth, boolean [seeds, images]: which test images each finished seed has right. A depth that
            is missing, or None, gets no bootstrap interval.
        val_correct: the same for validation images. Without those of a depth, or where a seed of any depth did not
            finish, there are no shares of picks; nor of one seed, which no resample varies.

    Returns:
        The answer. `indistinguishable` has each other depth with a finished trial whose `p_adjusted` is unknown or at
        least 0.05.

    Raises:
        ValueError: a depth has two comparison trials of one seed.
    """
    summaries = summarize(rows)
    depths = [summary.variant for summary in summaries]
    trials = compared(rows)
    validation = by_seed(trials, "val_accuracy", depths)
    choice = choose(validation, margin)
    test = by_seed(trials, ACCURACY, depths)
    to_chosen = _to_chosen(test, choice.chosen)
    adjusted = holm({index: paired_p_value(test[index], test[choice.chosen]) for index in to_chosen})
    tests = sum(p is not None for p in adjusted.values())
    complete = not np.isnan(validation).any() and validation.shape[1] > 1  # every depth has every seed, of several
    shares = _pick_shares([val_correct.get(depth) for depth in depths], margin) if complete else [None] * len(depths)
    described = []
    for index, summary in enumerate(summaries):
        images = correct.get(summary.variant)
        ranked = bool(np.isfinite(choice.shortfall[index]))
        difference = differences(to_chosen[index]) if index in to_chosen else None
        described.append(
            Depth(
                summary=summary,
                bootstrap=None if images is None else bootstrap_interval(images),
                shortfall=float(choice.shortfall[index]) if ranked else None,
                allowance=float(choice.allowance[index]) if ranked else None,
                difference=difference,
                p_adjusted=adjusted.get(index),
                detectable=None if difference is None else detectable_difference(difference, tests),
                pick_share=shares[index],
            )
        )
    others = [depth for index, depth in enumerate(described) if choice.chosen not in (None, index) and depth.summary.n]
    alike = [depth.blocks for depth in others if depth.p_adjusted is None or depth.p_adjusted >= SIGNIFICANCE]
    return Answer(
        dataset=dataset,
        match=match,
        margin=margin,
        recommended=None if choice.chosen is None else depths[choice.chosen],
        rule=_rule(described, margin),
        indistinguishable=tuple(alike),
        depths=tuple(described),
        learning_rates=tuple(sorted({row.learning_rate for row in rows if row.phase == "tune" and row.learning_rate})),
        deeper_fits=deeper_fits,
    )


def _to_chosen(test: np.ndarray, chosen: int | None) -> dict[int, np.ndarray]:
    """Test accuracies of each other depth minus the chosen one's, seed by seed, by the depth's index."""
    if chosen is None:
        return {}
    return {index: values - test[chosen] for index, values in enumerate(test) if index != chosen}


def _pick_shares(correct: Sequence[np.ndarray | None], margin: float) -> list[float | None]:
    """The share of picks of each depth; unknown where a depth's answers are not known."""
    known = [right for right in correct if right is not None]
    return pick_shares(known, margin).tolist() if known and len(known) == len(correct) else [None] * len(correct)


def _most_accurate(ranked: Sequence[Depth]) -> Depth | None:
    """The depth of the highest mean validation accuracy; of equally good ones the smallest, as in the rule.

    A shortfall may be negative, where depths share only some of their seeds, so the least one does not tell.
    """
    means = {depth.blocks: depth.summary.val.mean or 0.0 for depth in ranked}
    high = max(means.values(), default=0.0) - RESOLUTION
    return next((depth for depth in ranked if means[depth.blocks] >= high), None)


def _rule(depths: Sequence[Depth], margin: float) -> str:
    """The rule in one sentence, with its numbers."""
    ranked = [depth for depth in depths if depth.shortfall is not None]
    best = _most_accurate(ranked)
    reference = f" ({variant_name('blocks', best.blocks)}: {best.summary.val.mean:.4f})" if best else ""
    several = any(depth.summary.n > 1 for depth in ranked)
    lacking = any(depth.summary.n and depth.shortfall is None for depth in depths)
    whose = ", of those whose every seed succeeded," if lacking else ""
    unknown = "" if several else "; of one seed SE is unknown, so the share of the error alone counts"
    return (
        f"the smallest depth{whose} whose mean validation accuracy falls short of the best depth's{reference} by at "
        f"most max({margin:g} x error, SE), where error is the best depth's mean validation error and SE the standard "
        f"error of the seed-paired difference{unknown}"
    )
