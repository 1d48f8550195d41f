"""What a page is made of: charts, tables, texts and pictures, as typed values that know nothing of HTML.

Example:
    >>> table = Table("Accuracy by depth.", ("blocks", "test %"), [[Cell("1", 1), Cell("98.00", 98.0)]])
    >>> Section("depths", "Accuracy by depth", (Text(("More blocks are more accurate.",)), table)).parts[1].kind
    'table'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cnn.show.moving import Moving
from cnn.show.try_it import TryIt

UNKNOWN = "\u2013"


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and the number that sorts it and aligns it to the right."""

    text: str
    number: float | None = None
    shade: float = 0.0  # how dark its ground is, from 0 to 1
    wrong: bool = False  # whether that ground is the colour of what is wrong


@dataclass(frozen=True)
class Table:
    """Rows under heads. What a row shows of one variant alone disappears where the reader hides that variant."""

    kind: ClassVar[str] = "table"
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    variants: Sequence[Any] = ()  # that of each row; empty where the rows are not those of variants
    marked: int | None = None  # the row that stands out

    def __post_init__(self) -> None:
        if any(len(row) != len(self.heads) for row in self.rows):
            raise ValueError(f"{self.caption!r}: each row must have {len(self.heads)} cells")

    @classmethod
    def of_columns(
        cls,
        caption: str,
        columns: Sequence[tuple[str, Sequence[Cell]]],
        always: Sequence[str],
        variants: Sequence[Any],
        marked: int | None = None,
    ) -> "Table":
        """A table from heads with their cells; columns without a number other than 0 are left out.

        Args:
            caption: of the table.
            columns: in order.
            always: the heads of columns that stay.
            variants: that of each row.
            marked: the row that stands out.
        """
        kept = [(head, cells) for head, cells in columns if head in always or any(cell.number for cell in cells)]
        rows = [list(row) for row in zip(*(cells for _, cells in kept), strict=True)]
        return cls(caption, [head for head, _ in kept], rows, variants, marked)

    @property
    def of_numbers(self) -> tuple[bool, ...]:
        """Whether each column has a number: then its head, and what is unknown in it, are aligned as numbers are."""
        return tuple(any(row[place].number is not None for row in self.rows) for place in range(len(self.heads)))

    @property
    def sorts(self) -> bool:
        """Whether it has numbers to sort by."""
        return any(cell.number is not None for row in self.rows for cell in row)


@dataclass(frozen=True)
class Chart:
    """A chart in the grammar of Vega-Lite, with what it shows in words and its numbers as a table."""

    kind: ClassVar[str] = "chart"
    name: str  # of its element in the page
    title: str  # says what it shows
    description: str  # the same for those who do not see it
    spec: Mapping[str, Any]
    table: Table | None = None  # None where a table of the same section has the numbers
    variant: Any = None  # of a chart that shows one variant alone
    height: int = 240  # pixels, of the panel without its axes


@dataclass(frozen=True)
class Panels:
    """Charts of one kind side by side, as many as fit, with their numbers in one table."""

    kind: ClassVar[str] = "panels"
    charts: Sequence[Chart]
    table: Table


@dataclass(frozen=True)
class Choice:
    """Several parts of which the reader sees one."""

    kind: ClassVar[str] = "choice"
    name: str
    question: str  # what the reader chooses
    options: Mapping[str, "Chart | Panels"]  # the first is shown first


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    kind: ClassVar[str] = "text"
    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Definitions:
    """Words, and what each means."""

    kind: ClassVar[str] = "definitions"
    meanings: Mapping[str, str]


@dataclass(frozen=True)
class Frame:
    """A frame on a picture. Its place and its size are shares of the picture's."""

    top: float
    left: float
    height: float
    width: float
    found: bool = False  # by a network; otherwise it is the true one


@dataclass(frozen=True)
class Image:
    """A picture as the content of a PNG, with what it shows in words, and a few lines below it."""

    png: bytes
    description: str
    lines: Sequence[str] = ()
    sharp: bool = True  # whether its cells keep their edges when it is enlarged
    frames: Sequence[Frame] = ()


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, each `width` pixels wide."""

    kind: ClassVar[str] = "gallery"
    images: Sequence[Image]
    width: int = 96


@dataclass(frozen=True)
class Folded:
    """Parts that open at a click."""

    kind: ClassVar[str] = "folded"
    title: str
    parts: Sequence[Any]


@dataclass(frozen=True)
class Live:
    """A network that runs in the page, or why it cannot."""

    kind: ClassVar[str] = "live"
    try_it: TryIt


@dataclass(frozen=True)
class Movable:
    """An image that the reader moves, and what networks say of it."""

    kind: ClassVar[str] = "moving"
    moving: Moving


Part = Table | Chart | Panels | Choice | Text | Definitions | Gallery | Folded | Live | Movable


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading."""

    name: str  # of its element in the page
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """A page: what is asked, the answer, the evidence."""

    title: str  # of the browser's window
    question: str
    answer: str  # one sentence
    reasons: Sequence[str]  # sentences after it: why, and what to beware of
    command: str  # that makes the page again
    sections: Sequence[Section]
    data: Mapping[str, Any]  # plain values: what a reader may download
    picture: Image | None = None  # of the answer, for readers without scripts
    variants: Mapping[Any, str] = field(default_factory=dict)  # that the reader may hide, with their names
    variants_are: str = ""  # what these are, such as "depths"


def written(value: float | None, form: str) -> Cell:
    """A number as a cell, in its format; unknown where it is None.

    Example:
        >>> written(1234, ",d").text, written(None, ",d").number
        ('1,234', None)
    """
    return Cell(UNKNOWN) if value is None else Cell(format(value, form), value)


def percent(value: float | None, decimals: int = 2) -> Cell:
    """A fraction as a cell, in percent or in points; unknown where it is None. A rounded 0 has no sign.

    Example:
        >>> percent(0.98765).text
        '98.77'
    """
    if value is None:
        return Cell(UNKNOWN)
    return Cell(f"{round(100 * value, decimals) + 0.0:.{decimals}f}", round(100 * value, 6))
