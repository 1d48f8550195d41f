"""The pages of real runs in a real browser: as many marks as numbers, and everything that a reader can do."""

import dataclasses
import json

import pytest

from cnn.config import NetworkConfig, StudyConfig, SweepConfig, TrainingConfig
from cnn.data import datasets
from experiments import features, localize, sweep_blocks, why_convnets
from tests.show.browser import browser, page  # noqa: F401

pytestmark = pytest.mark.thorough

HOSTILE = "</script><script>document.title='broken out'</script><img src=x onerror=\"document.title='broken out'\">"
TRAINING = TrainingConfig(epochs=2)
NETWORK = NetworkConfig(width=8, hidden=16)
SEEDS = 3
RATES = (1e-3, 1e-2)


@pytest.fixture(scope="module")
def digits():
    """Digits whose name and classes are hostile."""
    own = datasets.load("digits")
    return dataclasses.replace(own, class_names=(HOSTILE, *own.class_names[1:]))


@pytest.fixture(scope="module")
def swept(digits, tmp_path_factory):
    """A finished sweep over three depths."""
    config = SweepConfig(
        blocks=(0, 1, 2),
        learning_rates=RATES,
        seeds=SEEDS,
        tuning_seeds=2,
        network=NETWORK,
        training=TRAINING,
    )
    return sweep_blocks.EXPERIMENT.run(config, digits, tmp_path_factory.mktemp("sweep"))


@pytest.fixture
def opened(page, swept):  # noqa: F811
    """The sweep's page, drawn."""
    page.goto(swept.page.as_uri())
    page.evaluate("page.drawn")
    return page


def marks(page, chart, kind="symbol"):  # noqa: F811
    """How many marks of a kind a chart has."""
    return page.locator(f"#chart-{chart} .role-mark.mark-{kind} > path").count()


def test_every_chart_has_as_many_marks_as_numbers(opened, swept):
    done = sum(row.done and row.phase == "compare" for row in swept.results.rows)
    depths = sum(depth.summary.n > 0 for depth in swept.report.answer.depths)
    assert done == 9 and depths == 3
    assert marks(opened, "decision") == done + depths
    assert marks(opened, "decision", "rect") == 2 * depths  # bands, and what is allowed
    assert marks(opened, "accuracy") == done + depths
    front = sum(row.locator("td").last.inner_text() == "yes" for row in rows_of(opened, "by-cost"))
    assert marks(opened, "cost-macs") == depths + front
    tuned = {(row.variant, row.learning_rate) for row in swept.results.rows if row.phase == "tune" and row.done}
    assert marks(opened, "rates") == len(tuned) + depths
    for place in range(3):
        assert opened.locator(f"#chart-curves-accuracy-{place} svg").count() == 1


def rows_of(page, section):  # noqa: F811
    """The rows of the first table of a section that is not hidden."""
    page.locator(f"#{section} details").first.evaluate("each => each.open = true")
    return page.locator(f"#{section} details table").first.locator("tbody tr").all()


def test_a_box_hides_a_depth_everywhere(opened):
    opened.get_by_role("checkbox", name="0 blocks").uncheck()
    opened.wait_for_function("document.querySelectorAll('#chart-accuracy .role-mark.mark-symbol > path').length === 8")
    assert marks(opened, "decision") == 8 and marks(opened, "cost-macs") <= 4
    assert opened.locator("#table tbody tr:visible").count() == 2
    assert opened.locator("#learning .panels figure:visible").count() == 2
    opened.get_by_role("checkbox", name="0 blocks").check()
    opened.wait_for_function("document.querySelectorAll('#chart-accuracy .role-mark.mark-symbol > path').length === 12")
    assert opened.locator("#table tbody tr:visible").count() == 3


def test_what_was_hidden_while_the_window_changed_is_drawn_whole_again(opened):
    def sizes():
        return [opened.locator(f"#chart-{name} svg").bounding_box()["height"] for name in ("decision", "accuracy")]

    before = sizes()
    boxes = opened.locator("#shown input").all()
    for box in boxes:
        box.uncheck()
    opened.wait_for_function("document.querySelectorAll('#chart-accuracy .role-mark.mark-symbol > path').length === 0")
    opened.set_viewport_size({"width": 1000, "height": 900})
    opened.wait_for_timeout(200)  # the event of the new size has come
    for box in boxes:
        box.check()
    opened.wait_for_function("document.querySelector('#chart-curves-accuracy-0 svg').clientWidth > 100")
    assert sizes() == before


def test_a_table_sorts_numbers_as_numbers_by_mouse_and_by_key(opened):
    heads = opened.locator("#table thead th")
    place = heads.all_inner_texts().index("MACs")
    column = f"""() => [...document.querySelectorAll('#table tbody tr')].map(
        row => Number(row.children[{place}].dataset.sort))"""
    numbers = sorted(opened.evaluate(column))
    assert len({len(str(number)) for number in numbers}) > 1  # as text they would have another order
    heads.nth(place).click()
    opened.wait_for_function(f"JSON.stringify(({column})()) === '{json.dumps(numbers[::-1], separators=(',', ':'))}'")
    heads.nth(place).focus()
    opened.keyboard.press("Enter")
    opened.wait_for_function(f"JSON.stringify(({column})()) === '{json.dumps(numbers, separators=(',', ':'))}'")


def test_every_control_is_reached_by_the_keyboard(opened):
    assert opened.locator("tbody th, tbody [tabindex], #made thead th[tabindex]").count() == 0  # what does not sort
    controls = opened.evaluate(
        """() => [...document.querySelectorAll('button, input, summary, .sortable thead th')].filter(
             each => each.checkVisibility() && !each.disabled && !(each.type === 'radio' && !each.checked)).length"""
    )
    reached = set()
    for _ in range(4 * controls):
        opened.keyboard.press("Tab")
        own = opened.evaluate(
            """() => { const each = document.activeElement;
                 if (!each.matches('button, input, summary, .sortable thead th')) return null;
                 each.dataset.reached ??= String(Math.random()); return each.dataset.reached; }"""
        )
        if own in reached and len(reached) == controls:
            break
        reached |= {own} - {None}
    assert len(reached) == controls


def test_another_cost_and_the_error_are_drawn_when_they_are_chosen(opened):
    opened.get_by_label("parameters", exact=True).check()
    opened.wait_for_selector("#chart-cost-parameters svg")
    assert not opened.locator("#chart-cost-macs").is_visible()
    opened.get_by_label("error, on a log scale").check()
    opened.wait_for_selector("#chart-curves-error-2 svg")


def test_the_data_are_downloaded_and_the_command_is_copied(opened, swept):
    with opened.expect_download() as download:
        opened.get_by_text("Download the data as JSON").click()
    data = json.loads(download.value.path().read_text())
    assert data["answer"] == json.loads(json.dumps(swept.report.answer.to_json()))
    assert len(data["trials"]) == len(swept.results.rows)
    opened.get_by_text("Copy the command").click()
    opened.wait_for_selector("text=Copied")


def test_hostile_names_do_not_break_out(opened):
    assert opened.title() == "digits: how many blocks?"
    assert HOSTILE in opened.locator("#confusion th").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_does_not_scroll_sideways(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": 390, "height": 844})
    opened.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    ground, ink = opened.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (brightness(ground) > brightness(ink)) == (scheme == "light")


def brightness(colour):
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))


def test_without_scripts_answer_table_and_picture_are_there(browser, swept):  # noqa: F811
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()  # noqa: F811
    page.goto(swept.page.as_uri())
    assert page.locator("h1").inner_text().startswith("On digits, use")
    assert page.locator("#table tbody tr:visible").count() == 3
    picture = page.locator("noscript img")
    assert picture.is_visible() and picture.bounding_box()["height"] > 300
    assert page.locator("button:visible, input:visible, .drawn:visible, canvas:visible").count() == 0  # nothing is dead
    assert page.locator("#by-cost details:visible").count() == 3  # what a choice would hide
    context.close()


def test_a_page_can_be_printed(opened):
    assert len(opened.pdf()) > 50_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_is_light_and_no_table_is_cut(opened, scheme):
    opened.emulate_media(color_scheme=scheme, media="print")
    opened.set_viewport_size({"width": 718, "height": 1000})  # A4 between its margins
    colours = opened.locator("#chart-accuracy text").evaluate_all("all => all.map(each => getComputedStyle(each).fill)")
    assert colours and max(map(brightness, colours)) < 450
    cut = "() => [...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > innerWidth).length"
    assert opened.evaluate(cut) == 0


def test_where_every_trial_diverged_the_page_says_so(page, tmp_path):  # noqa: F811
    training = dataclasses.replace(TRAINING, epochs=1)
    config = SweepConfig(blocks=(0, 1), learning_rates=(1e20,), seeds=2, network=NETWORK, training=training)
    finished = sweep_blocks.EXPERIMENT.run(config, datasets.load("digits"), tmp_path / "run")
    page.goto(finished.page.as_uri())
    page.evaluate("page.drawn")
    page.get_by_label("error, on a log scale").check()
    page.wait_for_selector("#chart-curves-error-1 svg")
    assert page.locator("h1").inner_text() == "No recommendation on digits: no trial succeeded."
    assert page.locator("#table tbody tr").count() == 2
    assert page.locator("#decision, #by-depth, #by-cost, #network").count() == 0


def test_a_page_is_small(swept):
    assert swept.page.stat().st_size < 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [why_convnets, localize, features], ids=["why_convnets", "localize", "features"])
def test_every_experiment_has_its_page(page, experiment, tmp_path):  # noqa: F811
    config = StudyConfig(seeds=2, tuning_seeds=1, learning_rates=RATES, network=NETWORK, training=TRAINING)
    if experiment is localize:
        config = dataclasses.replace(config, scene=dataclasses.replace(config.scene, objects=1))
    finished = experiment.EXPERIMENT.run(config, datasets.load("digits"), tmp_path / "run")
    page.goto(finished.page.as_uri())
    page.evaluate("page.drawn")
    assert page.locator(".question").inner_text() == experiment.EXPERIMENT.question
    assert page.locator("#evidence svg").count() >= 2
    pictures = {"features": 3}.get(experiment.EXPERIMENT.name, 0)
    assert page.locator("main img:not(.sharp)").count() == pictures
    scenes = 2 * localize.SHOWN if experiment is localize else 0
    assert page.locator("#scenes img").count() == page.locator("#scenes rect.found").count() == scenes
    assert page.locator("#moving").count() == (experiment is why_convnets)
