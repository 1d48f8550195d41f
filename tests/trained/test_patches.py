"""The patches that excite a filter, against loops; and what pictures show of each kind of network."""

import dataclasses

import numpy as np
import pytest

from cnn.errors import RequestError
from cnn.trained import patches
from tests.trained.untrained import make, outputs_at_once, random_images

pytestmark = pytest.mark.thorough


def strongest_by_loops(images, outputs, window, filters, count):
    """Every cell of every image, sorted; an image's first strongest cell stands for it."""
    padded = np.pad(images.astype(float), ((0, 0), (20, 20), (20, 20), (0, 0)), constant_values=np.nan)
    cut = []
    values = []
    places = []
    for channel in filters:
        rows = []
        for image, output in enumerate(outputs[..., channel]):
            value, row, column = max((float(v), -r, -c) for (r, c), v in np.ndenumerate(output))
            rows.append((-value, image, -row, -column))
        best = sorted(rows)[:count]
        values.append([-value for value, *_ in best])
        places.append([image for _, image, *_ in best])
        cut.append([])
        for _, image, row, column in best:
            (top, left), (height, width) = window(row, column)
            cut[-1].append(padded[image, 20 + top : 20 + top + height, 20 + left : 20 + left + width])
    return np.array(cut), np.array(values), np.array(places)


@pytest.mark.parametrize("batch_size", [1, 4, 23])
@pytest.mark.parametrize("count", [1, 5, 40])
@pytest.mark.parametrize("levels", [3, 10_000])  # few levels: many equal activations
def test_patches_against_loops(batch_size, count, levels):
    images = random_images(23)
    outputs = np.random.default_rng(1).integers(-levels, 0, (23, 4, 3, 6)).astype(np.float32)
    batches = (outputs[start : start + batch_size] for start in range(0, 23, batch_size))

    def window(row, column):  # reaches beyond the border on every side, at the end with no cell of the image left
        return (2 * row - 1, 3 * column - 2), (4, 5)

    exciting = patches.exciting_patches(images, batches, window, [5, 0, 2], count)
    expected = strongest_by_loops(images, outputs, window, [5, 0, 2], count)
    assert exciting.pixels.shape == (3, min(count, 23), 4, 5, 2) and np.isnan(exciting.pixels).any()
    for left, right in zip(exciting, expected, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_patch_gives_its_activation():
    """The dot product of a patch with the filter is the activation that the layer gave there, the padding included."""
    trained = dataclasses.replace(make(), mean=np.zeros(2, np.float32), deviation=np.ones(2, np.float32))
    images = random_images(300)
    batches = trained.activations("block1/conv1", images)
    exciting = patches.exciting_patches(
        images, batches, lambda row, column: ((row - 1, column - 1), (3, 3)), range(4), 9
    )
    kernel = np.asarray(trained.variables["params"]["block1"]["conv1"]["kernel"])
    products = np.einsum("fnhwc,hwcf->fn", np.nan_to_num(exciting.pixels), kernel)
    np.testing.assert_allclose(exciting.activations, products, rtol=1e-4)
    assert np.all(np.diff(exciting.activations, axis=1) <= 0)
    assert all(len(set(row)) == 9 for row in exciting.images.tolist())


def test_patches_by_hand():
    """A filter that sees 2 x 2 cells; each image has one bright cell, the second in the corner."""
    images = np.zeros((3, 3, 3, 1), np.uint8)
    images[0, 1, 1] = 5
    images[1, 2, 2] = 9
    images[2, 0, 1] = 7
    outputs = np.zeros((3, 3, 3, 1), np.float32)
    outputs[..., 0] = images[..., 0]
    exciting = patches.exciting_patches(
        images, [outputs[:2], outputs[2:]], lambda row, column: ((row, column), (2, 2)), [0], 2
    )
    assert exciting.activations.tolist() == [[9, 7]] and exciting.images.tolist() == [[1, 2]]
    outside = np.nan  # of the image
    expected = [[[9, outside], [outside, outside]], [[7, 0], [0, 0]]]
    np.testing.assert_array_equal(exciting.pixels[0, :, :, :, 0], expected)


def test_what_is_shown_is_what_the_network_saw():
    images = random_images(300)
    outputs = outputs_at_once()
    shown = patches.shown(make(), images, filters=3, count=2)
    np.testing.assert_array_equal(shown["kernel"], make().variables["params"]["block1"]["conv1"]["kernel"])
    np.testing.assert_array_equal(shown["image"], images[0])
    maps = {name.removeprefix("map "): value for name, value in shown.items() if name.startswith("map ")}
    assert list(maps) == ["block1/relu1", "block1/pool", "block2/relu1", "block2/pool"]
    for name, value in maps.items():
        np.testing.assert_allclose(value, outputs[name][0], rtol=1e-4, atol=1e-4)
    # A cell of block 2's convolution sees 3 pooled cells, 2 pixels apart, each of 2 pixels that see 3: 2 * 2 + 1 + 3.
    assert shown["patches"].shape == (3, 2, 8, 8, 2)
    strongest = int(np.argmax(np.asarray(outputs["block2/conv1"])[..., 0].max((1, 2))))
    cells = np.asarray(images[strongest]).reshape(-1, 2)
    patch = shown["patches"][0, 0].reshape(-1, 2)
    inside = patch[~np.isnan(patch).any(axis=1)]
    assert len(inside) and {tuple(cell) for cell in inside} <= {tuple(cell) for cell in cells}


@pytest.mark.parametrize(
    ("settings", "maps", "first", "last", "cells"),
    [
        pytest.param(
            {"model": "resnet"},
            ["relu1", "block1/relu1", "block1/relu2", "block2/relu1", "block2/relu2"],
            "conv1",
            "block2/conv2",
            13,
            id="resnet",
        ),
        pytest.param(
            {"blocks": 1, "pooling": "convolution"},
            ["block1/relu1", "block1/relu2"],
            None,
            "block1/conv2",
            5,
            id="convolution",
        ),
        pytest.param({"model": "lenet5"}, ["relu1", "pool1", "relu2", "pool2"], "conv1", "conv2", 14, id="lenet5"),
    ],
)
def test_what_is_shown_is_found_by_the_layers(settings, maps, first, last, cells):
    trained = make(**settings)
    images = random_images(20)
    shown = patches.shown(trained, images, filters=2, count=3)
    assert [name.removeprefix("map ") for name in shown if name.startswith("map ")] == maps
    params = trained.variables["params"]
    np.testing.assert_array_equal(shown["kernel"], (params[first] if first else params["block1"]["conv1"])["kernel"])
    assert shown["patches"].shape == (2, 3, cells, cells, 2)
    outputs = outputs_at_once(**settings)
    np.testing.assert_allclose(shown[f"map {maps[-1]}"], outputs[maps[-1]][0], rtol=1e-4, atol=1e-4)
    strongest = np.asarray(outputs[last])[:20, ..., 0].max((1, 2)).argmax()
    patch = shown["patches"][0, 0].reshape(-1, 2)
    inside = {tuple(cell) for cell in patch[~np.isnan(patch).any(axis=1)]}
    assert inside and inside <= {tuple(cell) for cell in images[strongest].reshape(-1, 2)}


@pytest.mark.parametrize("settings", [{"model": "mlp"}, {"blocks": 0}], ids=str)
def test_a_network_without_convolution_has_nothing_to_show(settings):
    with pytest.raises(RequestError, match=r"^the network has no convolution; "):
        patches.shown(make(**settings), random_images(2), filters=2, count=1)
