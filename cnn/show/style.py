"""What all pictures share: colours, headlines, legends, and the content of a PNG.

Every picture of this room is a function that returns matplotlib's own `Figure`: a notebook shows it, `png` is its
content. pyplot has no part in that, so no display is needed, and a figure that nobody holds any more is freed. The
colours are those of Okabe and Ito (2008, "Color Universal Design"), which colour-blind readers tell apart too; the
orange is darker than theirs, so that words in it can be read. Marks differ in shape as well, for prints in grey.

The name of a data set, a class or a file is text. matplotlib would read a formula between two dollar signs, so every
function here, and every picture that shows such a name, turns that off.

Example:
    >>> from matplotlib.figure import Figure
    >>> figure = Figure()
    >>> headline(figure, "my_$5_photos: 2 blocks")
    >>> figure.get_suptitle()
    'my_$5_photos: 2 blocks'
"""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#B57D00"
INK = "#333333"  # words, and marks that do not stand out
QUIET = "#767676"  # words of less weight
GRID = "#E5E5E5"
DOTS_PER_INCH = 150


def png(figure: "Figure") -> bytes:
    """A figure as the content of a PNG."""
    buffer = io.BytesIO()
    with _any_script():
        figure.savefig(buffer, format="png", dpi=figure.dpi)
    return buffer.getvalue()


@contextlib.contextmanager
def _any_script() -> Iterator[None]:
    """Let letters that the font lacks show as boxes: a name in another script is no reason to warn, or to stop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


@contextlib.contextmanager
def own() -> Iterator[None]:
    """matplotlib's own defaults inside the block, whatever a `matplotlibrc` of the user or of the folder says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def headline(figure: "Figure", text: str) -> None:
    """Set the title of a whole picture: bold, at the top left, smaller where it would not fit."""
    title = figure.suptitle(text, fontsize=14, fontweight="bold", color=INK, x=0.01, ha="left", parse_math=False)
    fit(figure, title)


def fit(figure: "Figure", text: "Text") -> None:
    """Make a line of text smaller if it would leave its figure: the name of a data set or a layer may be long.

    Args:
        figure: the figure.
        text: a line that ends at its place if it is aligned to the right, and begins there otherwise.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _any_script():
        extent = text.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    right_aligned = text.get_horizontalalignment() == "right"
    room = 0.95 * extent.x1 if right_aligned else figure.bbox.width - 2 * extent.x0  # equal margins
    if extent.width > room:
        text.set_fontsize(text.get_fontsize() * room / extent.width)


def legend(axes: "Axes", marks: "Sequence[Artist] | None" = None) -> None:
    """Put a legend to the right of a panel.

    Args:
        axes: the panel.
        marks: what the legend explains, each with its label; by default, everything in the panel that has a label.
    """
    drawn = axes.legend(
        handles=marks, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, labelspacing=0.9
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)


def clean(axes: "Axes") -> None:
    """Take a panel's frame at the top and right and its tick marks away; add pale horizontal lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=10, which="both")
