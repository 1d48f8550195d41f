"""The two panels in the picture of an answer: what validation images decide, and what test images describe.

Each has a column for each depth, from -0.5 to 0.5 around the depth's index.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnn.show.style import BLUE, GREEN, GRID, INK, QUIET, VERMILION
from cnn.study.answer import Answer, Depth
from cnn.study.results import ACCURACY, Row, by_seed, compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR = 0.44  # width of a bar
SEEDS = -0.13  # where the seeds stand, left of a column's middle
MEAN = 0.13  # and their mean, right of it
SPREAD = 0.05  # the first and the last seed stand this far from SEEDS
FAR = 4.0  # times what matters for the decision: a longer bar is cut
LEAST = 0.4  # points that the axis of accuracies shows at least
BEYOND = 0.35  # of the range of the seeds: so far an interval may reach beyond them, then it is cut


class _Short(NamedTuple):
    """How far a depth falls short of the best, in points."""

    depth: Depth
    mean: float
    allowed: float
    seeds: np.ndarray  # of each seed that it shares with the best depth


def shortfalls(axes: "Axes", answer: Answer, rows: Sequence[Row]) -> None:
    """Draw how many points each depth falls short of the best on validation images, and how many are allowed.

    A bar that is much longer than what matters for the decision is cut: two slanting gaps say so.

    Args:
        axes: where to draw.
        answer: the answer.
        rows: the trials that it was made from.
    """
    _begin(axes, len(answer.depths))
    ranked = _ranked(answer, rows)
    if not ranked:
        _say_nothing(axes)
        return
    low, high = _range(list(ranked.values()))
    axes.set_ylim(low, high)
    for index, short in ranked.items():
        axes.fill_between(
            [index - 0.5, index + 0.5], low, short.allowed, color=GREEN, alpha=0.13, linewidth=0, zorder=1
        )
        axes.hlines(short.allowed, index - 0.5, index + 0.5, color=GREEN, linewidth=1.8, zorder=4)
        colour = BLUE if short.depth is answer.best else INK
        axes.bar(index, min(short.mean, high), BAR, color=colour, alpha=0.45, linewidth=0, zorder=3)
        if short.mean > high:
            _slant(axes, index)
        elif short.mean > 0:
            reach = BAR / 4 if len(short.seeds) > 1 else 0.0
            places = index + np.linspace(-reach, reach, len(short.seeds))
            axes.scatter(places, short.seeds, s=15, color=colour, alpha=0.9, linewidth=0, zorder=5)
    axes.axhline(0, color=INK, linewidth=0.8, zorder=4)
    last = max(ranked)
    offset: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "annotation_clip": False}
    place = (last + 0.5, ranked[last].allowed)
    axes.annotate("allowed", place, color=GREEN, fontsize=9, va="center", **offset)


def _ranked(answer: Answer, rows: Sequence[Row]) -> dict[int, _Short]:
    """The depths that the rule ranks, by their place among all."""
    validation = by_seed(compared(rows), "val_accuracy", [depth.blocks for depth in answer.depths])
    known = {
        index: (depth, 100 * depth.shortfall, 100 * depth.allowance)
        for index, depth in enumerate(answer.depths)
        if depth.shortfall is not None and depth.allowance is not None
    }
    if answer.most_accurate is None:
        return {}
    seeds = 100 * (validation[answer.depths.index(answer.most_accurate)] - validation)
    return {index: _Short(*known[index], seeds[index][~np.isnan(seeds[index])]) for index in known}


def _range(ranked: Sequence[_Short]) -> tuple[float, float]:
    """The range of the axis: every bar that is not cut, its seeds, and what is allowed."""
    near = [max(short.mean, short.allowed) for short in ranked if short.depth.good_enough]
    far = sorted(short.mean for short in ranked if not short.depth.good_enough)
    cut = FAR * max([*near, *far[:1]])
    while True:
        whole = [short for short in ranked if short.mean <= cut]
        shown = [value for short in whole for value in (short.mean, *short.seeds)]
        shown += [short.allowed for short in ranked]
        high = max(shown) * (1.12 if len(whole) == len(ranked) else 1.7) or 1.0
        reached = [mean for mean in far if cut < mean <= high]  # a bar that ends in the panel is not cut
        if not reached:
            return min(*shown, 0.0) - 0.06 * high, high
        cut = max(reached)


def _slant(axes: "Axes", index: int) -> None:
    """Draw two slanting gaps at the end of a bar that goes on."""
    ends = [index - BAR / 2 - 0.01, index + BAR / 2 + 0.01]
    low, high = axes.get_ylim()
    for share in (0.14, 0.24):
        y = [high - share * (high - low), high - (share - 0.07) * (high - low)]
        axes.plot(ends, y, color="white", linewidth=2.5, zorder=6, solid_capstyle="butt")


def accuracies(axes: "Axes", answer: Answer, rows: Sequence[Row]) -> None:
    """Draw the test accuracy of each seed, joined from depth to depth, and of each depth the mean and its interval.

    Args:
        axes: where to draw.
        answer: the answer.
        rows: the trials that it was made from.
    """
    depths = [depth.blocks for depth in answer.depths]
    seeds = 100 * by_seed(compared(rows), ACCURACY, depths)
    _begin(axes, len(depths))
    if np.isnan(seeds).all():
        _say_nothing(axes)
        return
    count = seeds.shape[1]
    shifts = SEEDS + np.linspace(-SPREAD, SPREAD, count) if count > 1 else np.zeros(1)
    places = np.arange(len(depths))[:, None] + shifts
    axes.plot(places, seeds, color=QUIET, linewidth=0.8, alpha=0.45, zorder=2)
    low, high = _limits(answer, seeds)
    axes.set_ylim(low, high)
    for index, depth in enumerate(answer.depths):
        colour = BLUE if depth is answer.best else INK
        axes.scatter(places[index], seeds[index], s=20, color=colour, alpha=0.55, linewidth=0, zorder=3)
        mean = depth.summary.test.mean
        if mean is None:
            continue
        middle = index + (MEAN if count > 1 else 0)
        _interval(axes, middle, depth, colour)
        axes.plot(middle, 100 * mean, "o", color=colour, markersize=7.5, markeredgecolor="white", zorder=5)


def _limits(answer: Answer, seeds: np.ndarray) -> tuple[float, float]:
    """The range of the axis: every seed, and the intervals unless they reach far beyond all seeds."""
    low = float(np.nanmin(seeds))
    high = float(np.nanmax(seeds))
    tests = [depth.summary.test for depth in answer.depths]
    beyond = BEYOND * max(high - low, LEAST)
    lowest = min((100 * test.low for test in tests if test.low is not None), default=low)
    highest = max((100 * test.high for test in tests if test.high is not None), default=high)
    low = min(low, max(lowest, low - beyond))
    high = max(high, min(highest, high + beyond))
    room = max(0.08 * (high - low), (LEAST - (high - low)) / 2)
    return low - room, high + room


def _interval(axes: "Axes", place: float, depth: Depth, colour: str) -> None:
    """Draw the 95 % interval of a mean; where it leaves the panel, an arrow says so."""
    test = depth.summary.test
    if test.low is None or test.high is None:
        return
    low, high = axes.get_ylim()
    ends = (100 * test.low, 100 * test.high)
    axes.vlines(place, max(ends[0], low), min(ends[1], high), color=colour, linewidth=2.2, zorder=4)
    for beyond, end, mark in ((ends[0] < low, low, "v"), (ends[1] > high, high, "^")):
        if beyond:
            axes.plot(place, end, mark, color=colour, markersize=6, clip_on=False, zorder=4)


def _begin(axes: "Axes", columns: int) -> None:
    """Set up a panel: no frame but a line at the left, and pale lines across."""
    axes.set_xlim(-0.5, max(columns, 1) - 0.5)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(GRID)
    axes.set_facecolor("none")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8.5, labelcolor=QUIET)
    axes.locator_params(axis="y", nbins=5)


def _say_nothing(axes: "Axes") -> None:
    axes.set_yticks([])
    middle: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, "no trial succeeded", fontsize=12, color=VERMILION, **middle)
