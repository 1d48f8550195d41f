"""The part "move an image" in a real browser: the networks' answers against JAX, and everything that a reader does."""

import dataclasses

import numpy as np
import pytest

from cnn.config import NetworkConfig, StudyConfig, TrainingConfig
from cnn.data import datasets
from cnn.data.preprocess import moved
from cnn.show import page as pages
from cnn.show.moving import MOST_CHARACTERS, moving
from cnn.show.parts import Live, Movable, Page, Section
from cnn.trained.live import NotLive, live, rounded
from experiments import why_convnets
from tests.show import trying
from tests.trained.exported import make

pytestmark = pytest.mark.slow
PLAIN = ("convnet", "mlp")
SHUFFLED = ("convnet, permuted", "mlp, permuted")
CANVAS = """() => {
  const copy = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  copy.drawImage(document.querySelector("#moving-image canvas"), 0, 0);
  return [...copy.getImageData(0, 0, 8, 8).data].filter((_, index) => index % 4 === 0);
}"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of real networks, trained on digits for a few epochs."""
    network = NetworkConfig(blocks=1, width=8, hidden=16)
    config = StudyConfig(seeds=1, learning_rates=(1e-2,), network=network, training=TrainingConfig(epochs=4))
    return why_convnets.EXPERIMENT.run(config, datasets.load("digits"), tmp_path_factory.mktemp("moving") / "run")


@pytest.fixture(scope="module")
def networks(finished):
    """The networks as JAX computes them, with the weights that the page has."""
    return {name: rounded(finished.results.trained(name)) for name in (*PLAIN, *SHUFFLED)}


@pytest.fixture
def opened(page, finished):
    """The study's page."""
    page.goto(finished.page.as_uri())
    page.evaluate("page.drawn")
    return page


def image(digit):
    """The test image on the button of that number."""
    digits = trying.digits()
    return digits.test_images[digits.test_labels == digit][:1]


def pixels(page):
    return np.array(page.evaluate("[...moving.pixels()]"), np.uint8).reshape(1, 8, 8, 1)


def pick(page, digit):
    page.locator("#moving-tests button").nth(digit).click()


def press(page, down, right):
    """Move the image by the arrow keys."""
    page.locator("#moving-image").focus()
    for count, keys in ((down, ("ArrowDown", "ArrowUp")), (right, ("ArrowRight", "ArrowLeft"))):
        for _ in range(abs(count)):
            page.keyboard.press(keys[count < 0])


def shown(page):
    """What each panel says in words, and the percent of its bars."""
    panels = page.locator("#moving-answers > div").all()
    return [
        (
            panel.locator("h3").inner_text(),
            panel.locator("p").inner_text(),
            panel.locator("p").get_attribute("class"),
            [float(share.removesuffix(" %")) for share in panel.locator(".bar-share").all_inner_texts()],
        )
        for panel in panels
    ]


def agrees(page, networks, names, digit, move):
    """Whether the page shows the answers of these networks to the image after the move."""
    expected = moved(image(digit), *move)
    np.testing.assert_array_equal(pixels(page), expected)
    answers = page.evaluate("moving.answers()")
    assert [answer["name"] for answer in answers] == list(names)
    for answer, (name, words, kind, bars) in zip(answers, shown(page), strict=True):
        shares = networks[name].probabilities(expected)[0]
        np.testing.assert_allclose(answer["probabilities"], shares, atol=1e-3)
        np.testing.assert_allclose(bars, 100 * shares, atol=0.11)
        right = int(shares.argmax()) == digit
        assert words.startswith(f"{shares.argmax()} (") and kind == ("moving-right" if right else "moving-wrong")
        assert words.endswith("Right." if right else f"Wrong: this is {digit}.")


@pytest.mark.parametrize("digit, move", [(0, (0, 0)), (3, (1, 0)), (3, (-2, 3)), (7, (0, -4)), (9, (4, -1))])
def test_answers_after_a_move_are_those_of_jax(opened, networks, digit, move):
    pick(opened, digit)
    press(opened, *move)
    agrees(opened, networks, PLAIN, digit, move)
    opened.get_by_label("shuffle the pixels").check()
    agrees(opened, networks, SHUFFLED, digit, move)
    opened.get_by_label("shuffle the pixels").uncheck()
    agrees(opened, networks, PLAIN, digit, move)


def test_every_image_is_answered_like_in_jax_and_some_answers_change(opened, networks):
    said = set()
    for digit in range(10):
        pick(opened, digit)
        press(opened, 0, 2)
        agrees(opened, networks, PLAIN, digit, (0, 2))
        said |= {kind for _, _, kind, _ in shown(opened)}
    assert said == {"moving-right", "moving-wrong"}


def test_the_switch_shows_the_pixels_as_the_permuted_networks_see_them(opened, networks):
    pick(opened, 5)
    press(opened, 1, 1)
    level = moved(image(5), 1, 1)[0].reshape(-1) * (255 / 16)
    np.testing.assert_allclose(opened.evaluate(CANVAS), level, atol=0.51)
    opened.get_by_label("shuffle the pixels").check()
    seen = trying.intermediates(networks["mlp, permuted"], moved(image(5), 1, 1))["permute"]
    own = networks["mlp, permuted"]
    expected = (np.asarray(seen)[0] * own.deviation + own.mean).reshape(-1) * (255 / 16)
    np.testing.assert_allclose(opened.evaluate(CANVAS), expected, atol=0.51)
    assert sorted(opened.evaluate(CANVAS)) == sorted(np.rint(level).astype(int).tolist())


def test_it_is_moved_by_buttons_keys_and_dragging_as_far_as_half_of_it(opened):
    for label, expected in {"up": [-1, 0], "left": [-1, -1], "down": [0, -1], "right": [0, 0]}.items():
        opened.get_by_role("button", name=label, exact=True).click()
        assert opened.evaluate("moving.move()") == expected
    assert opened.locator("#moving-place").inner_text() == "Not moved."
    press(opened, 0, 9)
    press(opened, -9, 0)
    assert opened.evaluate("moving.move()") == [-4, 4]
    assert opened.locator("#moving-place").inner_text() == "Moved up by 4, right by 4."
    opened.get_by_role("button", name="Reset").click()
    assert opened.evaluate("moving.move()") == [0, 0]
    opened.locator("#moving-image").scroll_into_view_if_needed()
    box = opened.locator("#moving-image").bounding_box()
    cell = box["width"] / 8
    start = (box["x"] + 2 * cell, box["y"] + 5 * cell)
    opened.mouse.move(*start)
    opened.mouse.down()
    opened.mouse.move(start[0] + 3 * cell, start[1] - cell, steps=8)
    opened.mouse.up()
    opened.mouse.move(*start)
    assert opened.evaluate("moving.move()") == [-1, 3]
    pick(opened, 4)
    assert opened.evaluate("moving.move()") == [0, 0]


def test_everything_works_from_the_keyboard(opened):
    opened.locator("#moving-tests button").nth(8).focus()
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    assert opened.locator("#moving-tests button[aria-pressed=true]").get_attribute("title") == "test image of class 9"
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.id") == "moving-image"
    top = opened.evaluate("window.scrollY")
    opened.keyboard.press("ArrowDown")
    assert opened.evaluate("moving.move()") == [1, 0] and opened.evaluate("window.scrollY") == top
    for expected in ([0, 0], [0, -1], [0, 0], [0, 1], [1, 1]):  # up, left, reset, right, down
        opened.keyboard.press("Tab")
        opened.keyboard.press("Enter")
        assert opened.evaluate("moving.move()") == expected
    opened.keyboard.press("Tab")
    opened.keyboard.press("Space")
    assert [panel[0] for panel in shown(opened)] == list(SHUFFLED)


@pytest.fixture
def alone(page, tmp_path):
    """Opens a page that holds the part for such networks, and gives the part."""

    def open_part(plain, shuffled, dataset):
        part = moving(plain, shuffled, dataset, farthest=1)
        whole = Page("t", "q", "a", (), "c", (Section("own", "title", (Movable(part),)),), {})
        pages.write(whole, tmp_path / "page.html")
        page.goto((tmp_path / "page.html").as_uri())
        return part

    return open_part


def sized(hidden):
    """A ConvNet with and without shuffled pixels; each takes about 2,700 characters for each hidden unit."""
    plain, _ = trying.on_digits(blocks=1, width=64, hidden=hidden)
    shuffled, _ = trying.on_digits(blocks=1, width=64, hidden=hidden, permute=True)
    return {"a": plain, "b": plain}, {"c": shuffled, "d": shuffled}


@pytest.mark.parametrize(
    "hidden, count, words",
    [
        (100, 4, ""),
        (160, 2, "All weights together would take 1.78 MB of a page, and 1.20 MB is the most."),
        (400, 0, "No image can be moved here. a: The weights would take 1.11 MB of a page, and 0.60 MB is the most."),
    ],
)
def test_what_does_not_fit_is_left_out_and_said(page, alone, hidden, count, words):
    part = alone(*sized(hidden), trying.digits())
    running = [*part.plain, *part.shuffled]
    assert len(running) == count
    assert sum(len(each.to_json()["network"]["weights"]) for each in running) <= MOST_CHARACTERS
    assert words in part.left_out and bool(words) == bool(part.left_out)
    assert part.left_out in page.locator("#own").inner_text()
    assert page.locator("#moving").count() == (count > 0)
    assert page.get_by_label("shuffle the pixels").count() == (count == 4)


@pytest.mark.parametrize("lost", ["a", "c"])
def test_a_network_that_was_not_kept_is_named(page, alone, lost):
    plain, shuffled = ({name: None if name == lost else trained for name, trained in own.items()} for own in sized(20))
    part = alone(plain, shuffled, trying.digits())
    assert f"No network of {lost} was kept." in page.locator("#own").inner_text()
    assert (len(part.plain), len(part.shuffled)) == ((0, 0) if lost == "a" else (2, 0))


def test_a_network_that_cannot_run_in_a_page_says_why():
    trained = make(objects=1)
    network = live(trained)
    assert isinstance(network, NotLive)
    part = moving({"mine": trained}, {}, trying.some_set(), farthest=1)
    assert part.plain == () and part.left_out == f"No image can be moved here. mine: {network.reason}"


def test_images_that_are_too_large_are_said():
    part = moving({"mine": make()}, {}, trying.some_set(shape=(300, 300, 3)), farthest=1)
    assert part.plain == () and part.left_out == "No image can be moved here. The test images are too large for a page."


HOSTILE = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "{{ 7 * 7 }}", "\u202eabc", "a" * 300]
NAMES = [*HOSTILE, "<!--", "'\"&amp;", "${alert(3)}", "", "\u2028"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_are_text_and_a_phone_needs_no_sideways_scrolling(page, alone, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    trained = dataclasses.replace(sized(20)[0]["a"], class_names=tuple(NAMES))
    permuted = dataclasses.replace(sized(20)[1]["c"], class_names=tuple(NAMES))
    plain = dict.fromkeys(HOSTILE[:2], trained)
    shuffled = dict.fromkeys(HOSTILE[3:], permuted)
    alone(plain, shuffled, dataclasses.replace(trying.digits(), class_names=tuple(NAMES)))
    for digit in range(10):
        pick(page, digit)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator("#moving-answers .bar-class").all_text_contents() == [*NAMES, *NAMES]
    assert page.locator("#moving-answers h3").all_text_contents() == HOSTILE[:2]
    page.get_by_label("shuffle the pixels").check()
    assert page.locator("#moving-answers h3").all_text_contents() == HOSTILE[3:]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("img").count() == 0


def test_more_than_ten_classes_show_the_likeliest(page, alone):
    dataset = trying.some_set(classes=13, shape=(8, 6, 3))
    trained, _ = trying.on(dataset)
    alone({"mine": trained}, {}, dataset)
    shares = page.evaluate("moving.answers()[0].probabilities")
    bars = [float(share.removesuffix(" %")) for share in page.locator(".bar-share").all_inner_texts()]
    assert len(bars) == 10
    np.testing.assert_allclose(bars, 100 * np.sort(shares)[::-1][:10], atol=0.11)
    press(page, 1, -2)
    expected = moved(dataset.test_images[12:13], 1, -2)
    assert page.evaluate("[...moving.pixels()]") == expected.reshape(-1).tolist()
    own = rounded(trained).probabilities(expected)[0]
    np.testing.assert_allclose(page.evaluate("moving.answers()[0].probabilities"), own, atol=1e-3)


def test_it_stands_beside_a_network_to_try(page, tmp_path):
    """Both parts have scripts of one name."""
    trained, part = trying.on_digits()
    both = (Movable(moving({"mine": trained}, {}, trying.digits(), farthest=1)), Live(part))
    pages.write(Page("t", "q", "a", (), "c", (Section("own", "title", both),), {}), tmp_path / "page.html")
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("#moving-answers .bars li").count() == page.locator("#try-bars li").count() == 10


def test_it_prints_without_its_buttons(opened):
    opened.emulate_media(media="print")
    assert opened.locator("#moving button:visible").count() == 0
    assert opened.locator("#moving .bars li:visible").count() == 20
