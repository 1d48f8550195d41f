"""Pictures of results, drawn on matplotlib's own `Figure`: no pyplot, no global state, no display.

Colours are Okabe and Ito's, the orange darkened for text, told apart by colour-blind readers too; marks differ in shape
as well, for print in grey.

Example:
    accuracy_vs_blocks(answer, results, workdir / "accuracy_vs_blocks.png")
"""

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.data.scenes import corners, overlap
from cnn.study import analysis
from cnn.training import runs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, PURPLE, ORANGE, INK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B57D00", "#333333"
SEEDS, MEAN, VALIDATION = -0.16, 0.02, 0.2  # where the marks stand, left and right of a depth's tick
LINES = ((BLUE, "o"), ("#7FB8D8", "s"), (VERMILION, "^"), (ORANGE, "D"), (GREEN, "v"), (PURPLE, "P"))
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
        _clean(axes)
        if chosen is not None:
            index = [depth[by] for depth in answer["depths"]].index(chosen)
            axes.axvspan(index - 0.5, index + 0.5, color=BLUE, alpha=0.08, linewidth=0, zorder=0)
    title, subtitle = _titles(answer, by)
    figure.suptitle(title, **TITLE)
    above.set_title(subtitle, fontsize=10, color=INK, loc="left", pad=24)
    write_png(figure, path)


def variants(
    comparison: Mapping[str, Any],
    done: "pd.DataFrame",
    title: str,
    path: str | os.PathLike[str],
    label: str = "test accuracy",
    lines: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Draw a comparison: what was measured of each variant, seed by seed and with its 95 % interval, beside its cost.

    Args:
        comparison: as `comparison.compare` gives it.
        done: the finished trials that compare; they give the single seeds.
        title: what is compared, on what.
        path: the PNG file, which appears whole or not at all.
        label: the comparison's metric in words.
        lines: what else to mark on its axis, as fractions, by their names.
    """
    figure, (left, *costs) = _rows(comparison, title, (2.6, 1, 1, 1), sharey=True)
    _by_variant(left, comparison, done, comparison["metric"], label, lines)
    names = {"parameters": "parameters", "macs": "multiply-\naccumulates", "train_seconds": "seconds of\ntraining"}
    for axes, (key, label), colour in zip(costs, names.items(), (GREEN, ORANGE, PURPLE)):
        known = {place: row[key] for place, row in enumerate(comparison["variants"]) if row[key] is not None}
        axes.barh(list(known), list(known.values()), height=0.5, color=colour, alpha=0.75)
        for place, value in known.items():
            text = _short(value) if value >= 1000 else f"{value:.3g}"
            axes.text(value, place, f" {text}", va="center", fontsize=9, color=INK)
        axes.set_title(label, fontsize=10, color=INK, loc="left")
        axes.set_xlim(0, 1.45 * max(known.values(), default=1))
        axes.set_xticks([])
        _clean(axes)
        axes.grid(visible=False)
        axes.tick_params(labelleft=False)
    write_png(figure, path)


def variants_and_lines(
    comparison: Mapping[str, Any],
    done: "pd.DataFrame",
    title: str,
    columns: Mapping[Any, str],
    xlabel: str,
    path: str | os.PathLike[str],
    log: bool = False,
) -> None:
    """Draw a comparison: each variant's accuracy, and beside it how another accuracy goes with what was varied.

    Args:
        comparison: as `comparison.compare` gives it, with the columns among its measurements.
        done: the finished trials that compare.
        title: what is compared, on what.
        columns: the columns of the lines' points, by their places on the horizontal axis.
        xlabel: what varies along it.
        path: the PNG file.
        log: whether that axis is logarithmic.
    """
    figure, (left, right) = _rows(comparison, title, (1, 1.2), least=4.0)
    _by_variant(left, comparison, done, comparison["metric"], "test accuracy")
    for row, (colour, marker) in zip(comparison["variants"], LINES, strict=False):
        points = {place: row["measured"][column] for place, column in columns.items()}
        known = {place: found for place, found in points.items() if found["mean"] is not None}
        means = [100 * found["mean"] for found in known.values()]
        right.plot(list(known), means, marker=marker, color=colour, linewidth=1.6, label=str(row[comparison["by"]]))
        banded = {place: found for place, found in known.items() if found["low"] is not None}
        low, high = ([100 * found[end] for found in banded.values()] for end in ("low", "high"))
        right.fill_between(list(banded), low, high, color=colour, alpha=0.18, linewidth=0)
    right.set_xlabel(xlabel, fontsize=11)
    right.set_ylabel("test accuracy (%)", fontsize=11)
    right.set_ylim(max(right.get_ylim()[0], 0), min(right.get_ylim()[1], 101))  # intervals of few seeds know no bounds
    right.legend(**LEGEND)
    _clean(right)
    if log:
        right.set_xscale("log")
    right.set_xticks(list(columns), [str(place) for place in columns])
    right.set_xticks([], minor=True)
    write_png(figure, path)


def scenes(
    comparison: Mapping[str, Any],
    done: "pd.DataFrame",
    title: str,
    panels: Mapping[str, str],
    shown: Mapping[str, Mapping[str, np.ndarray]],
    class_names: Sequence[str],
    path: str | os.PathLike[str],
) -> None:
    """Draw a comparison of networks that find objects: what was measured, and the same scenes with the boxes of each.

    Under a scene stands the intersection over union (IoU) of each true box with the network's box for it.

    Args:
        comparison: as `comparison.compare` gives it, with the panels' columns among its measurements.
        done: the finished trials that compare.
        title: what is compared, on what.
        panels: what each panel shows in words, by the name of its column.
        shown: by variant, `scenes` uint8 [n, height, width, c], `true_boxes` and `boxes` [n, objects, 4] as (centre
            row, centre column, height, width) in fractions of the scene, and their `true_classes` and `classes`.
        class_names: the name of each class.
        path: the PNG file.
    """
    from matplotlib.figure import Figure

    columns = max((len(found["scenes"]) for found in shown.values()), default=1)
    heights = (0.9 + 0.5 * len(comparison["variants"]), max(2.1 * len(shown), 0.1))
    figure = Figure(figsize=(11, 0.6 + sum(heights)), dpi=DOTS_PER_INCH, layout="constrained")
    figure.suptitle(title, **TITLE)
    halves: Any = figure.subfigures(2, 1, height_ratios=heights)  # an array, for several
    above, below = halves
    for axes, (column, label) in zip(above.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items()):
        _by_variant(axes, comparison, done, column, label)
    if shown:
        below.suptitle("green: true box and class; vermilion: the network's", fontsize=10, color=INK, x=0.01, ha="left")
        grid = below.subplots(len(shown), columns, squeeze=False)
        for axes_row, (name, found) in zip(grid, shown.items()):
            axes_row[0].set_ylabel(name, fontsize=11)
            for index, axes in enumerate(axes_row):
                _scene(axes, {key: value[index] for key, value in found.items()}, class_names)
    write_png(figure, path)


def _scene(axes: "Axes", found: Mapping[str, np.ndarray], class_names: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    image = found["scenes"]
    axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=image.max(initial=1))
    axes.set_xticks([])
    axes.set_yticks([])
    kinds = (
        ("true_boxes", "true_classes", GREEN, ("left", "top")),
        ("boxes", "classes", VERMILION, ("right", "bottom")),
    )
    for boxes, classes, colour, (across, up) in kinds:
        for box, number in zip(found[boxes], found[classes]):
            low, high = (corner * np.array(image.shape[:2]) - 0.5 for corner in corners(box))
            tall, wide = high - low
            axes.add_patch(
                Rectangle((float(low[1]), float(low[0])), wide, tall, fill=False, edgecolor=colour, linewidth=1.6)
            )
            # In a corner of its box, above all lines, in white on the colour of the box: else lines cross the letters.
            x, y = float(low[1] if across == "left" else high[1]), float(low[0] if up == "top" else high[0])
            style: dict[str, Any] = {"color": "white", "fontsize": 8, "ha": across, "va": up, "zorder": 5}
            ground = {"boxstyle": "square,pad=0.15", "facecolor": colour, "edgecolor": "none"}
            axes.text(x, y, class_names[number], bbox=ground, parse_math=False, **style)  # as in a title
    ratios = overlap(found["true_boxes"], found["boxes"]).ratio
    axes.set_xlabel(f"IoU {', '.join(f'{ratio:.2f}' for ratio in ratios)}", fontsize=9, labelpad=3)


def _rows(
    comparison: Mapping[str, Any], title: str, widths: tuple[float, ...], sharey: bool = False, least: float = 0.0
) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    height = 1.4 + 0.6 * len(comparison["variants"])
    figure = Figure(figsize=(11, max(height, least)), dpi=DOTS_PER_INCH, layout="constrained")
    figure.suptitle(title, **TITLE)
    return figure, figure.subplots(1, len(widths), width_ratios=widths, sharey=sharey)


def _by_variant(
    axes: "Axes",
    comparison: Mapping[str, Any],
    done: "pd.DataFrame",
    column: str,
    label: str,
    lines: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """A row for each variant: its seeds as dots, its mean and interval; the reference's mean as a line."""
    by = comparison["by"]
    for place, row in enumerate(comparison["variants"]):
        chosen = row[by] == comparison["reference"]
        colour = BLUE if chosen else INK
        seeds = 100 * done.reindex(columns=[by, column])[done[by] == row[by]][column].to_numpy(float)
        axes.scatter(seeds, np.full(len(seeds), place + 0.2), s=20, color=colour, alpha=0.45, linewidth=0)
        found = row["measured"][column]
        if found["mean"] is None:
            where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "center", "in_layout": False}
            axes.text(0.5, place, "no trial finished", color=VERMILION, **where)
            continue
        mean = 100 * found["mean"]
        if found["low"] is not None:
            axes.hlines(place, 100 * found["low"], 100 * found["high"], color=colour, linewidth=1.8)
        axes.plot(mean, place, marker="o", color=colour, markersize=8, markeredgecolor="white")
        axes.annotate(
            f"{mean:.2f}",
            (mean, place),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            color=colour,
            fontsize=9,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
        )
        if chosen:
            axes.axvline(mean, color=BLUE, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0)
    for name, share in lines.items():
        axes.axvline(100 * share, color=VERMILION, linewidth=1.2, linestyle="--", zorder=0)
        ground = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
        axes.text(100 * share, 0.5, name, color=VERMILION, ha="center", va="center", fontsize=9, bbox=ground)
    axes.set_yticks(range(len(comparison["variants"])), [str(row[by]) for row in comparison["variants"]])
    axes.invert_yaxis()
    axes.margins(x=0.08, y=0.18)
    axes.set_xlim(max(axes.get_xlim()[0], 0), min(axes.get_xlim()[1], 101))
    axes.set_title(f"{label} (%)\n{_summarised(comparison, column)}", fontsize=10, color=INK, loc="left")
    _clean(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.8)


def _summarised(comparison: Mapping[str, Any], column: str) -> str:
    """What the marks of a column are, and of how many seeds: `mean and 95% interval, n=5`; of one seed only `n=1`."""
    found = [row["measured"][column] for row in comparison["variants"]]
    counts = sorted({own["n"] for own in found if own["n"]} or {0})
    seeds = f"n={counts[0]}" if len(counts) == 1 else f"n={counts[0]} to {counts[-1]}"
    if counts[-1] < 2:
        return seeds
    return f"mean and 95% interval, {seeds}" if any(own["low"] is not None for own in found) else f"mean, {seeds}"


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
            axes.annotate(_short(place[1]), place, fontsize=9, color=colour, **offset)
    if axes.lines:
        axes.margins(y=0.35)
        axes.legend(**LEGEND)
    axes.set_ylabel("cost", fontsize=11)


def _short(value: int | float) -> str:
    """A count in at most four characters and a unit: 421642 is 422k."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:g}"


def _clean(axes: "Axes") -> None:
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
