"""The page of several sweeps: its tables have the numbers of the answers, and it can be drawn whatever has finished."""

import pytest

from cnn.show import page as pages
from cnn.show.across_page import across_page, answers_table, depths_table
from cnn.study import across_words
from cnn.study.across import across
from tests.show.test_across_charts import SEVERAL, several
from tests.study.sweeps import CLOSE, DEEP, SHALLOW, swept

HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[31m\udcff"


def row_of(table, place):
    return {head: cell.text for head, cell in zip(table.heads, table.rows[place], strict=True)}


def test_the_answers_side_by_side():
    found = across([swept(CLOSE, "digits"), swept(DEEP, width=8), swept({1: [None]}, "none")])
    table = answers_table(found)
    assert (table.heads[0], table.heads[-1]) == ("sweep", "width") and table.variants == [0, 1, 2]
    first = row_of(table, 0)
    assert first["sweep"] == "digits" and first["use"] == "1" and first["not worse"] == "2, 3"
    second = row_of(table, 1)
    assert (second["width"], second["use"], second["test %"], second["n"]) == ("8", "3", "96.00", "4")
    assert (second["next smaller"], second["short"], second["allowed"]) == ("2", "2.00", "0.20")  # 0.05 of 4 %
    assert {cell.text for cell in table.rows[2][1:-1]} == {"\u2013"}


def test_all_depths_of_all_sweeps():
    found = across([swept(DEEP, "digits"), swept(SHALLOW)])
    table = depths_table(found)
    assert table.variants == [0, 0, 0, 1, 1, 1]
    assert [row_of(table, place)["stands"] for place in range(6)] == ["worse", "worse", "use", "use", "worse", "worse"]
    for place, row in enumerate(table.rows):
        standing = found.sweeps[table.variants[place]].standing(row[1].number, 2)
        assert row_of(table, place)["p"] == ("\u2013" if standing.p is None else f"{standing.p:.2g}")


@several
def test_the_page_says_what_the_command_says(sweeps):
    found = across(sweeps)
    page = across_page(found, "Does it?", "python")
    assert " ".join([page.answer, *page.reasons]) == across_words.sentence(found) == page.data["sentence"]
    pages.render(page)


@pytest.mark.parametrize("sweeps", [*SEVERAL.values(), (swept(DEEP, HOSTILE, folder="a\udcff"), swept(SHALLOW))])
def test_every_sweep_can_be_hidden(page, sweeps, tmp_path):
    """The fixture fails where the browser warns."""
    found = across(sweeps)
    pages.write(across_page(found, "Does it?", f"python {HOSTILE}"), tmp_path / "page.html")
    page.goto((tmp_path / "page.html").as_uri())
    page.evaluate("page.drawn")
    dots = "document.querySelectorAll('#chart-cost .role-mark.mark-symbol > path').length"
    assert (page.evaluate(dots) > 0) == any(sweep.answer.best for sweep in found.sweeps)
    for box in page.locator("#shown input").all():
        box.uncheck()
    page.wait_for_function(f"{dots} === 0")
    assert page.locator("#rule figure:visible").count() == page.locator("#table tbody tr:visible").count() == 0
    page.get_by_label("points above or below").check()
    page.wait_for_selector("#chart-by-depth-difference svg")
