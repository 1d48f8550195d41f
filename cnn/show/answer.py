"""The picture of an answer: a column for each depth, with what decides, what describes, and what it costs.

Example:
    >>> from cnn.study.answer import answer
    >>> from cnn.training.folder import Result
    >>> accuracies = {1: [0.96, 0.97], 2: [0.98, 0.98]}
    >>> rows = [Row("compare", blocks, 1e-3, seed, Result("done", val_accuracy=value, test_accuracy=value))
    ...         for blocks, values in accuracies.items() for seed, value in enumerate(values)]
    >>> accuracy_vs_blocks(answer(rows, dataset="mnist", match="width", margin=0.05), rows).get_suptitle()
    'How many CONV-RELU-POOL blocks for mnist? Use 2'
"""

import itertools
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnn.show import panels
from cnn.show.style import BLUE, DOTS_PER_INCH, GREEN, INK, QUIET, VERMILION, fit, headline
from cnn.study.answer import Answer, Depth
from cnn.study.results import Row
from cnn.study.tables import short
from cnn.study.words import answer_in_short, decided_in_points, percent, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 10.0  # inches, as all lengths here
LEFT = 2.55  # where the columns begin
ACROSS = 6.75  # the width of all columns, which leaves room at the right
WIDEST = 2.25  # the width of a column, where there are few
LINE = 0.205  # height of a row of numbers
TOP = 1.28  # where the first panel begins
GAP = 0.3  # above a panel that follows rows of numbers
DECISION = 1.35  # height of the panel of validation images
TEST = 1.65  # height of the panel of test images
TEXT = 34  # characters of a line beside a panel
ROOMY = 6.3  # with more columns than that, letters are smaller
LONGEST = 60  # characters of a data set's name; of a longer one the end is shown
MATCHED = {
    "width": "equal width",
    "parameters": "nearly equal parameters",
    "macs": "nearly equal multiply-accumulates",
}
DECIDES = (
    "Validation images decide",
    "Bars: how many points a depth falls short of the best one; dots: the same, seed by seed. A bar that ends below "
    "the green line is good enough; the smallest such depth is taken.",
)
DESCRIBES = (
    "Test images describe",
    "Large dots: mean accuracy in percent and its 95 % interval. Small dots: a seed each; a thin line joins the "
    "networks of one seed.",
)


@dataclass(frozen=True)
class _Cell:
    """A number or a word in a column."""

    text: str
    colour: str = INK
    bold: bool = False


@dataclass(frozen=True)
class _Line:
    """A row of the table: its name, and a cell for each depth."""

    name: str
    cells: tuple[_Cell, ...]
    colour: str = INK


def accuracy_vs_blocks(answer: Answer, rows: Sequence[Row]) -> "Figure":
    """An answer as a table of pictures and numbers, with a column for each depth.

    From top to bottom: how far each depth falls short of the best on validation images, beside what the rule allows;
    the test accuracy of each seed, its mean and 95 % t interval; parameters and multiply-accumulates of one image; how
    many trials diverged, collapsed or failed, where any did; and how often the rule takes each depth on resampled seeds
    and validation images. The column of the recommended depth is blue. The picture is 1500 pixels wide.

    Args:
        answer: as `cnn.study.answer.answer` gives it.
        rows: the trials that the answer was made from; they give the single seeds.
    """
    from matplotlib.figure import Figure

    decision = _known(_decision(answer))
    below = _known([*_test(answer), *_cost(answer), *_unfinished(answer), *_picks(answer)])
    second = TOP + DECISION + LINE * len(decision) + GAP
    bottom = second + TEST + LINE * len(below)
    height = round(bottom + 0.75, 2)
    figure = Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH)
    sheet = _sheet(figure, height)
    middles = _middles(answer)
    _head(figure, sheet, answer, middles, bottom)
    _beside(sheet, DECIDES, TOP)
    panels.shortfalls(_panel(figure, answer, TOP, DECISION), answer, rows)
    _table(sheet, decision, middles, TOP + DECISION)
    _beside(sheet, DESCRIBES, second)
    panels.accuracies(_panel(figure, answer, second, TEST), answer, rows)
    _table(sheet, below, middles, second + TEST)
    foot = sheet.text(0.12, bottom + 0.24, _foot(answer), fontsize=8, color=QUIET, va="top", linespacing=1.4)
    fit(figure, foot)
    return figure


def _sheet(figure: "Figure", height: float) -> "Axes":
    """Axes over the whole figure, in inches from the top left."""
    sheet = figure.add_axes((0, 0, 1, 1))
    sheet.set_xlim(0, WIDTH)
    sheet.set_ylim(height, 0)
    sheet.set_axis_off()
    return sheet


def _panel(figure: "Figure", answer: Answer, top: float, tall: float) -> "Axes":
    """Axes across all columns."""
    height = figure.get_figheight()
    across = _column(answer) * max(len(answer.depths), 1)
    return figure.add_axes((LEFT / WIDTH, 1 - (top + tall) / height, across / WIDTH, tall / height))


def _column(answer: Answer) -> float:
    """The width of a column."""
    return min(WIDEST, ACROSS / max(len(answer.depths), 1))


def _middles(answer: Answer) -> list[float]:
    """Where the columns have their middles."""
    return [LEFT + _column(answer) * (index + 0.5) for index in range(len(answer.depths))]


def _size(largest: float, columns: int) -> float:
    """The size of letters that leaves the words of neighbouring columns apart."""
    return min(largest, largest * ROOMY / max(columns, 1))


def _head(figure: "Figure", sheet: "Axes", answer: Answer, middles: Sequence[float], bottom: float) -> None:
    """Write the question with its answer, and the numbers of blocks above their columns."""
    from matplotlib.patches import Rectangle

    chosen = "No trial succeeded" if answer.recommended is None else f"Use {answer.recommended}"
    name = answer.dataset if len(answer.dataset) <= LONGEST else f"...{answer.dataset[3 - LONGEST :]}"
    headline(figure, f"How many CONV-RELU-POOL blocks for {name}? {chosen}")
    for place, line in enumerate(answer_in_short(answer)):
        said = sheet.text(0.12, 0.5 + 0.21 * place, line, fontsize=10, color=INK, va="center", parse_math=False)
        fit(figure, said)
    size = _size(15, len(middles))
    bold: dict[str, Any] = {"va": "center", "fontweight": "bold"}
    sheet.text(0.12, TOP - 0.18, "CONV-RELU-POOL blocks", fontsize=10, color=INK, **bold)
    for middle, depth in zip(middles, answer.depths, strict=True):
        colour = _colour(answer, depth)
        sheet.text(middle, TOP - 0.18, str(depth.blocks), fontsize=size, ha="center", color=colour, **bold)
        if depth is answer.best:
            wide = _column(answer)
            corner = (middle - wide / 2, TOP - 0.36)
            ground = Rectangle(corner, wide, bottom - corner[1] + 0.08, color=BLUE, alpha=0.09, linewidth=0, zorder=0)
            sheet.add_patch(ground)


def _beside(sheet: "Axes", words: tuple[str, str], top: float) -> None:
    """Write what a panel shows to its left: a title, and how it is read."""
    title, text = words
    sheet.text(0.12, top + 0.05, title, fontsize=10, color=INK, va="top", fontweight="bold")
    wrapped = textwrap.fill(text, TEXT)
    sheet.text(0.12, top + 0.27, wrapped, fontsize=8, color=INK, va="top", linespacing=1.35)


def _table(sheet: "Axes", lines: Sequence[_Line], middles: Sequence[float], top: float) -> None:
    """Write rows of numbers below a panel."""
    size = _size(9, len(middles))
    for place, line in enumerate(lines):
        y = top + LINE * (place + 0.72)
        sheet.text(0.12, y, line.name, fontsize=9, color=line.colour, va="center")
        for middle, cell in zip(middles, line.cells, strict=True):
            weight = "bold" if cell.bold else "normal"
            style: dict[str, Any] = {"fontsize": size, "fontweight": weight, "ha": "center", "va": "center"}
            sheet.text(middle, y, cell.text, color=cell.colour, **style)


def _colour(answer: Answer, depth: Depth) -> str:
    return BLUE if depth is answer.best else INK


def _line(answer: Answer, name: str, text: Callable[[Depth], str | None], bold: bool = False) -> _Line:
    """A row in which the recommended depth's cell is blue."""
    cells = (_Cell(text(depth) or "", _colour(answer, depth), bold and depth is answer.best) for depth in answer.depths)
    return _Line(name, tuple(cells))


def _known(lines: Sequence[_Line]) -> list[_Line]:
    """The rows that have a number or a word for any depth."""
    return [line for line in lines if any(cell.text for cell in line.cells)]


def _decision(answer: Answer) -> list[_Line]:
    """The numbers of the rule: how far each depth falls short, how far it may, and whether that is good enough."""
    verdicts = tuple(_verdict(answer, depth) for depth in answer.depths)
    return [
        _line(answer, "points short of the best", lambda depth: decided_in_points(depth)[0]),
        _line(answer, "points that are allowed", lambda depth: decided_in_points(depth)[1]),
        _Line("good enough?", verdicts),
    ]


def _verdict(answer: Answer, depth: Depth) -> _Cell:
    """Whether a depth is good enough, and which one is taken."""
    if not depth.summary.n:
        return _Cell("no result", VERMILION)
    if depth.shortfall is None:
        return _Cell("not ranked", VERMILION)
    if depth is answer.best:
        return _Cell("yes: taken", BLUE, bold=True)
    if depth.good_enough:
        return _Cell("yes", GREEN)
    return _Cell("no")


def _test(answer: Answer) -> list[_Line]:
    """The numbers of the test images."""
    return [
        _line(answer, "mean test accuracy, %", lambda depth: percent(depth.summary.test.mean), bold=True),
        _line(answer, "its 95 % interval over seeds", _interval),
    ]


def _interval(depth: Depth) -> str | None:
    test = depth.summary.test
    return None if test.low is None or test.high is None else f"{points(test.low):.2f} to {points(test.high):.2f}"


def _cost(answer: Answer) -> list[_Line]:
    """What a network costs, as far as it is known."""
    return [
        _line(answer, "parameters", lambda depth: _count(depth.summary.parameters)),
        _line(answer, "multiply-accumulates", lambda depth: _count(depth.summary.macs)),
    ]


def _count(cost: int | None) -> str | None:
    return None if cost is None else short(cost)


def _unfinished(answer: Answer) -> list[_Line]:
    """How many trials of each depth do not count, for each reason that occurs."""
    lines = []
    for status in ("diverged", "collapsed", "failed"):
        counts = [(getattr(depth.summary, status), depth.summary.tried) for depth in answer.depths]
        cells = (_Cell(f"\u2715 {count} of {tried}" if count else "", VERMILION) for count, tried in counts)
        lines.append(_Line(f"trials that {status}", tuple(cells), VERMILION))
    return lines


def _picks(answer: Answer) -> list[_Line]:
    """How often the rule takes each depth on resampled data."""

    def share(depth: Depth) -> str | None:
        return None if depth.pick_share is None else f"{100 * depth.pick_share:.0f} %"

    return [_line(answer, "taken on resampled data", share)]


def _foot(answer: Answer) -> str:
    """What the answer rests on."""
    share = f"{100 * answer.margin:g} % of the best depth's validation error"
    several = any(depth.summary.n > 1 for depth in answer.depths)
    other = ", or the standard error of the seed-paired difference where that is larger" if several else ""
    lines = [f"The depths have {MATCHED[answer.match]}. Allowed is {share}{other}."]
    parameters = [depth.summary.parameters or 0 for depth in answer.depths if depth.blocks]
    falls = any(after < before for before, after in itertools.pairwise(parameters))
    if answer.match == "width" and falls:
        lines.append("A block more halves the image, so the dense layer after it is smaller: parameters can fall.")
    if any(depth.summary.n and depth.shortfall is None for depth in answer.depths):
        lines.append("A depth is not ranked if not every one of its seeds succeeded.")
    return "\n".join(lines)
