"""Pictures of a network: which arrays stand where, in which colours and words. Their beauty is for the eye."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from numpy.testing import assert_allclose

from cnn.errors import RequestError
from cnn.show import canvas, network, style
from tests.show.looking import drawn, extent

IMAGE = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], np.uint8).reshape(4, 4, 1)


def test_filters_are_signed_numbers_in_one_scale():
    kernel = np.zeros((3, 5, 1, 10), np.float32)
    kernel[0, 0, 0, 1] = 0.5
    kernel[2, 4, 0, 9] = -0.25
    pixels, texts = drawn(network.filters(kernel))
    *tiles, scale = pixels
    assert [tile.shape for tile in tiles] == [(3, 5, 4)] * 10
    assert_allclose(tiles[1][0, 0], to_rgba(style.VERMILION), atol=0.01)
    assert_allclose(tiles[9][2, 4], (np.array(to_rgba(style.BLUE)) + 1) / 2, atol=0.01)  # half way to white
    assert_allclose(tiles[0], 1, atol=0.01)
    assert_allclose(scale[0, 0], to_rgba(style.VERMILION), atol=0.01)
    assert texts == [*map(str, range(10)), "+0.5", "0", "\u22120.5"]


def test_filters_over_three_channels_are_colours():
    kernel = np.zeros((2, 2, 3, 4), np.float32)
    kernel[0, 0, 0, 0] = 2
    kernel[0, 0, 2, 0] = -2
    kernel[1, 1, 1, 3] = 1e-3
    pixels, texts = drawn(network.filters(kernel))
    assert_allclose(pixels[0][0, 0], [1, 0.5, 0])
    assert_allclose(pixels[3][1, 1], [0.5, 1, 0.5])  # each filter has the whole range
    assert_allclose(pixels[1], 0.5)
    assert texts == list("0123")


def test_filters_over_other_channels_are_refused():
    with pytest.raises(RequestError, match=r"kernel=\(3, 3, 2, 4\): must be .* 1 or 3"):
        network.filters(np.ones((3, 3, 2, 4)))


@pytest.mark.parametrize("channels", [1, 3])
def test_feature_maps(channels):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (6, 6, channels)).astype(np.uint8)
    maps = {"conv": random.normal(size=(6, 6, 16)), "relu": np.abs(random.normal(size=(3, 2, 4)))}
    maps |= {"flatten": random.normal(size=24), "logits": np.array([-1.0, 0.0, 2.0])}
    pixels, texts = drawn(network.feature_maps(image, maps))
    assert [tile.shape[:2] for tile in pixels] == [(6, 6)] + [(6, 6)] * 12 + [(3, 2)] * 4 + [(1, 24), (1, 3)]
    assert_allclose(pixels[-1][0, 2], to_rgba(style.VERMILION), atol=0.01)
    assert_allclose(pixels[-1][0, 1], 1, atol=0.01)
    flat = np.abs(maps["conv"][..., :12]).argmax()
    row, column, channel = np.unravel_index(flat, (6, 6, 12))
    strongest = np.abs(pixels[1 + channel][..., :3] - 1).sum(-1)
    assert strongest[row, column] == strongest.max()
    assert texts[:4] == ["image", f"6x6x{channels}", "conv", "6x6x16, first 12"]
    assert texts[4:] == ["relu", "3x2x4", "flatten", "24", "logits", "3", "0", "1", "2"]


def test_a_layer_of_zeros_is_white():
    pixels, _ = drawn(network.feature_maps(IMAGE, {"relu": np.zeros((4, 4, 2))}))
    assert_allclose(pixels[1], 1, atol=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_patches(channels):
    patches = np.zeros((2, 5, 3, 3, channels), np.uint8)
    patches[0, 0] = 200
    patches[1, 4] = 100
    pixels, texts = drawn(network.patches(patches, ["filter 7", "filter 1"]))
    assert len(pixels) == 10 and texts == ["filter 7", "filter 1"]
    shades = [tile[..., :3].mean() for tile in pixels]
    assert_allclose(shades, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0.5], atol=0.01)  # one scale for all


@pytest.mark.parametrize("channels", [1, 3])
def test_where_there_is_no_image_a_patch_is_pale(channels):
    patches = np.zeros((1, 2, 3, 3, channels), np.float32)
    patches[0, 0, 0] = np.nan
    patches[0, 1, 2, 2] = 255
    pixels, _ = drawn(network.patches(patches, ["filter 7"]))
    pale = to_rgba(canvas.PALE)[:3]
    assert_allclose(pixels[0][0, :, :3], [pale] * 3, atol=0.005)
    assert_allclose(pixels[0][1:, :, :3], 0, atol=0.005)
    assert_allclose(pixels[1][2, 2, :3], 1, atol=0.005)


def test_a_title_stands_above_the_picture():
    kernel = np.ones((3, 3, 1, 4))
    maps = {"relu": np.ones((4, 4, 2))}
    patches = np.eye(3).reshape(1, 1, 3, 3, 1)
    for plain, titled in (
        (network.filters(kernel), network.filters(kernel, "digits: conv1")),
        (network.feature_maps(IMAGE, maps), network.feature_maps(IMAGE, maps, "digits: conv1")),
        (network.patches(patches, ["0"]), network.patches(patches, ["0"], "digits: conv1")),
    ):
        texts = drawn(plain)[1]
        assert drawn(titled)[1] == ["digits: conv1", *texts]
        assert titled.get_figheight() == pytest.approx(plain.get_figheight() + canvas.TITLE_HEIGHT)
        (axes,) = titled.axes
        assert axes.texts[0].get_position()[1] < 0  # above what is drawn


def test_each_row_of_patches_needs_a_name():
    with pytest.raises(RequestError, match=r"names=\['filter 7'\]: must be one for each of the 2 filters"):
        network.patches(np.zeros((2, 5, 3, 3, 1)), ["filter 7"])


def test_a_name_is_no_formula():
    name = r"$\frac$"  # as a formula it would be an error
    patches = np.eye(3).reshape(1, 1, 3, 3, 1)
    assert drawn(network.patches(patches, [name], name))[1] == [name, name]
    assert drawn(network.feature_maps(IMAGE, {name: np.ones((4, 4, 2))}, name))[1].count(name) == 2
    assert drawn(network.filters(np.ones((3, 3, 1, 4)), name))[1][0] == name


def test_long_words_stay_on_the_picture():
    name = "a/layer/with/quite/a/long/name"
    for figure in (
        network.filters(np.ones((3, 3, 1, 2)), name),
        network.feature_maps(IMAGE, {name: np.ones((4, 4, 2))}),
        network.patches(np.eye(3).reshape(1, 1, 3, 3, 1), [name]),
    ):
        (text,) = (text for text in figure.axes[0].texts if text.get_text() == name)
        left, right = extent(text)
        assert 0 < left < right < figure.bbox.width
