"""The page of real sweeps side by side, in a real browser, and where it can be written."""

import json
import os
import shutil

import pytest

from tests.show.browser import browser, page  # noqa: F401

pytestmark = pytest.mark.slow

SMALL = ("--epochs=1", "--batch_size=32", "--hidden=16", "--learning_rates=1e-2", "--seeds=2")
SWEEPS = {  # of each work folder
    "w4": ("--width=4", "--blocks=0,1,2"),
    "w8": ("--width=8", "--blocks=0,1,2"),
    "macs": ("--width=8", "--match=macs", "--blocks=1,2"),
}
DEPTHS = 8  # of all sweeps
HOSTILE = "<b>&amp;'\"<" + "/script><script>document.title='broken out'<"  # a folder in a folder
PAGE = "compared.html"


@pytest.fixture(scope="module")
def folders(answering, tmp_path_factory):
    """Three sweeps on digits, one of them in a folder of a hostile name too."""
    folder = tmp_path_factory.mktemp("compare_page")
    for workdir, flags in SWEEPS.items():
        done = answering.ask(folder, "sweep_blocks", *SMALL, *flags, f"--workdir={workdir}")
        assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "w8", folder / HOSTILE)
    return folder


@pytest.fixture
def asked(answering, folders):
    return lambda *flags: answering.ask(folders, "compare", *flags)


@pytest.fixture
def opened(page, asked, folders):  # noqa: F811
    """The page of the three sweeps, drawn."""
    done = asked(*SWEEPS, f"--page={PAGE}")
    assert (done.returncode, done.stderr) == (0, "")
    page.goto((folders / PAGE).as_uri())
    page.evaluate("page.drawn")
    return page


def marks(page, chart, kind="symbol"):  # noqa: F811
    """How many marks of a kind a chart has."""
    return page.locator(f"#chart-{chart} .role-mark.mark-{kind} > path").count()


def test_the_page_says_what_the_command_prints(asked, folders, opened):
    plain = asked(*SWEEPS)
    done = asked(*SWEEPS, f"--page={PAGE}")
    assert done.stdout == f"{plain.stdout}Page: {PAGE}\n"
    said = [opened.locator("h1").inner_text(), *opened.locator(".reason").all_inner_texts()]
    assert plain.stdout.rstrip("\n").endswith(" ".join(said))
    assert opened.locator(".question").inner_text() == opened.title() == "Does the answer depend on the data?"
    assert opened.locator("#command").inner_text() == f"python -m experiments.compare --page={PAGE} w4 w8 macs"


def test_every_chart_has_as_many_marks_as_numbers(opened):
    ringed = len(SWEEPS)
    assert marks(opened, "by-depth-accuracy") == marks(opened, "cost") == DEPTHS + ringed
    assert marks(opened, "by-depth-accuracy", "line") == len(SWEEPS)
    for place, count in enumerate((3, 3, 2)):
        assert marks(opened, f"decision-{place}") == count
        assert marks(opened, f"decision-{place}", "rect") == 2 * count  # bands, and what is allowed
    opened.get_by_label("points above or below the sweep's own choice").check()
    opened.wait_for_selector("#chart-by-depth-difference svg")
    assert marks(opened, "by-depth-difference") == DEPTHS + ringed
    assert opened.locator("#table tbody tr").count() == DEPTHS


def test_boxes_hide_sweeps_everywhere(opened):
    sweeps = opened.locator("#shown label").all_inner_texts()
    assert [name.strip() for name in sweeps] == ["width=4, match=width", "width=8, match=width", "width=8, match=macs"]
    axes = "[...document.querySelectorAll('#chart-cost .role-axis text')].map(each => each.textContent)"
    before = opened.evaluate(axes)
    for place, left in enumerate((7, 3, 0)):  # dots and rings
        opened.locator("#shown input").nth(place).uncheck()
        opened.wait_for_function(
            f"document.querySelectorAll('#chart-cost .role-mark.mark-symbol > path').length === {left}"
        )
        assert marks(opened, "by-depth-accuracy") == left
        assert opened.locator("#rule figure:visible").count() == len(SWEEPS) - place - 1
        assert opened.locator("#answers tbody tr:visible").count() == len(SWEEPS) - place - 1
    assert opened.evaluate(axes) == before != []
    opened.locator("#shown input").nth(0).check()
    opened.wait_for_function("document.querySelectorAll('#chart-cost .role-mark.mark-symbol > path').length === 4")
    assert opened.locator("#table tbody tr:visible").count() == 3


def test_the_data_are_those_of_the_command(asked, opened):
    with opened.expect_download() as download:
        opened.get_by_text("Download the data as JSON").click()
    assert json.loads(download.value.path().read_text()) == json.loads(asked(*SWEEPS, "--json").stdout)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_does_not_scroll_sideways(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": 390, "height": 844})
    opened.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_page_is_small(opened, folders):
    assert (folders / PAGE).stat().st_size < 2_000_000


def test_a_hostile_folder_is_shown_and_never_obeyed(page, asked, folders):  # noqa: F811
    done = asked("w8", HOSTILE, "--page=hostile.html", "--json")
    assert (done.returncode, done.stderr) == (0, "") and len(json.loads(done.stdout)["sweeps"]) == 2
    page.goto((folders / "hostile.html").as_uri())
    page.evaluate("page.drawn")
    assert page.title() == "Does the answer depend on the data?"
    assert HOSTILE in page.locator("#made td").all_inner_texts()
    assert page.locator("figcaption", has_text="broken out").count() == 1
    assert page.locator("#shown label b, figcaption b, td b").count() == 0


@pytest.mark.parametrize(
    "value, said",
    [
        ("nowhere/page.html", "page='nowhere/page.html': must be a file in a folder that exists"),
        ("w4/config.json/page.html", "must be a file in a folder that exists"),
        ("folder.html", "must be a file in a folder that exists"),
        ("w4", "must be a file of printable name that ends with .html"),
        ("w4/answer.json", "must be a file of printable name that ends with .html"),
        (".html", "must be a file of printable name that ends with .html"),
        ("a\x1b.html", "must be a file of printable name that ends with .html"),
        (f"{'x' * 300}.html", "must be a file that can be written (File name too long)"),
        ("~nobody-of-this-name/x.html", "must name a user"),
    ],
)
def test_what_can_be_no_page_is_refused_in_one_line(asked, folders, value, said):
    (folders / "folder.html").mkdir(exist_ok=True)
    before = set(folders.rglob("*"))
    done = asked("w4", "w8", f"--page={value}")
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and said in done.stderr, done.stderr
    assert set(folders.rglob("*")) == before


def test_a_page_that_cannot_be_written_is_one_line(answering, folders):
    done = answering.ask(folders, "compare", "w4", "w8", "--page=large.html", LARGEST_FILE="1000")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "large.html" in done.stderr
    assert not [name for name in os.listdir(folders) if "large.html" in name]


def test_folders_that_look_like_flags(asked, folders, opened):
    """The command on the page is one that can be run."""
    shutil.copytree(folders / "w4", folders / "--w4", dirs_exist_ok=True)
    done = asked("--page=flags.html", "--", "--w4", "w8")
    assert (done.returncode, done.stderr) == (0, "")
    opened.goto((folders / "flags.html").as_uri())
    command = opened.locator("#command").inner_text()
    assert command == "python -m experiments.compare --page=flags.html -- --w4 w8"
