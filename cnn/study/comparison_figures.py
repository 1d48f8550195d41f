"""Pictures of comparisons: a row for each variant, lines beside it, or scenes with boxes; in the style of `figures`.

Example:
    variants(found, finished.done, "mnist: ways to halve the image", workdir / "downsampling.png")
"""

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.data.scenes import corners, overlap
from cnn.study.figures import (
    BLUE,
    DOTS_PER_INCH,
    GREEN,
    INK,
    LEGEND,
    ORANGE,
    PURPLE,
    TITLE,
    VERMILION,
    clean,
    short,
    write_png,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ((BLUE, "o"), ("#7FB8D8", "s"), (VERMILION, "^"), (ORANGE, "D"), (GREEN, "v"), (PURPLE, "P"))


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
            text = short(value) if value >= 1000 else f"{value:.3g}"
            axes.text(value, place, f" {text}", va="center", fontsize=9, color=INK)
        axes.set_title(label, fontsize=10, color=INK, loc="left")
        axes.set_xlim(0, 1.45 * max(known.values(), default=1))
        axes.set_xticks([])
        clean(axes)
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
    clean(right)
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
    clean(axes)
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
