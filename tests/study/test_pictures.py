"""What the pictures hold: which arrays stand where, in which colours and words. Their beauty is for the eye."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.image import imread
from numpy.testing import assert_allclose

from cnn.network import trace
from cnn.study import figures, pictures

IMAGE = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], np.uint8).reshape(4, 4, 1)
DIAGONAL = np.array([[1, 0], [0, -1]]).reshape(2, 2, 1)


def drawn(figure):
    """The pixels of each picture on the figure, in the order of drawing, and every text; it must render too."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    assert imread(io.BytesIO(buffer.getvalue()))[..., :3].std() > 0.02
    (axes,) = figure.axes
    within = (0, axes.get_xlim()[1], 0, axes.get_ylim()[0])
    for image in axes.images:
        left, right, bottom, top = image.get_extent()
        assert within[0] <= left < right <= within[1] and within[2] <= top < bottom <= within[3]
    return [image.get_array() for image in axes.images], [text.get_text() for text in axes.texts]


def test_filters_are_signed_numbers_in_one_scale():
    kernel = np.zeros((3, 5, 1, 10), np.float32)
    kernel[0, 0, 0, 1], kernel[2, 4, 0, 9] = 0.5, -0.25
    pixels, texts = drawn(pictures.filters(kernel))
    *tiles, scale = pixels
    assert [tile.shape for tile in tiles] == [(3, 5, 4)] * 10
    assert_allclose(tiles[1][0, 0], to_rgba(figures.VERMILION), atol=0.01)
    assert_allclose(tiles[9][2, 4], (np.array(to_rgba(figures.BLUE)) + 1) / 2, atol=0.01)  # half way to white
    assert_allclose(tiles[0], 1, atol=0.01)
    assert_allclose(scale[0, 0], to_rgba(figures.VERMILION), atol=0.01)
    assert texts == [*map(str, range(10)), "+0.5", "0", "\u22120.5"]


def test_filters_over_three_channels_are_colours():
    kernel = np.zeros((2, 2, 3, 4), np.float32)
    kernel[0, 0, 0, 0], kernel[0, 0, 2, 0], kernel[1, 1, 1, 3] = 2, -2, 1e-3
    pixels, texts = drawn(pictures.filters(kernel))
    assert_allclose(pixels[0][0, 0], [1, 0.5, 0])
    assert_allclose(pixels[3][1, 1], [0.5, 1, 0.5])  # each filter has the whole range
    assert_allclose(pixels[1], 0.5)
    assert texts == list("0123")


def test_filters_over_other_channels_are_refused():
    with pytest.raises(ValueError, match=r"kernel=\(3, 3, 2, 4\): must be .* 1 or 3"):
        pictures.filters(np.ones((3, 3, 2, 4)))


@pytest.mark.parametrize("channels", [1, 3])
def test_feature_maps(channels):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (6, 6, channels)).astype(np.uint8)
    maps = {"conv": random.normal(size=(6, 6, 16)), "relu": np.abs(random.normal(size=(3, 2, 4)))}
    maps |= {"flatten": random.normal(size=24), "logits": np.array([-1.0, 0.0, 2.0])}
    pixels, texts = drawn(pictures.feature_maps(image, maps))
    assert [tile.shape[:2] for tile in pixels] == [(6, 6)] + [(6, 6)] * 12 + [(3, 2)] * 4 + [(1, 24), (1, 3)]
    assert_allclose(pixels[-1][0, 2], to_rgba(figures.VERMILION), atol=0.01)
    assert_allclose(pixels[-1][0, 1], 1, atol=0.01)
    flat = np.abs(maps["conv"][..., :12]).argmax()
    row, column, channel = np.unravel_index(flat, (6, 6, 12))
    strongest = np.abs(pixels[1 + channel][..., :3] - 1).sum(-1)
    assert strongest[row, column] == strongest.max()
    assert texts[:4] == ["image", f"6x6x{channels}", "conv", "6x6x16, first 12"]
    assert texts[4:] == ["relu", "3x2x4", "flatten", "24", "logits", "3", "0", "1", "2"]


def test_a_layer_of_zeros_is_white():
    pixels, _ = drawn(pictures.feature_maps(IMAGE, {"relu": np.zeros((4, 4, 2))}))
    assert_allclose(pixels[1], 1, atol=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_patches(channels):
    patches = np.zeros((2, 5, 3, 3, channels), np.uint8)
    patches[0, 0], patches[1, 4] = 200, 100
    pixels, texts = drawn(pictures.patches(patches, ["filter 7", "filter 1"]))
    assert len(pixels) == 10 and texts == ["filter 7", "filter 1"]
    shades = [tile[..., :3].mean() for tile in pixels]
    assert_allclose(shades, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0.5], atol=0.01)  # one scale for all


@pytest.mark.parametrize("channels", [1, 3])
def test_where_there_is_no_image_a_patch_is_pale(channels):
    patches = np.zeros((1, 2, 3, 3, channels), np.float32)
    patches[0, 0, 0], patches[0, 1, 2, 2] = np.nan, 255
    pixels, _ = drawn(pictures.patches(patches, ["filter 7"]))
    pale = to_rgba(pictures.PALE)[:3]
    assert_allclose(pixels[0][0, :, :3], [pale] * 3, atol=0.005)
    assert_allclose(pixels[0][1:, :, :3], 0, atol=0.005)
    assert_allclose(pixels[1][2, 2, :3], 1, atol=0.005)


def test_a_title_stands_above_the_picture():
    kernel, maps, patches = np.ones((3, 3, 1, 4)), {"relu": np.ones((4, 4, 2))}, np.eye(3).reshape(1, 1, 3, 3, 1)
    for plain, titled in (
        (pictures.filters(kernel), pictures.filters(kernel, "digits: conv1")),
        (pictures.feature_maps(IMAGE, maps), pictures.feature_maps(IMAGE, maps, "digits: conv1")),
        (pictures.patches(patches, ["0"]), pictures.patches(patches, ["0"], "digits: conv1")),
    ):
        texts, titled_texts = drawn(plain)[1], drawn(titled)[1]
        assert titled_texts == ["digits: conv1", *texts]
        assert titled.get_figheight() == pytest.approx(plain.get_figheight() + pictures.TITLE)
        (axes,) = titled.axes
        assert axes.texts[0].get_position()[1] < 0  # above what is drawn


def test_each_row_of_patches_needs_a_name():
    with pytest.raises(ValueError):
        pictures.patches(np.zeros((2, 5, 3, 3, 1)), ["filter 7"])


def test_filter_trace_shows_each_step():
    steps = trace.steps(IMAGE, DIAGONAL)
    pixels, texts = drawn(pictures.filter_trace(IMAGE, steps, [0, 4]))
    assert texts[:5] == ["image", "segment", "filter", "products", "output"]
    assert [tile.shape[:2] for tile in pixels] == [(2, 2), (2, 2), (2, 2), (4, 4), (3, 3)] * 2
    assert [text for text in texts if text.startswith("sum")] == ["sum = \u22125", "sum = 5"]
    grey = to_rgba(pictures.PALE)
    unfilled = [np.isclose(output, grey, atol=0.005).all(-1).sum() for output in (pixels[4], pixels[9])]
    assert unfilled == [8, 4]
    second_row = texts[texts.index("sum = \u22125") + 1 :]
    assert second_row[:8] == ["1", "1", "2", "4", "5", "6", "7", "8"]  # the image comes after the products
    assert second_row[16] == "\u22125"  # the first output cell
    assert texts[-5:] == ["\u22125", "\u22126", "\u22126", "3", "5"]


def test_filter_trace_shows_the_padding_and_the_bias():
    image = np.zeros((5, 4, 1))
    steps = trace.steps(image, np.ones((3, 3, 1)), bias=0.5, stride=2, padding=((1, 1), (0, 2)))
    pixels, texts = drawn(pictures.filter_trace(image, steps, [len(steps) - 1]))
    assert pixels[3].shape[:2] == (7, 5)  # the last column of the padding is never entered
    assert np.isclose(pixels[3], to_rgba(pictures.PALE), atol=0.005).all(-1).sum() == 7 * 5 - 5 * 4
    assert "sum + bias = 0.5" in texts


def test_numbers_that_have_no_room_are_left_out():
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 1))
    steps = trace.steps(image, np.full((5, 5, 1), 0.123))
    _, texts = drawn(pictures.filter_trace(image, steps, [0]))
    assert texts.count("0.12") == 25 and len(texts) <= 5 + 3 * 25 + 4  # names, three small matrices, signs and sum


def test_filter_trace_refuses_colours():
    with pytest.raises(ValueError, match=r"image=\(4, 4, 3\): must be \[height, width, 1\]"):
        pictures.filter_trace(np.zeros((4, 4, 3)), trace.steps(IMAGE, DIAGONAL), [0])
