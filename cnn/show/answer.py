"""The picture of an answer: accuracy and cost by depth, and the depth that the rule recommends.

Example:
    >>> from cnn.study.answer import answer
    >>> from cnn.training.folder import Result
    >>> accuracies = {1: [0.96, 0.97], 2: [0.98, 0.98]}
    >>> rows = [Row("compare", blocks, 1e-3, seed, Result("done", val_accuracy=value, test_accuracy=value))
    ...         for blocks, values in accuracies.items() for seed, value in enumerate(values)]
    >>> accuracy_vs_blocks(answer(rows, dataset="mnist", match="width", margin=0.05), rows).get_suptitle()
    'mnist: 2 blocks, test accuracy 98.00%'
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.show.style import (
    BLUE,
    DOTS_PER_INCH,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    VERMILION,
    clean,
    headline,
    legend,
    short,
)
from cnn.study.answer import Answer, Depth
from cnn.study.results import Row, compared, variant_name
from cnn.study.statistics import Estimate
from cnn.study.words import missed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEEDS = -0.16  # where the marks stand, left and right of a depth's tick
MEAN = 0.02
VALIDATION = 0.2
SPREAD = 0.08  # the first and the last seed stand this far from SEEDS
MOST_IN_LINES = 4  # with more depths, "1 of 5 diverged" would run into the next column
DASHES = (0, (3, 1.2))


def accuracy_vs_blocks(answer: Answer, rows: Sequence[Row]) -> "Figure":
    """An answer: accuracy by depth above, and cost by depth below, on 1350 x 900 pixels.

    Above: the test accuracy of each seed, its mean with the 95 % t interval, and, paler, the mean validation accuracy
    with the level that it had to reach under the rule. Below, on a log scale: parameters and multiply-accumulates of
    one image. The recommended depth stands on a coloured ground. The foot says how many trials diverged, collapsed or
    failed, and how often the rule takes each depth on resampled seeds and validation images.

    Args:
        answer: as `cnn.study.answer.answer` gives it.
        rows: the trials that the answer was made from; they give the single seeds.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=DOTS_PER_INCH, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.15))
    _accuracy(above, answer, [row for row in compared(rows) if row.done])
    _cost(below, answer)
    names = [_tick(depth) for depth in answer.depths]
    below.set_xticks(range(len(names)), names, fontsize=min(11.0, 90 / max(len(names), 1)))
    below.set_xlim(-0.5, max(len(names), 1) - 0.5)
    below.set_xlabel("CONV-RELU-POOL blocks", fontsize=11)
    for axes in (above, below):
        clean(axes)
        for index, depth in enumerate(answer.depths):
            if depth.blocks == answer.recommended:
                axes.axvspan(index - 0.5, index + 0.5, color=BLUE, alpha=0.08, linewidth=0, zorder=0)
    headline(figure, _title(answer))
    above.set_title(_subtitle(answer), fontsize=10, color=INK, loc="left", pad=24)
    return figure


def _tick(depth: Depth) -> str:
    """The number of blocks, and below it how often the rule takes this depth on resampled data."""
    return str(depth.blocks) if depth.pick_share is None else f"{depth.blocks}\n{depth.pick_share:.0%} of picks"


def _accuracy(axes: "Axes", answer: Answer, done: Sequence[Row]) -> None:
    seeds = sorted({row.seed for row in done})
    reach = SPREAD if len(seeds) > 1 else 0.0
    places = dict(zip(seeds, np.linspace(-reach, reach, len(seeds)).tolist(), strict=True))
    for index, depth in enumerate(answer.depths):
        colour = BLUE if depth.blocks == answer.recommended else INK
        own = [row for row in done if row.variant == depth.blocks]
        x = [index + SEEDS + places[row.seed] for row in own]  # a seed has the same place at every depth: pairs
        y = [100 * row.value("test_accuracy") for row in own]
        axes.scatter(x, y, s=22, color=colour, alpha=0.45, linewidth=0, zorder=3)
        _mean_and_interval(axes, index + MEAN, depth.summary.test, colour, "o", 8.0)
        _mean_and_interval(axes, index + VALIDATION, depth.summary.val, PURPLE, "D", 5.0)
        _required(axes, index, depth)
        _words(axes, index, depth, colour, len(answer.depths))
    axes.set_ylabel("accuracy (%)", fontsize=11)
    axes.margins(y=0.1)
    if done:
        _legend(axes)
    else:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial succeeded", transform=axes.transAxes, ha="center", fontsize=14, color=VERMILION)


def _mean_and_interval(axes: "Axes", x: float, estimate: Estimate, colour: str, marker: str, size: float) -> None:
    if estimate.mean is None:
        return
    mean = 100 * estimate.mean
    if estimate.low is not None and estimate.high is not None:
        bar = [[100 * (estimate.mean - estimate.low)], [100 * (estimate.high - estimate.mean)]]
        axes.errorbar(x, mean, yerr=bar, color=colour, capsize=size / 2, linewidth=size / 5, zorder=4)
    axes.plot(x, mean, marker, color=colour, markersize=size, markeredgecolor="white", zorder=5)


def _required(axes: "Axes", index: int, depth: Depth) -> None:
    """Draw the validation mean that this depth had to reach: the best mean less what the rule allows."""
    mean = depth.summary.val.mean
    if mean is None or depth.shortfall is None or depth.allowance is None:
        return
    required = 100 * (mean + depth.shortfall - depth.allowance)
    middle = index + VALIDATION
    axes.hlines(required, middle - 0.1, middle + 0.2, color=PURPLE, linewidth=1.6, linestyle=DASHES, zorder=2)


def _words(axes: "Axes", index: int, depth: Depth, colour: str, columns: int) -> None:
    """Write the mean test accuracy at the head of a depth's column, and at its foot what did not finish.

    Words are smaller, and take more lines, where many columns leave each of them little room.
    """
    summary = depth.summary
    place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center"}
    if summary.test.mean is not None:
        size = min(11.0, 99 / columns)
        weight = "bold" if colour == BLUE else "normal"
        axes.text(index, 1.015, f"{summary.test.mean:.2%}", fontsize=size, color=colour, fontweight=weight, **place)
    counts = (("diverged", summary.diverged), ("collapsed", summary.collapsed), ("failed", summary.failed))
    end = " " if columns <= MOST_IN_LINES else "\n"
    words = [f"\u2715 {count} of {summary.tried}{end}{status}" for status, count in counts if count]
    text = "\n".join(words) if words or summary.n else "no result"
    axes.text(index, 0.02, text, fontsize=min(9.5, 86 / columns), color=VERMILION, **place)


def _legend(axes: "Axes") -> None:
    from matplotlib.lines import Line2D

    mean = "test, mean and\n95% interval"
    validation = "validation, mean and\n95% interval"
    required = "validation mean that\nthe rule requires"
    marks = [
        Line2D([], [], marker="o", linestyle="", color=INK, alpha=0.45, mew=0, markersize=5, label="test, each seed"),
        Line2D([], [], marker="o", color=INK, linewidth=1.6, markersize=8, mec="white", label=mean),
        Line2D([], [], marker="D", color=PURPLE, markersize=5, mec="white", label=validation),
        Line2D([], [], color=PURPLE, linestyle=DASHES, label=required),
    ]
    legend(axes, marks)


def _cost(axes: "Axes", answer: Answer) -> None:
    parameters = [depth.summary.parameters for depth in answer.depths]
    macs = [depth.summary.macs for depth in answer.depths]
    _cost_line(axes, parameters, "parameters", GREEN, "s", -13)
    _cost_line(axes, macs, "multiply-accumulates\nof one image", ORANGE, "^", 8)
    if axes.lines:
        axes.margins(y=0.35)
        legend(axes)
    axes.set_ylabel("cost", fontsize=11)


def _cost_line(axes: "Axes", costs: Sequence[int | None], label: str, colour: str, marker: str, shift: float) -> None:
    """Draw one kind of cost by depth, with its numbers `shift` points above the marks."""
    known = [(index, cost) for index, cost in enumerate(costs) if cost]
    if not known:
        return
    places, values = zip(*known, strict=True)
    axes.plot(places, values, marker=marker, color=colour, linewidth=1, label=label)
    axes.set_yscale("log")
    offset: dict[str, Any] = {"xytext": (0, shift), "textcoords": "offset points", "ha": "center"}
    for place in known:
        axes.annotate(short(place[1]), place, fontsize=9, color=colour, **offset)


def _title(answer: Answer) -> str:
    """The data set, the recommended depth and its accuracy."""
    chosen = answer.best
    if chosen is None:
        return f"{answer.dataset}: no recommendation"
    mean = chosen.summary.test.mean
    accuracy = "" if mean is None else f", test accuracy {mean:.2%}"
    return f"{answer.dataset}: {variant_name('blocks', chosen.blocks)}{accuracy}"


def _subtitle(answer: Answer) -> str:
    """What the answer rests on."""
    matched = f"matched by {answer.match}, margin {100 * answer.margin:g}% of the error"
    chosen = answer.best
    if chosen is None:
        return matched
    count = chosen.summary.n
    seeds = f"{count} seed{'' if count == 1 else 's'}"
    alike = [depth for depth in answer.depths if depth.blocks in answer.indistinguishable]
    names = ", ".join(str(depth.blocks) for depth in alike)
    apart = f"the data cannot tell it apart from {names}{missed(alike)}\n" if alike else ""
    return f"{apart}{seeds}, {matched}"
