"""The picture of an answer, and what all pictures share; on matplotlib's own `Figure`: no pyplot, no display.

Colours are Okabe and Ito's, the orange darkened for text, told apart by colour-blind readers too; marks differ in shape
as well, for print in grey.

Example:
    accuracy_vs_blocks(answer, results, workdir / "accuracy_vs_blocks.png")
"""

import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.study import analysis
from cnn.training import runs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, PURPLE, ORANGE, INK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B57D00", "#333333"
SEEDS, MEAN, VALIDATION = -0.16, 0.02, 0.2  # where the marks stand, left and right of a depth's tick
DOTS_PER_INCH = 150
# A data set's name is text: a $ in it begins no formula.
TITLE: dict[str, Any] = {
    "fontsize": 14,
    "fontweight": "bold",
    "color": INK,
    "x": 0.01,
    "ha": "left",
    "parse_math": False,
}
LEGEND: dict[str, Any] = {
    "loc": "center left",
    "bbox_to_anchor": (1.0, 0.5),
    "frameon": False,
    "fontsize": 9,
    "labelspacing": 0.9,
}


def accuracy_vs_blocks(answer: Mapping[str, Any], results: "pd.DataFrame", path: str | os.PathLike[str]) -> None:
    """Draw an answer: accuracy by depth above, cost by depth below, and write it as a PNG of 1350 x 900 pixels.

    Above: the test accuracy of each seed, its mean with the 95 % t interval, and, paler, the mean validation accuracy
    with the level it had to reach under the rule. Below, on a log scale: parameters and multiply-accumulates of one
    image. The recommended depth stands on a coloured ground; trials that diverged are named at the foot.

    Args:
        answer: as `analysis.answer` gives it, for `blocks` or another variant column.
        results: the rows that the answer was made from; they give the single seeds.
        path: the PNG file, which appears whole or not at all.
    """
    from matplotlib.figure import Figure

    by = analysis.variant_column(answer)
    figure = Figure(figsize=(9, 6), dpi=DOTS_PER_INCH, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.15))
    _accuracy(above, answer, analysis.compared_trials(results, by), by)
    _cost(below, answer)
    names = [str(depth[by]) for depth in answer["depths"]]
    below.set_xticks(range(len(names)), names, fontsize=11)
    below.set_xlim(-0.5, max(len(names), 1) - 0.5)
    below.set_xlabel("CONV-RELU-POOL blocks" if by == "blocks" else by.replace("_", " "), fontsize=11)
    chosen = answer[f"recommended_{by}"]
    for axes in (above, below):
        clean(axes)
        if chosen is not None:
            index = [depth[by] for depth in answer["depths"]].index(chosen)
            axes.axvspan(index - 0.5, index + 0.5, color=BLUE, alpha=0.08, linewidth=0, zorder=0)
    title, subtitle = _titles(answer, by)
    figure.suptitle(title, **TITLE)
    above.set_title(subtitle, fontsize=10, color=INK, loc="left", pad=24)
    write_png(figure, path)


def write_png(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG that appears whole or not at all."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing from font"
        )  # of a name in another script: a box stands there
        figure.savefig(buffer, format="png", dpi=figure.dpi)
    runs.write(Path(path), buffer.getvalue())


def _accuracy(axes: "Axes", answer: Mapping[str, Any], trials: "pd.DataFrame", by: str) -> None:
    done = trials[trials["status"] == "done"]
    seeds = sorted(done["seed"].unique())
    reach = 0.08 if len(seeds) > 1 else 0.0
    offsets = dict(zip(seeds, np.linspace(-reach, reach, len(seeds)), strict=True))
    for index, depth in enumerate(answer["depths"]):
        recommended = depth[by] == answer[f"recommended_{by}"]
        colour = BLUE if recommended else INK
        mine = done[done[by] == depth[by]]
        x = index + SEEDS + mine["seed"].map(offsets).to_numpy(float)  # a seed stands alike at every depth: pairs
        y = 100 * mine["test_accuracy"].to_numpy(float)
        axes.scatter(x, y, s=22, color=colour, alpha=0.45, linewidth=0, zorder=3)
        _mean_and_interval(axes, index + MEAN, depth, "test", colour, "o", 8.0)
        _mean_and_interval(axes, index + VALIDATION, depth, "val", PURPLE, "D", 5.0)
        _required(axes, index, depth)
        _words(axes, index, depth, colour)
    axes.set_ylabel("accuracy (%)", fontsize=11)
    axes.margins(y=0.1)
    if len(done):
        _legend(axes)
    else:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial finished", transform=axes.transAxes, ha="center", fontsize=14, color=VERMILION)


def _mean_and_interval(
    axes: "Axes", x: float, depth: Mapping[str, Any], prefix: str, colour: str, marker: str, size: float
) -> None:
    mean, low, high = (depth[f"{prefix}_{name}"] for name in ("mean", "low", "high"))
    if mean is None:
        return
    if low is not None:
        bar = [[100 * (mean - low)], [100 * (high - mean)]]
        axes.errorbar(x, 100 * mean, yerr=bar, color=colour, capsize=size / 2, linewidth=size / 5, zorder=4)
    axes.plot(x, 100 * mean, marker, color=colour, markersize=size, markeredgecolor="white", zorder=5)


def _required(axes: "Axes", index: int, depth: Mapping[str, Any]) -> None:
    """The validation mean that this depth had to reach: the best mean less max(margin, SE)."""
    if depth["shortfall"] is not None:
        required = 100 * (depth["val_mean"] + depth["shortfall"] - depth["allowance"])
        ends = (index + VALIDATION - 0.1, index + VALIDATION + 0.2)
        axes.hlines(required, *ends, color=PURPLE, linewidth=1.6, linestyle=(0, (3, 1.2)), zorder=2)


def _words(axes: "Axes", index: int, depth: Mapping[str, Any], colour: str) -> None:
    """The mean test accuracy at the head of a depth's column; at its foot, what did not finish."""
    place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center"}
    if depth["test_mean"] is not None:
        weight = "bold" if colour == BLUE else "normal"
        axes.text(index, 1.015, f"{depth['test_mean']:.2%}", fontsize=11, color=colour, fontweight=weight, **place)
    tried = depth["n"] + depth["diverged"] + depth["failed"]
    words = [f"\u2715 {depth[status]} of {tried} {status}" for status in ("diverged", "failed") if depth[status]]
    text = "\n".join(words) if words or depth["n"] else "no result"
    axes.text(index, 0.02, text, fontsize=9.5, color=VERMILION, **place)


def _legend(axes: "Axes") -> None:
    from matplotlib.lines import Line2D

    marks = {
        "test, each seed": Line2D([], [], marker="o", linestyle="", color=INK, alpha=0.45, mew=0, markersize=5),
        "test, mean and\n95% interval": Line2D([], [], marker="o", color=INK, linewidth=1.6, markersize=8, mec="white"),
        "validation, mean and\n95% interval": Line2D([], [], marker="D", color=PURPLE, markersize=5, mec="white"),
        "validation mean that\nthe rule requires": Line2D([], [], color=PURPLE, linestyle=(0, (3, 1.2))),
    }
    axes.legend(list(marks.values()), list(marks), **LEGEND)


def _cost(axes: "Axes", answer: Mapping[str, Any]) -> None:
    macs = "multiply-accumulates\nof one image"
    series = (("parameters", "parameters", GREEN, "s", -13), ("macs", macs, ORANGE, "^", 8))
    for key, label, colour, marker, shift in series:
        known = {index: depth[key] for index, depth in enumerate(answer["depths"]) if depth[key]}
        if not known:
            continue
        axes.plot(list(known), list(known.values()), marker=marker, color=colour, linewidth=1, label=label)
        axes.set_yscale("log")
        for place in known.items():
            offset: dict[str, Any] = {"xytext": (0, shift), "textcoords": "offset points", "ha": "center"}
            axes.annotate(short(place[1]), place, fontsize=9, color=colour, **offset)
    if axes.lines:
        axes.margins(y=0.35)
        axes.legend(**LEGEND)
    axes.set_ylabel("cost", fontsize=11)


def short(value: int | float) -> str:
    """A count in at most four characters and a unit: 421642 is 422k."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:g}"


def clean(axes: "Axes") -> None:
    """A panel without a frame at the top and right, with pale horizontal lines and without tick marks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=10, which="both")


def _titles(answer: Mapping[str, Any], by: str) -> tuple[str, str]:
    """The answer, and what it rests on."""
    chosen, matched = answer[f"recommended_{by}"], f"matched by {answer['match']}, margin {answer['margin']:g}"
    if chosen is None:
        return f"{answer['dataset']}: no recommendation", matched
    depth = next(depth for depth in answer["depths"] if depth[by] == chosen)
    accuracy = "" if depth["test_mean"] is None else f", test accuracy {depth['test_mean']:.2%}"
    seeds = f"{depth['n']} seed{'' if depth['n'] == 1 else 's'}"
    alike = answer["indistinguishable"]
    apart = f"the data cannot tell it apart from {', '.join(map(str, alike))}; " if alike else ""
    return f"{answer['dataset']}: {analysis.variant_name(by, chosen)}{accuracy}", f"{apart}{seeds}, {matched}"
