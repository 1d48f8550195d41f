"""Pictures of comparisons: a row for each variant, beside it its cost, lines, or scenes with boxes.

Example:
    >>> from cnn.study.comparison import compare
    >>> from cnn.training.folder import Result
    >>> accuracies = {"max": [0.98, 0.97], "stride": [0.96, 0.96]}
    >>> rows = [Row("compare", name, 1e-3, seed, Result("done", test_accuracy=value, train_seconds=1.0))
    ...         for name, values in accuracies.items() for seed, value in enumerate(values)]
    >>> poolings = compare(rows, column="pooling", reference="max")
    >>> variants(poolings, rows, "mnist: ways to halve the image").get_suptitle()
    'mnist: ways to halve the image'
"""

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnn.data.scenes import corners, overlap
from cnn.show.style import (
    BLUE,
    DOTS_PER_INCH,
    GREEN,
    GRID,
    INK,
    ORANGE,
    PURPLE,
    VERMILION,
    clean,
    headline,
    legend,
)
from cnn.study.comparison import Comparison
from cnn.study.results import Row, compared
from cnn.study.tables import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

LINES = ((BLUE, "o"), ("#7FB8D8", "s"), (VERMILION, "^"), (ORANGE, "D"), (GREEN, "v"), (PURPLE, "P"))
GROUND = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}  # behind words on lines
NEAR = 0.25  # of an axis: so far from its end, a name that is centred on a line stays within the panel
MOST = 101  # percent; the automatic limits of an axis lie farther from 100


class Scenes(NamedTuple):
    """Some scenes, the objects in them, and the objects that a network has found.

    A box is (centre row, centre column, height, width) in fractions of the scene.
    """

    scenes: np.ndarray  # uint8 [n, height, width, c]
    true_boxes: np.ndarray  # [n, objects, 4]
    true_classes: np.ndarray  # [n, objects]
    boxes: np.ndarray  # [n, objects, 4], the network's
    classes: np.ndarray  # [n, objects], the network's


def variants(
    comparison: Comparison,
    rows: Sequence[Row],
    title: str,
    label: str = "test accuracy",
    lines: Mapping[str, float] = MappingProxyType({}),
) -> "Figure":
    """What was measured of each variant, seed by seed and with its 95 % interval, and beside it the cost.

    Args:
        comparison: as `cnn.study.comparison.compare` gives it.
        rows: the trials that the comparison was made from; they give the single seeds.
        title: what is compared, on what; text, never a formula.
        label: the comparison's metric in words.
        lines: what else to mark on the metric's axis: fractions by their names.
    """
    figure, panels = _panels(comparison, title, (2.6, 1, 1, 1), sharey=True)
    _by_variant(panels[0], comparison, rows, comparison.metric, label, lines)
    summaries = [variant.summary for variant in comparison.variants]
    _cost(panels[1], [summary.parameters for summary in summaries], "parameters", GREEN)
    _cost(panels[2], [summary.macs for summary in summaries], "multiply-\naccumulates", ORANGE)
    _cost(panels[3], [summary.train_seconds for summary in summaries], "seconds of\ntraining", PURPLE)
    return figure


def _cost(axes: "Axes", costs: Sequence[float | None], label: str, colour: str) -> None:
    """Draw a bar for each variant whose cost is known, with its number."""
    known = {place: cost for place, cost in enumerate(costs) if cost is not None}
    axes.barh(list(known), list(known.values()), height=0.5, color=colour, alpha=0.75)
    for place, cost in known.items():
        text = short(round(cost)) if cost >= 1000 else f"{cost:.3g}"
        axes.text(cost, place, f" {text}", va="center", fontsize=9, color=INK)
    axes.set_title(label, fontsize=10, color=INK, loc="left")
    axes.set_xlim(0, 1.45 * max(known.values(), default=1))
    axes.set_xticks([])
    clean(axes)
    axes.grid(visible=False)
    axes.tick_params(labelleft=False)


def variants_and_lines(
    comparison: Comparison,
    rows: Sequence[Row],
    title: str,
    columns: Mapping[Any, str],
    xlabel: str,
    log: bool = False,
) -> "Figure":
    """Each variant's accuracy, and beside it how another accuracy changes with what was varied.

    Args:
        comparison: as `cnn.study.comparison.compare` gives it, with the columns among its measurements.
        rows: the trials that the comparison was made from.
        title: what is compared, on what; text, never a formula.
        columns: for each place on the horizontal axis, the measurement that gives the lines' points there.
        xlabel: what varies along the horizontal axis.
        log: whether the horizontal axis is logarithmic.
    """
    figure, (left, right) = _panels(comparison, title, (1, 1.2), least=4.0)
    _by_variant(left, comparison, rows, comparison.metric, "test accuracy")
    for variant, (colour, marker) in zip(comparison.variants, itertools.cycle(LINES), strict=False):
        estimates = [(place, variant.measured[column]) for place, column in columns.items()]
        means = [(place, 100 * estimate.mean) for place, estimate in estimates if estimate.mean is not None]
        places = [place for place, _ in means]
        name = str(variant.name)
        right.plot(places, [mean for _, mean in means], marker=marker, color=colour, linewidth=1.6, label=name)
        banded = [(place, estimate) for place, estimate in estimates if estimate.low is not None]
        low, high = ([100 * getattr(estimate, end) for _, estimate in banded] for end in ("low", "high"))
        right.fill_between([place for place, _ in banded], low, high, color=colour, alpha=0.18, linewidth=0)
    right.set_xlabel(xlabel, fontsize=11, parse_math=False)
    right.set_ylabel("test accuracy (%)", fontsize=11)
    right.set_ylim(max(right.get_ylim()[0], 0), min(right.get_ylim()[1], MOST))
    legend(right)
    clean(right)
    if log:
        right.set_xscale("log")
    right.set_xticks(list(columns), [str(place) for place in columns])
    right.set_xticks([], minor=True)
    return figure


def scenes(
    comparison: Comparison,
    rows: Sequence[Row],
    title: str,
    panels: Mapping[str, str],
    shown: Mapping[str, Scenes],
    class_names: Sequence[str],
) -> "Figure":
    """What was measured of networks that find objects, and below it the same scenes with the boxes of each.

    Under a scene stands the intersection over union (IoU) of each true box with the network's box for it.

    Args:
        comparison: as `cnn.study.comparison.compare` gives it, with the panels' columns among its measurements.
        rows: the trials that the comparison was made from.
        title: what is compared, on what; text, never a formula.
        panels: what each panel shows in words, by the name of the measurement.
        shown: scenes with what a network has found in them, by the name of the network.
        class_names: the name of each class; text, never a formula.
    """
    from matplotlib.figure import Figure

    heights = (0.9 + 0.5 * len(comparison.variants), max(2.1 * len(shown), 0.1))
    figure = Figure(figsize=(11, 0.6 + sum(heights)), dpi=DOTS_PER_INCH, layout="constrained")
    headline(figure, title)
    halves: Any = figure.subfigures(2, 1, height_ratios=heights)  # an array, since there are several
    above = halves[0].subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (column, label) in zip(above, panels.items(), strict=True):
        _by_variant(axes, comparison, rows, column, label)
    if shown:
        _scenes(halves[1], shown, class_names)
    return figure


def _scenes(figure: "SubFigure", shown: Mapping[str, Scenes], class_names: Sequence[str]) -> None:
    """Draw a row of scenes for each network."""
    words = "green: true box and class; vermilion: the network's"
    figure.suptitle(words, fontsize=10, color=INK, x=0.01, ha="left")
    columns = max(len(drawn.scenes) for drawn in shown.values())
    grid = figure.subplots(len(shown), columns, squeeze=False)
    for panels, (name, drawn) in zip(grid, shown.items(), strict=True):
        panels[0].set_ylabel(name, fontsize=11, parse_math=False)
        for index, axes in enumerate(panels):
            if index < len(drawn.scenes):
                _scene(axes, Scenes(*(values[index] for values in drawn)), class_names)
            else:
                axes.set_axis_off()


def _scene(axes: "Axes", scene: Scenes, class_names: Sequence[str]) -> None:
    """Draw one scene; `scene` holds no axis for several."""
    image = scene.scenes
    axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=image.max(initial=1))
    axes.set_xticks([])
    axes.set_yticks([])
    for box, number in zip(scene.true_boxes, scene.true_classes, strict=True):
        low, high = _pixels(box, image)
        _box(axes, low, high, GREEN)
        _class_name(axes, class_names[number], low, GREEN, "left", "top")
    for box, number in zip(scene.boxes, scene.classes, strict=True):
        low, high = _pixels(box, image)
        _box(axes, low, high, VERMILION)
        _class_name(axes, class_names[number], high, VERMILION, "right", "bottom")
    ratios = overlap(scene.true_boxes, scene.boxes).ratio
    axes.set_xlabel(f"IoU {', '.join(f'{ratio:.2f}' for ratio in ratios)}", fontsize=9, labelpad=3)


def _pixels(box: np.ndarray, image: np.ndarray) -> list[np.ndarray]:
    """The top left and the bottom right corner of a box, (row, column) in pixels, whose centres are whole numbers."""
    return [np.asarray(corner) * np.array(image.shape[:2]) - 0.5 for corner in corners(box)]


def _box(axes: "Axes", low: np.ndarray, high: np.ndarray, colour: str) -> None:
    from matplotlib.patches import Rectangle

    top, left = low.tolist()
    height, width = (high - low).tolist()
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=colour, linewidth=1.6))


def _class_name(axes: "Axes", name: str, corner: np.ndarray, colour: str, across: str, up: str) -> None:
    """Write a class in a corner of its box, above all lines and on the colour of the box: no line crosses it."""
    row, column = corner.tolist()
    style: dict[str, Any] = {"color": "white", "fontsize": 8, "ha": across, "va": up, "zorder": 5}
    ground = {"boxstyle": "square,pad=0.15", "facecolor": colour, "edgecolor": "none"}
    axes.text(column, row, name, bbox=ground, parse_math=False, **style)


def _panels(
    comparison: Comparison, title: str, widths: tuple[float, ...], sharey: bool = False, least: float = 0.0
) -> tuple["Figure", Any]:
    """A figure that is high enough for the variants, and its panels side by side."""
    from matplotlib.figure import Figure

    height = round(1.4 + 0.6 * len(comparison.variants), 2)
    figure = Figure(figsize=(11, max(height, least)), dpi=DOTS_PER_INCH, layout="constrained")
    headline(figure, title)
    return figure, figure.subplots(1, len(widths), width_ratios=widths, sharey=sharey)


def _by_variant(
    axes: "Axes",
    comparison: Comparison,
    rows: Sequence[Row],
    column: str,
    label: str,
    lines: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Draw a row for each variant: its seeds as dots, its mean and interval; the reference's mean is a line too."""
    done = [row for row in compared(rows) if row.done]
    for place, variant in enumerate(comparison.variants):
        reference = variant.name == comparison.reference
        colour = BLUE if reference else INK
        seeds = [100 * row.value(column) for row in done if row.variant == variant.name]
        axes.scatter(seeds, [place + 0.2] * len(seeds), s=20, color=colour, alpha=0.45, linewidth=0)
        estimate = variant.measured[column]
        if estimate.mean is None:
            where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "center", "in_layout": False}
            axes.text(0.5, place, "no trial succeeded", color=VERMILION, va="center", bbox=GROUND, **where)
            continue
        mean = 100 * estimate.mean
        if estimate.low is not None and estimate.high is not None:
            axes.hlines(place, 100 * estimate.low, 100 * estimate.high, color=colour, linewidth=1.8)
        axes.plot(mean, place, marker="o", color=colour, markersize=8, markeredgecolor="white")
        above: dict[str, Any] = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"{mean:.2f}", (mean, place), color=colour, fontsize=9, bbox=GROUND, **above)
        if reference:
            axes.axvline(mean, color=BLUE, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0)
    for share in lines.values():
        axes.axvline(100 * share, color=VERMILION, linewidth=1.2, linestyle="--", zorder=0)
    _axis_of_variants(axes, comparison)
    for name, share in lines.items():
        _name_line(axes, name, 100 * share)
    axes.set_title(f"{label} (%)\n{_marks(comparison, column)}", fontsize=10, color=INK, loc="left", parse_math=False)


def _name_line(axes: "Axes", name: str, place: float) -> None:
    """Write a vertical line's name upon it, or beside it where it stands near an end of the axis."""
    low, high = axes.get_xlim()
    share = (place - low) / (high - low)
    across = "left" if share < NEAR else "right" if share > 1 - NEAR else "center"
    style: dict[str, Any] = {"ha": across, "va": "center", "color": VERMILION, "fontsize": 9, "parse_math": False}
    axes.text(place, 0.5, name, bbox=GROUND, **style)


def _axis_of_variants(axes: "Axes", comparison: Comparison) -> None:
    """Name the rows, the first at the top, and keep the horizontal axis within 0 and 100 percent."""
    names = [str(variant.name) for variant in comparison.variants]
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.08, y=0.18)
    axes.set_xlim(max(axes.get_xlim()[0], 0), min(axes.get_xlim()[1], MOST))
    clean(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=GRID, linewidth=0.8)


def _marks(comparison: Comparison, column: str) -> str:
    """What the marks are, and how many seeds they rest on: `mean and 95 % interval, n=5`; for one seed just `n=1`."""
    estimates = [variant.measured[column] for variant in comparison.variants]
    counts = sorted({estimate.n for estimate in estimates if estimate.n} or {0})
    seeds = f"n={counts[0]}" if len(counts) == 1 else f"n={counts[0]} to {counts[-1]}"
    if counts[-1] < 2:
        return seeds
    intervals = any(estimate.low is not None for estimate in estimates)
    return f"mean and 95 % interval, {seeds}" if intervals else f"mean, {seeds}"
