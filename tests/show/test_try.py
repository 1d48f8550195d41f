"""The part "try it" in a real browser: the network in JavaScript against JAX, and everything that a reader does."""

import base64
import functools
import re

import numpy as np
import pytest
from PIL import Image

from cnn.data import drawings
from cnn.network import trace
from cnn.trained.live import live, rounded
from tests.show import trying
from tests.trained.exported import KINDS, make
from tests.trained.untrained import random_images

pytestmark = pytest.mark.thorough
LIVE = {kind: settings for kind, settings in KINDS.items() if settings.get("model") != "lenet5_1998"}
RUN = """([program, images]) => {
  const network = Network.decode(program);
  return images.map((image) => {
    const { layers, logits, probabilities } = Network.run(network, image);
    const values = [...layers].map(([name, layer]) => [name, layer.shape, [...layer.values]]);
    return [values, [...logits], probabilities];
  });
}"""


def runs(page, trained, images):
    """What the script makes of images: for each, every layer by name, the logits and the probabilities."""
    page.add_script_tag(path=trying.PARTS / "network.js")  # nothing else of the page
    return page.evaluate(RUN, [live(trained).to_json(), images.reshape(len(images), -1).tolist()])


@pytest.mark.parametrize("kind", LIVE)
def test_the_script_computes_what_jax_computes(page, kind):
    trained = make(**LIVE[kind])
    images = random_images(2, seed=3)
    expected = trying.intermediates(trained, images)
    answers = rounded(trained).outputs(images)
    probabilities = rounded(trained).probabilities(images)
    for index, (layers, logits, shares) in enumerate(runs(page, trained, images)):
        assert {name for name, _, _ in layers} == {"", *expected}
        for name, shape, values in layers[1:]:
            own = np.asarray(expected[name])[index]
            np.testing.assert_allclose(np.reshape(values, shape), own, atol=1e-5 * max(1, np.abs(own).max()))
        assert trained.mirror or logits == layers[-1][2]  # else their mean with those of the mirror image
        np.testing.assert_allclose(logits, answers[index], atol=1e-5 * max(1, np.abs(answers[index]).max()))
        np.testing.assert_allclose(shares, probabilities[index], atol=1e-5)


def test_extreme_logits_have_probabilities(page):
    trained, _ = trying.on_digits(blocks=0)
    ((_, logits, shares),) = runs(page, trained, np.full((1, 8, 8, 1), 255, np.uint8))
    assert np.ptp(logits) > 50 and sum(shares) == pytest.approx(1) and min(shares) >= 0


@pytest.fixture
def opened(page, tmp_path):
    """Opens the part for digits, of a network with such settings, and gives the network with the page's weights."""

    def open_part(change=lambda part: part, **settings):
        trained, part = trying.on_digits(**settings)
        trying.show(page, change(part), tmp_path)
        return rounded(trained)

    return open_part


def pixels(page):
    return np.array(page.evaluate("[...tryIt.pixels()]"), np.uint8).reshape(1, 8, 8, 1)


def shown_probabilities(page):
    shares = page.locator(".bar-share").all_inner_texts()
    return [float(share.removesuffix(" %")) / 100 for share in shares]


def numbers(text):
    return [float(number.replace("\u2212", "-")) for number in re.findall(r"[\u2212-]?\d+(?:\.\d+)?", text)]


def draw(page, points):
    """Draw a stroke through points, as shares of the pad."""
    box = page.locator("#try-pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def test_a_test_image_is_answered_at_once(page, opened):
    trained = opened()
    first = trying.digits().test_images[trying.digits().test_labels == 0][:1]
    np.testing.assert_array_equal(pixels(page), first)
    expected = trained.probabilities(first)[0]
    np.testing.assert_allclose(shown_probabilities(page), expected, atol=0.0006)
    best = int(expected.argmax())
    assert f"The network says {best} (" in page.locator("#try-answer").inner_text()
    page.locator("#try-tests button").nth(7).click()
    seventh = trying.digits().test_images[trying.digits().test_labels == 7][:1]
    np.testing.assert_array_equal(pixels(page), seventh)
    assert page.locator("#try-tests button[aria-pressed=true]").count() == 1


SEVEN = [(0.3, 0.3), (0.6, 0.3), (0.45, 0.75)]


def test_a_drawing_is_prepared_like_the_images_and_classified_like_there(page, opened):
    trained = opened()
    draw(page, SEVEN)
    drawn = pixels(page)
    typical = drawings.measure(trying.digits().train_images)
    ink = drawn[0, ..., 0] > typical.ink / 8
    rows = np.flatnonzero(ink.any(1))
    assert rows[0] == 0 and rows[-1] == 7  # it fills the image, as digits do
    assert drawn.max() <= typical.ink
    np.testing.assert_allclose(shown_probabilities(page), trained.probabilities(drawn)[0], atol=0.0006)
    page.locator("#try-clear").click()
    assert pixels(page).max() == 0 and page.locator("#try-answer").inner_text() == "Nothing is drawn yet."


def test_where_and_how_large_one_draws_does_not_matter(page, opened):
    opened()
    draw(page, SEVEN)
    large = pixels(page).astype(int)
    page.locator("#try-clear").click()
    draw(page, [(0.5 + x / 3, 0.1 + y / 3) for x, y in SEVEN])
    assert np.abs(pixels(page) - large).max() <= 2


def test_drawings_are_centred_by_mass_where_the_images_are(page, opened):
    typical = drawings.Drawing(ground=16, ink=0, side=4.0, pen=1.0, centred="mass", centre=(4.5, 3.5))

    def by_mass(part):
        return trying.dataclasses.replace(part, drawing=typical)

    opened(by_mass)
    draw(page, SEVEN)
    ink = 16.0 - pixels(page)[0, ..., 0]
    places = np.arange(8) + 0.5
    assert (ink.sum(1) @ places / ink.sum(), ink.sum(0) @ places / ink.sum()) == pytest.approx((4.5, 3.5), abs=0.05)


def expected_cell(trained, image, layer):
    return np.asarray(trying.intermediates(trained, image)[layer])[0]


def click_cell(page, row, map_number, cell, size):
    """Click a cell of a map in a row of maps; `size` is that of the map in cells."""
    target = page.locator(".try-row").nth(row).locator(".try-map").nth(map_number)
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    position = {"x": (cell[1] + 0.5) * box["width"] / size, "y": (cell[0] + 0.5) * box["height"] / size}
    target.click(position=position)


def test_a_clicked_cell_shows_its_sum(page, opened):
    trained = opened()
    image = pixels(page)
    click_cell(page, row=2, map_number=3, cell=(1, 2), size=4)  # block2/relu1
    assert page.evaluate("tryIt.cell()") == {"name": "block2/relu1", "channel": 3, "row": 1, "column": 2}
    value = expected_cell(trained, image, "block2/conv1")[1, 2, 3]
    kernel = np.asarray(trained.variables["params"]["block2"]["conv1"]["kernel"])[..., 3]
    (step,) = [
        step
        for step in trace.steps(expected_cell(trained, image, "block1/pool"), kernel, padding=1)
        if step.cell == (1, 2)
    ]
    total, _, result = numbers(page.locator("#try-total").inner_text())[:3]
    assert result == pytest.approx(float(value), rel=6e-3) and total == pytest.approx(step.products.sum(), rel=6e-3)
    dot = page.evaluate("Network.dotProduct(tryIt.network, tryIt.answer().layers, 'block2/conv1', 1, 2, 3)")
    assert dot["corner"] == [*step.corner]
    for matrix in dot["matrices"]:
        for name in ("segment", "filter", "products"):
            own = getattr(step, name)[..., matrix["channel"]]
            np.testing.assert_allclose(np.reshape(matrix[name], own.shape), own, atol=1e-4)
    strongest = np.abs(step.products.sum((0, 1))).argmax()
    assert page.locator(".try-channel").count() == 6
    assert page.locator(".try-channel p").first.inner_text().startswith(f"channel {strongest + 1}:")
    assert page.locator(".try-cells").first.inner_text().split() == [
        f"{value:.2f}".replace("-", "\u2212") if abs(value) >= 0.005 else "0"
        for value in step.segment[..., strongest].flat
    ]


def test_a_cell_can_be_picked_in_the_large_map_too(page, opened):
    trained = opened()
    large = page.locator("#try-sum .try-pickable")
    box = large.bounding_box()
    large.click(position={"x": 7.5 * box["width"] / 8, "y": 0.5 * box["height"] / 8})
    cell = page.evaluate("tryIt.cell()")
    assert (cell["name"], cell["row"], cell["column"]) == ("block1/relu1", 0, 7)
    words = page.locator("#try-filter").inner_text()
    scale = (float(trained.mean[0]), float(trained.deviation[0]))
    assert "Of each pixel {:.3g} is subtracted first, and it is divided by {:.3g}.".format(*scale) in words
    assert "Beyond the border there are zeros." in words


def place(locator, size):
    """Where a frame lies, in the cells of a map of `size` by `size`: top, left, height and width."""
    style = locator.evaluate("frame => ['top', 'left', 'height', 'width'].map((side) => frame.style[side])")
    return pytest.approx([float(share.removesuffix("%")) * size / 100 for share in style])


@pytest.mark.parametrize(
    "settings, row, cell, segment, seen",
    [
        ({}, 0, (0, 7), None, [0, 6, 2, 2]),  # the rest is padding
        ({}, 2, (1, 2), [0, 1, 3, 3], [0, 1, 7, 7]),
        ({"model": "lenet5"}, 0, (12, 14), None, [0, 2, 5, 5]),  # 12 zeros stand around the image
        ({"permute": True}, 1, (3, 3), [2, 2, 3, 3], None),
    ],
    ids=["the image", "the second block", "zeros around the image", "shuffled pixels"],
)
def test_frames_show_what_a_cell_sees(page, opened, settings, row, cell, segment, seen):
    opened(**settings)
    click_cell(page, row, 1, cell, size=28 if "model" in settings else 8 if row < 2 else 4)
    frames = page.locator("#try-image .try-frame")
    assert frames.count() == (seen is not None)
    if seen:
        assert seen == place(frames, 8)
    if segment:
        assert segment == place(page.locator(".try-row").nth(row - 1).locator(".try-frame").first, 8 if row == 1 else 4)


def test_pooling_leads_to_the_cell_that_it_took(page, opened):
    trained = opened()
    image = pixels(page)
    click_cell(page, row=1, map_number=0, cell=(2, 1), size=4)  # block1/pool
    before = expected_cell(trained, image, "block1/conv1")[4:6, 2:4, 0]
    assert numbers(page.locator("#try-total").inner_text())[2] == pytest.approx(float(before.max()), rel=6e-3)
    assert "Max pooling takes the largest of 4 cells" in page.locator("#try-total").inner_text()


@pytest.mark.parametrize("settings", [{"model": "resnet", "normalization": "layer"}, {"pooling": "average"}])
def test_what_follows_the_convolution_is_said(page, opened, settings):
    opened(**settings)
    rows = page.locator(".try-row").count()
    for row in range(rows):
        click = page.locator(".try-row").nth(row).locator(".try-pickable")
        if click.count():
            click.first.click()
            assert "(bias) =" in page.locator("#try-total").inner_text()
    words = page.locator("#try-total").inner_text()
    assert ("The skip connection adds" in words) == ("model" in settings)
    assert ("Average pooling takes the mean of 4 cells" in words) == ("pooling" in settings)


def test_many_channels_are_summed_up(page, opened):
    opened(width=12)
    click_cell(page, row=2, map_number=0, cell=(1, 1), size=4)
    assert page.locator(".try-channel").count() == 8
    assert "The other 4 channels add" in page.locator("#try-channels").inner_text()


def test_many_maps_are_folded_away(page, opened):
    opened(width=40, blocks=1)
    row = page.locator(".try-row").first
    assert row.locator(".try-map").count() == 40 and row.locator(".try-map:visible").count() == 24
    row.get_by_text("Show all 40 maps").click()
    assert row.locator(".try-map:visible").count() == 40


def test_everything_works_from_the_keyboard(page, opened):
    opened()
    page.locator("#try-tests button").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#try-tests button").nth(1).get_attribute("aria-pressed") == "true"
    click_cell(page, row=0, map_number=2, cell=(3, 3), size=8)
    page.locator(".try-picked").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    assert page.evaluate("tryIt.cell()") == {"name": "block1/relu1", "channel": 2, "row": 2, "column": 4}
    page.keyboard.press("PageDown")
    assert page.evaluate("tryIt.cell().channel") == 3
    assert page.evaluate("document.activeElement.classList.contains('try-picked')")
    for _ in range(9):
        page.keyboard.press("ArrowUp")
    assert page.evaluate("tryIt.cell().row") == 0
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == "block1/relu1, map 4 of 6, row 1, column 5"
    stops = page.locator(".try-row").first.locator("[tabindex='0']").count()
    assert stops == 1  # so that Tab does not stop at every map


def picture(folder, size=(64, 64)):
    """Black on white, with a transparent part: a bar to the left."""
    image = Image.new("RGBA", size, (255, 255, 255, 255))
    image.paste((0, 0, 0, 255), (0, 0, size[0] // 2, size[1]))
    image.paste((0, 0, 0, 0), (size[0] // 2, 0, size[0], size[1]))
    path = folder / "bar <b>.png"
    image.save(path)
    return path


def test_a_picture_is_taken_and_inverted(page, opened, tmp_path):
    trained = opened()
    page.locator("#try-file").set_input_files(picture(tmp_path))
    page.get_by_text("bar <b>.png: the network says").wait_for()
    assert pixels(page)[0, :, [0, 1, 2], 0].max() <= 1 and pixels(page)[0, :, [5, 6, 7], 0].min() >= 15
    np.testing.assert_allclose(shown_probabilities(page), trained.probabilities(pixels(page))[0], atol=0.0006)
    page.locator("#try-invert").check()
    assert pixels(page)[0, :, [0, 1, 2], 0].min() >= 15 and pixels(page)[0, :, [5, 6, 7], 0].max() <= 1


def test_a_dropped_picture_is_taken(page, opened, tmp_path):
    opened()
    content = base64.b64encode(picture(tmp_path).read_bytes()).decode()
    page.evaluate(
        """(content) => {
          const bytes = Network.fromBase64(content);
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
          document.getElementById("try").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
        }""",
        content,
    )
    page.get_by_text("dropped.png: the network says").wait_for()


@pytest.mark.parametrize("channels", [2, 3])
def test_images_that_are_no_drawings(page, tmp_path, channels):
    """No area to draw in, and pictures only where pictures have as many channels."""
    trained, part = trying.on(trying.some_set(shape=(8, 6, channels)))
    trying.show(page, part, tmp_path)
    assert page.locator("#try-pad:visible").count() == 0
    assert page.locator("#try-file:visible").count() == (channels == 3)
    shares = rounded(trained).probabilities(trying.some_set(shape=(8, 6, channels)).test_images[2:3])[0]
    np.testing.assert_allclose(shown_probabilities(page), shares, atol=0.0006)
    if channels == 3:
        Image.new("RGB", (20, 30), (10, 200, 90)).save(tmp_path / "green.png")
        page.locator("#try-file").set_input_files(tmp_path / "green.png")
        page.get_by_text("green.png: the network says").wait_for()
        assert page.evaluate("[...tryIt.pixels()]") == [10, 200, 90] * 48


def test_what_is_no_picture_is_named(page, opened, tmp_path):
    opened()
    (tmp_path / "words.png").write_text("no picture")
    page.locator("#try-file").set_input_files(tmp_path / "words.png")
    page.get_by_text("words.png is no picture that this browser can read.").wait_for()


HOSTILE = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "{{ 7 * 7 }}", "\u202eabc", "a" * 300]


def test_names_are_text(page, opened):
    names = [*HOSTILE, "<!--", "'\"&amp;", "${alert(3)}", "", "\u2028"]
    opened(functools.partial(trying.renamed, names=names))
    assert [page.locator(".bar-class").nth(index).text_content() for index in range(10)] == names
    page.locator("#try-tests button").nth(2).click()
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("settings", [{}, {"filter_size": 5, "width": 40}, {"model": "resnet"}, {"model": "mlp"}])
def test_a_phone_needs_no_sideways_scrolling(page, opened, settings):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(functools.partial(trying.renamed, names=[*HOSTILE, *"56789"]), **settings)
    for row in range(page.locator(".try-row").count()):
        click = page.locator(".try-row").nth(row).locator(".try-pickable")
        if click.count():
            click.first.click()
        assert page.evaluate("document.documentElement.scrollWidth") == 390


COLOURS = """() => new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const copy = document.createElement("canvas").getContext("2d");
  copy.drawImage(document.querySelector("#try-rows canvas"), 0, 0);
  seen([...copy.getImageData(0, 0, 8, 8).data]);
})))"""


def test_maps_follow_the_colours_of_the_page(page, opened):
    page.emulate_media(color_scheme="light")
    opened()
    light = np.reshape(page.evaluate(COLOURS), (64, 4))
    page.emulate_media(color_scheme="dark")
    dark = np.reshape(page.evaluate(COLOURS), (64, 4))
    assert light[light.sum(1).argmax()].tolist() == [255, 255, 255, 255]
    assert dark[dark.sum(1).argmin()].tolist() == [22, 22, 22, 255]


def test_signed_numbers_are_blue_below_zero_and_vermilion_above(page, opened):
    page.emulate_media(color_scheme="light")
    opened(normalization="none")
    dots = np.reshape(page.evaluate(COLOURS), (64, 4))  # of ReLU, so none is below 0
    strength = np.reshape(page.evaluate("[...tryIt.answer().layers.get('block1/relu1').values]"), (64, 6))
    share = (strength[:, 0] / strength.max())[:, None]
    np.testing.assert_allclose(dots[:, :3], 255 + share * ([0xD5 - 255, 0x5E - 255, 0 - 255]), atol=1)
    for cell in page.locator(".try-cells span").all()[:27]:
        value = float(cell.get_attribute("title"))
        assert ("--negative" if value < 0 else "--positive") in cell.get_attribute("style")
    assert "Numbers below 0 are blue, those above 0 vermilion" in page.locator("#try-filter").inner_text()


def test_a_network_without_convolutions_has_no_filter(page, opened):
    opened(model="mlp")
    assert "no convolution" in page.locator("#try-hint").inner_text()
    assert page.locator("#try-sum:visible").count() == 0 and page.locator(".try-strip").count() == 2


def test_it_prints_without_its_buttons(page, opened):
    opened()
    page.emulate_media(media="print")
    assert page.locator("#try button:visible, #try-pad:visible").count() == 0
    assert page.locator("#try-bars li:visible").count() == 10
