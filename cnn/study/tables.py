"""An answer, a comparison and a plan as tables in Markdown, at most 100 characters wide whatever they hold.

Columns in which every cell is empty or zero are left out. A table that would be too wide is written with shorter counts
(`403k`). A table that would be too wide even then is split into several, which all begin with the first column.

Example:
    >>> print(render([Column("blocks", ["0", "1"]), Column("parameters", ["9,610", "34,346"], right=True)]))
    | blocks | parameters |
    | ------ | ---------: |
    | 0      |      9,610 |
    | 1      |     34,346 |
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tabulate import DataRow, TableFormat, tabulate

from cnn.study.answer import Answer
from cnn.study.comparison import Comparison, Variant
from cnn.study.results import ACCURACY, Summary
from cnn.study.run import Overview, VariantOverview
from cnn.study.statistics import Estimate
from cnn.study.tuning import STEPS
from cnn.study.words import decided_in_points, percent

WIDTH = 100  # characters of the widest line
LONGEST = 40  # characters of a cell; longer ones are cut
UNKNOWN = "-"
_NOTHING = re.compile(r"0(\.0+)?")
_COUNT = re.compile(r"\d[\d,]*")
# The Markdown of tabulate itself makes each column two characters wider than its head.
_MARKDOWN = TableFormat(None, None, None, None, None, DataRow("| ", " | ", " |"), padding=0, with_header_hide=None)
# What the heads and signs of a table mean; `{reference}` is the recommended depth, or the variant compared with.
MEANINGS = {
    "*": "the recommended number of blocks",
    "[a, b]": "95 % interval of the mean over seeds (Student's t), for these images and this learning rate",
    "val %": "mean accuracy on validation images, which alone choose the number of blocks",
    "short": "by how many points a depth falls short of the best one on validation images",
    "allowed": "by how many it may; the smallest depth that falls short by no more is recommended",
    "difference": "to {reference} on test images, in points, paired by seed; each interval for itself",
    "p": "paired t-test of that difference, Holm-adjusted for all tests; below 0.05 the two are told apart",
    "picks": "how often the rule takes this depth, in percent, on resampled seeds and validation images "
    "(these vary more than new ones)",
    "n": "seeds that the means rest on",
    "n of m": "of m seeds, n succeeded; the others diverged, collapsed or failed, and no mean counts them",
    "rate": "learning rate; of several, the one with the best mean on validation images",
    "MACs": "multiply-accumulates of one image forward",
    "seconds": "training time of one trial, mean over seeds",
    "k, M, G": "thousand, million, thousand million",
    UNKNOWN: "unknown, or no comparison",
}


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, and a cell for each line; None is unknown."""

    head: str
    cells: Sequence[str | None]
    right: bool = False  # numbers are aligned to the right
    kept: bool = False  # whether it is shown even where every cell is empty or zero

    @property
    def empty(self) -> bool:
        """Whether every cell is empty or zero."""
        return all(not cell or _NOTHING.fullmatch(cell) for cell in self.cells)

    @property
    def width(self) -> int:
        """Characters of its widest cell, its head included."""
        return max(map(len, (*self.texts, "---")))

    @property
    def texts(self) -> list[str]:
        """The head and the cells as they are written."""
        texts = [self.head, *(cell or UNKNOWN for cell in self.cells)]
        return [text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..." for text in texts]

    @property
    def rule(self) -> str:
        """The line below its head, which tells Markdown the side of its cells."""
        return "-" * (self.width - 1) + (":" if self.right else "-")

    def shortened(self) -> "Column":
        """The same column with its counts in thousands and millions."""
        cells = [short(int(cell.replace(",", ""))) if cell and _COUNT.fullmatch(cell) else cell for cell in self.cells]
        return Column(self.head, cells, self.right, self.kept)


def answer_tables(answer: Answer) -> str:
    """The depths of an answer: what was measured and what it costs, then what decides and what is told apart.

    A star marks the recommended depth; `-` is unknown, or no comparison. The second table is left out where there is
    one depth.
    """
    summaries = [depth.summary for depth in answer.depths]
    names = Column("blocks", [f"{depth.blocks}{' *' if depth is answer.best else ''}" for depth in answer.depths])
    measured = [
        Column("test %", [percent(each.test.mean, each.test.low, each.test.high) for each in summaries], kept=True),
        Column("val %", [percent(each.val.mean) for each in summaries], right=True),
        *_trials_and_cost(summaries),
    ]
    decisions = [decided_in_points(depth) for depth in answer.depths]
    compared = [
        Column("short", [short for short, _ in decisions], right=True),
        Column("allowed", [allowed for _, allowed in decisions], right=True),
        Column("difference", [_interval(depth.difference) for depth in answer.depths]),
        Column("p", [_number(depth.p_adjusted, ".2g") for depth in answer.depths], right=True),
        Column("picks", [_number(depth.pick_share, ".0%") for depth in answer.depths], right=True),
    ]
    several = len(answer.depths) > 1 and not all(column.empty for column in compared)
    return "\n\n".join([render([names, *measured]), *([render([names, *compared])] if several else [])])


def comparison_tables(comparison: Comparison, titles: Mapping[str, str] | None = None) -> str:
    """The variants of a comparison: what was measured, in percent with 95 % intervals, and what it costs.

    Args:
        comparison: the comparison.
        titles: heads of the measured columns to show, by the measurement's name; by default the metric alone.
    """
    titles = titles or {
        comparison.metric: "test %" if comparison.metric == ACCURACY else f"{comparison.metric.replace('_', ' ')} %"
    }
    variants = comparison.variants
    return render(
        [
            Column(comparison.column.replace("_", " "), [str(variant.name) for variant in variants]),
            *(
                Column(title, [_measured(variant, name) for variant in variants], kept=name == comparison.metric)
                for name, title in titles.items()
            ),
            Column("difference", [_interval(variant.difference) for variant in variants]),
            Column("p", [_number(variant.p_adjusted, ".2g") for variant in variants], right=True),
            *_trials_and_cost([variant.summary for variant in variants]),
        ]
    )


def overview_table(overview: Overview) -> str:
    """The plan of a study: the trials of each phase, how many are done, and what each variant's network costs."""
    phases = render(
        [
            Column("phase", [phase.name for phase in overview.phases]),
            Column("trials", [str(phase.trials) for phase in overview.phases], right=True, kept=True),
            Column("done", [str(phase.done) for phase in overview.phases], right=True, kept=True),
        ]
    )
    rates = ", ".join(f"{rate:g}" for rate in overview.plan.grid)
    more = f"; while a best one lies at the edge, up to {STEPS} steps more" if overview.plan.extends else ""
    networks = network_table(overview.plan.study.column, overview.variants)
    return f"{phases}\n\nLearning rates: {rates}{more}.\n\n{networks}"


def network_table(column: str, networks: Sequence[VariantOverview]) -> str:
    """The networks that a study compares: their sizes and what they cost.

    Args:
        column: what the variants are values of.
        networks: one for each variant.
    """
    return render(
        [
            Column(column.replace("_", " "), [str(each.variant) for each in networks]),
            Column("width", [_number(each.width, "g") for each in networks], right=True),
            Column("hidden", [_number(each.hidden, "g") for each in networks], right=True),
            Column("parameters", [f"{each.cost.parameters:,}" for each in networks], right=True),
            Column("MACs", [f"{each.cost.macs:,}" for each in networks], right=True),
        ]
    )


def explained(tables: str, reference: str = "the reference") -> str:
    """What the heads and signs of tables mean: a line for each head and sign that occurs.

    Args:
        tables: as the functions above give them.
        reference: what the p-values compare with, in words.

    Example:
        >>> print(explained(render([Column("blocks", ["0", "1 *"]), Column("rate", ["0.003", None])]), "1 block"))
        *: the recommended number of blocks.
        rate: learning rate; of several, the one with the best mean on validation images.
        -: unknown, or no comparison.
    """
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables.splitlines() if line]
    cells = {cell for line in lines for cell in line}
    occurs = {
        "*": any(cell.endswith(" *") for cell in cells),
        "[a, b]": any(cell.endswith("]") for cell in cells),
        "n of m": any(re.fullmatch(r"\d+ of \d+", cell) for cell in cells),
        "k, M, G": any(re.fullmatch(r"[\d.]+[kMG]", cell) for cell in cells),
    }
    said = [sign for sign in MEANINGS if occurs.get(sign, sign in cells)]
    explanations = [f"{sign}: {MEANINGS[sign].format(reference=reference)}." for sign in said]
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in explanations)


def short(count: int) -> str:
    """A count with three digits, in thousands, millions or thousand millions.

    >>> short(101), short(9_610), short(403_210), short(1_220_000), short(999_999)
    ('101', '9.61k', '403k', '1.22M', '1.00M')
    """
    value = float(count)
    for unit in ("", "k", "M", "G"):
        if value < 999.5 or unit == "G":
            break
        value /= 1000
    if not unit:
        return str(count)
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{unit}"


def render(columns: Sequence[Column]) -> str:
    """Columns as one or more tables in Markdown, none wider than `WIDTH`, with an empty line between two tables.

    Args:
        columns: the first column names the lines, and begins each table.
    """
    first, *rest = columns
    rest = [column for column in rest if column.kept or not column.empty]
    shortened = [column.shortened() for column in rest]
    if not _fits([first, *rest]) and _fits([first, *shortened]):
        rest = shortened
    tables: list[list[Column]] = [[first]]
    for column in rest:
        if len(tables[-1]) > 1 and not _fits([*tables[-1], column]):
            tables.append([first])
        tables[-1].append(column)
    return "\n\n".join(map(_table, tables))


def _fits(columns: Sequence[Column]) -> bool:
    return sum(column.width + 3 for column in columns) + 1 <= WIDTH


def _table(columns: Sequence[Column]) -> str:
    lines = zip(*([column.texts[0], column.rule, *column.texts[1:]] for column in columns), strict=True)
    sides = ["right" if column.right else "left" for column in columns]
    return tabulate(lines, tablefmt=_MARKDOWN, disable_numparse=True, colalign=sides)


def _trials_and_cost(summaries: Sequence[Summary]) -> list[Column]:
    """What every table of trials ends with: how many finished, at which learning rate, and their cost."""
    return [
        Column("n", [_finished(each) for each in summaries], right=True, kept=True),
        Column("rate", [_number(each.learning_rate, "g") for each in summaries], right=True),
        Column("parameters", [_number(each.parameters, ",") for each in summaries], right=True),
        Column("MACs", [_number(each.macs, ",") for each in summaries], right=True),
        Column("seconds", [_number(each.train_seconds, ".1f") for each in summaries], right=True),
    ]


def _finished(summary: Summary) -> str:
    return f"{summary.n} of {summary.tried}" if summary.tried > summary.n else str(summary.n)


def _measured(variant: Variant, name: str) -> str | None:
    estimate = variant.measured[name]
    return percent(estimate.mean, estimate.low, estimate.high)


def _interval(estimate: Estimate | None) -> str | None:
    return None if estimate is None else percent(estimate.mean, estimate.low, estimate.high)


def _number(value: float | None, form: str) -> str | None:
    """A number in its format, where it is known."""
    return None if value is None else format(value, form)
