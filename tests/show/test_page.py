"""The HTML page: what users named is text in it, it loads nothing, and every part is written."""

import html.parser
import json
import re

import pytest
from matplotlib.figure import Figure

from cnn.show import page, style
from cnn.show.parts import (
    Cell,
    Chart,
    Choice,
    Definitions,
    Folded,
    Gallery,
    Image,
    Page,
    Panels,
    Section,
    Table,
    Text,
    percent,
    written,
)
from tests.experiments.test_hostile import NAMES, UNPRINTABLE

HOSTILE = "</script><script>alert(1)</script>&\"'"


class Reader(html.parser.HTMLParser):
    """What a browser takes from a page: its tags with their attributes, and the text of each script."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.scripts = {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            name = self.tags[-1][1].get("id", str(len(self.tags)))
            self.scripts[name] = self.scripts.get(name, "") + data


def chart(name="a", title="title", variant=None):
    table = Table("caption", ("head", "number"), [[Cell(title), written(2, "d")]])
    return Chart(name, title, "description", {"mark": "point", "name": title}, table, variant)


def page_of(*parts, name="name", **more):
    sections = (Section("own", name, parts),)
    return Page(name, name, name, (name,), f"python -m {name}", sections, {"name": name}, **more)


PARTS = [
    Text((HOSTILE,)),
    Table(HOSTILE, (HOSTILE, "n"), [[Cell(HOSTILE), written(1, "d")]], variants=(HOSTILE,), marked=0),
    chart(title=HOSTILE, variant=HOSTILE),
    Panels((chart("b", HOSTILE),), Table(HOSTILE, ("n",), [[written(1, "d")]])),
    Choice("c", HOSTILE, {HOSTILE: chart("d", HOSTILE), "other": chart("e")}),
    Definitions({HOSTILE: HOSTILE}),
    Folded(HOSTILE, (Text((HOSTILE,)), chart("f", HOSTILE))),
    Gallery((Image(b"png", HOSTILE, (HOSTILE,)),)),
]


@pytest.mark.parametrize("part", PARTS, ids=[part.kind for part in PARTS])
def test_a_name_is_text_and_nothing_else(part):
    def scripts_of(name, own):
        text = page.render(page_of(own, name=name, variants={name: name}, variants_are="depths"))
        assert "alert(1)</script>" not in text
        return [attributes for tag, attributes in Reader(text).tags if tag == "script"]

    harmless = scripts_of("name", Text(("none",)))
    with_charts = scripts_of("name", chart())
    assert len(scripts_of(HOSTILE, part)) in (len(harmless), len(with_charts))


@pytest.mark.parametrize("name", [*NAMES, *UNPRINTABLE])
def test_every_name_is_given_back_by_a_reader(name):
    table = Table(name, (name,), [[Cell(name)]])
    reader = Reader(page.render(page_of(table, chart(title=name), name=name, variants={name: name}, variants_are="?")))
    assert json.loads(reader.scripts["data"]) == {"name": name}
    assert json.loads(reader.scripts["charts"])["a"]["name"] == name
    box = next(attributes for tag, attributes in reader.tags if tag == "input")
    assert json.loads(box["value"]) == name
    assert not {"img", "b"} & {tag for tag, _ in reader.tags}


def test_data_and_charts_are_given_back_by_a_reader():
    reader = Reader(page.render(page_of(chart(title=HOSTILE), name=HOSTILE)))
    assert json.loads(reader.scripts["data"]) == {"name": HOSTILE}
    assert json.loads(reader.scripts["charts"])["a"]["name"] == HOSTILE


def test_the_page_loads_nothing_and_forbids_it():
    text = page.render(page_of(chart(), picture=Image(style.png(Figure()), "picture")))
    reader = Reader(text)
    sources = [value for _, attributes in reader.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in reader.tags}
    policy = next(a["content"] for tag, a in reader.tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none';") and "http" not in policy


def test_without_charts_their_library_is_left_out():
    with_chart = page.render(page_of(chart()))
    without = page.render(page_of(Text(("text",))))
    assert len(without) < 50_000 < 800_000 < len(with_chart)


def test_every_chart_has_a_place_a_description_and_a_title():
    charts = [chart("a"), chart("b"), chart("c")]
    text = page.render(page_of(charts[0], Panels(charts[1:2], charts[1].table), Choice("q", "?", {"one": charts[2]})))
    for each in charts:
        assert re.search(rf'id="chart-{each.name}" role="group" aria-label="{each.description}"', text)
    assert text.count("<figcaption>title</figcaption>") == 3
    assert set(json.loads(Reader(text).scripts["charts"])) == {"a", "b", "c"}


@pytest.mark.parametrize("known", [0, 1])
def test_numbers_sort_as_numbers_and_unknown_ones_are_dashes(known):
    rows = [[Cell("a"), percent(None)], [Cell("b"), percent(None)]]
    rows[known][1] = percent(0.5)
    text = page.render(page_of(Table("caption", ("name", "test %"), rows)))
    assert '<td class="number" data-sort="50.0">50.00</td>' in text and '<td class="number">\u2013</td>' in text
    assert '<th scope="col" class="number">test %</th>' in text and '<th scope="col">name</th>' in text


def test_a_table_with_a_short_row_is_refused():
    with pytest.raises(ValueError, match="'mine': each row must have 2 cells"):
        Table("mine", ("a", "b"), [[Cell("1")]])


def test_signed_numbers_have_the_colours_of_the_pictures():
    css = (page.FOLDER / "page.css").read_text().lower()
    assert re.findall("--negative: (#[0-9a-f]{6});", css)[0] == style.BLUE.lower()
    assert re.findall("--positive: (#[0-9a-f]{6});", css)[0] == style.VERMILION.lower()


def test_each_vendored_file_has_its_version_and_licence():
    folder = page.FOLDER / "vendor"
    readme = (folder / "README.md").read_text()
    for path in folder.glob("*.js"):
        line = next(line for line in readme.splitlines() if f"`{path.name}`" in line)
        (licence,) = re.findall(r"`(\w[\w-]*\.LICENSE)`", line)
        assert (folder / licence).read_text().strip() and re.search(r"\d+\.\d+\.\d+", line)
    vendored = {path.name for path in folder.glob("*.js")}
    assert vendored == {*page.CHART_SCRIPTS, *page.TABLE_SCRIPTS}
    assert not any("</script" in path.read_text() for path in folder.glob("*.js"))
