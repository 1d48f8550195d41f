"""An HTML page from its parts: one file that opens without a network.

The file holds its scripts, its style and its pictures, and loads nothing: its own security policy forbids that. A name
that comes from a user, such as that of a data set or a class, is text in it and nothing else: Jinja2 escapes what goes
into the document, and in what goes into a script every `<` is written as `\\u003c`, so that no tag can end the script.

Example:
    >>> from cnn.show.parts import Section, Text
    >>> page = Page(
    ...     "mine", "How many?", "Two.", (), "python -m experiments.train",
    ...     (Section("more", "More", (Text(("<b>bold</b>",)),)),), {},
    ... )
    >>> "<p>&lt;b&gt;bold&lt;/b&gt;</p>" in render(page)
    True
"""

import base64
import functools
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn import files
from cnn.show.parts import Chart, Choice, Folded, Live, Movable, Page, Panels, Part

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent / "page"
CHART_SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")
TABLE_SCRIPTS = ("sortable.min.js", "sortable.a11y.min.js")
STYLES: dict[type, tuple[str, ...]] = {  # that a part needs beside the page's own
    Live: ("bars.css", "try.css"),
    Movable: ("bars.css", "moving.css"),
}


def write(page: Page, path: Path) -> None:
    """Write a page as an HTML file that appears whole or not at all.

    Raises:
        OSError: the file cannot be written; its old content is still there.
    """
    files.write(path, render(page))


def render(page: Page) -> str:
    """The page as the content of an HTML file."""
    parts = list(_all_parts([part for section in page.sections for part in section.parts]))
    charts = {chart.name: chart for chart in parts if isinstance(chart, Chart)}
    vendored = (*TABLE_SCRIPTS, *(CHART_SCRIPTS if charts else ()))
    scripts = [*(f"vendor/{name}" for name in vendored), "page.js"]
    values: dict[str, Any] = {"page": page, "charts": charts}
    values["scripts"] = [_file(name) for name in scripts]
    own = {style: None for part in parts for style in STYLES.get(type(part), ())}  # each once, in order
    values["styles"] = [_file(name) for name in ("page.css", *own)]
    return _environment().get_template("page.html").render(**values)


def _all_parts(parts: Sequence[Part]) -> Iterator[Part]:
    """The parts, and those inside them."""
    for part in parts:
        yield part
        if isinstance(part, Panels):
            yield from part.charts
        elif isinstance(part, Choice):
            yield from _all_parts(list(part.options.values()))
        elif isinstance(part, Folded):
            yield from _all_parts(part.parts)


@functools.cache
def _environment() -> "Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["as_json"] = _as_json
    environment.filters["as_png"] = _as_png
    environment.filters["in_few_colours"] = _in_few_colours
    return environment


def _as_json(value: Any) -> str:
    """A value as JSON that may stand in a script: it holds no `<`, and so no tag."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _in_few_colours(content: bytes) -> bytes:
    """A drawn picture with 256 colours, a third as large."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    picture.quantize(dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _as_png(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


@functools.cache
def _file(name: str) -> str:
    """The content of a script or a style; none of them holds an end tag."""
    return (FOLDER / name).read_text(encoding="utf-8")
