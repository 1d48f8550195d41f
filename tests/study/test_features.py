"""Features of a layer, principal components, the few-shot classifier, and the patches that excite a filter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from cnn.config import RequestError
from cnn.data import datasets
from cnn.network.models import ConvNet
from cnn.study import features

SHAPE = (8, 6, 2)
MEAN, DEVIATION = np.array([100.0, 20.0], np.float32), np.array([50.0, 7.0], np.float32)


def random_images(count, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


@functools.cache
def network_and_variables(blocks=2, **settings):
    network = ConvNet(3, blocks, width=4, hidden=5, **settings)
    return network, jax.jit(network.init)(jax.random.key(0), jnp.ones((1, *SHAPE)))


@functools.cache
def outputs_at_once():
    """Every layer's output for 300 images in one batch."""
    network, variables = network_and_variables()
    x = jnp.asarray((random_images(300).astype(np.float32) - MEAN) / DEVIATION)
    return jax.jit(lambda x: network.apply(variables, x, intermediates=True)[1])(x)


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
@pytest.mark.parametrize("layer", ["block1/conv1", "block2/pool", "flatten"])
def test_activations_are_those_of_all_images_at_once(count, layer):
    network, variables = network_and_variables()
    images, expected = random_images(300)[:count], outputs_at_once()[layer][:count]
    batches = list(features.activations(network, variables, layer, images, MEAN, DEVIATION))
    assert [len(batch) for batch in batches[:-1]] == [features.BATCH_SIZE] * (len(batches) - 1)
    np.testing.assert_allclose(np.concatenate(batches), expected, rtol=1e-4, atol=1e-4)
    rows = features.layer_features(network, variables, layer, images, MEAN, DEVIATION)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.concatenate(batches).reshape(count, -1))


def test_features_use_the_running_statistics_and_no_dropout():
    network, variables = network_and_variables(blocks=1, normalization="batch", dropout=0.5)
    rows = features.layer_features(network, variables, "logits", random_images(3), MEAN, DEVIATION)
    alone = features.layer_features(network, variables, "logits", random_images(3)[1:2], MEAN, DEVIATION)
    np.testing.assert_allclose(rows[1:2], alone, rtol=1e-4, atol=1e-5)


def test_features_of_a_memory_map(tmp_path):
    np.save(tmp_path / "images.npy", random_images(5))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    network, variables = network_and_variables()
    found = [
        features.layer_features(network, variables, "flatten", images, MEAN, DEVIATION)
        for images in (mapped, random_images(5))
    ]
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(features.pixels(mapped), random_images(5).reshape(5, -1))


def test_an_unknown_layer_lists_the_known_ones():
    network, variables = network_and_variables()
    with pytest.raises(RequestError, match=r"^layer='block1/conv': must be one of .*flatten.*; nearest: block1/conv1$"):
        features.layer_features(network, variables, "block1/conv", random_images(1), MEAN, DEVIATION)


@pytest.mark.parametrize("count, shape, kept", [(200, (8, 8, 1), 40), (30, (8, 8, 1), 30), (200, (3, 3, 2), 18)])
def test_principal_components_are_the_singular_vectors(count, shape, kept):
    images = random_images(count, shape)
    images[..., 0] //= np.arange(1, shape[0] * shape[1] + 1, dtype=np.uint8).reshape(1, *shape[:2])  # unlike variances
    found = features.principal_components(images).transform(features.pixels(images))
    rows = images.reshape(count, -1).astype(float)
    rows -= rows.mean(axis=0)
    left, values, _ = np.linalg.svd(rows, full_matrices=False)
    assert found.shape == (count, kept)
    np.testing.assert_allclose(np.abs(found), np.abs(left * values)[:, :kept], atol=0.5)  # the sign is free


def test_principal_components_of_many_images_are_those_of_every_other():
    images = random_images(features.ENOUGH + 2, (3, 3, 1))
    found, expected = (features.principal_components(part).components_ for part in (images, images[::2]))
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, features.principal_components(images[1::2]).components_)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_examples_are_distinct_and_of_their_class(k):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [10, 20, 70]))
    drawn = features.draw_examples(labels, k, seed=4)
    assert drawn.shape == (3, k) and len(np.unique(drawn)) == 3 * k
    np.testing.assert_array_equal(labels[drawn], np.repeat([[0], [1], [2]], k, axis=1))
    np.testing.assert_array_equal(drawn, features.draw_examples(labels, 10, seed=4)[:, :k])
    assert not np.array_equal(drawn, features.draw_examples(labels, k, seed=5))


def test_every_image_is_drawn_as_often_as_any_other():
    labels = np.arange(30) % 3
    drawn = np.concatenate([features.draw_examples(labels, 2, seed).ravel() for seed in range(1000)])
    counts = np.bincount(drawn, minlength=30)
    assert scipy.stats.chisquare(counts).pvalue > 0.001 and counts.sum() == 6000


@pytest.mark.parametrize(
    "k, message",
    [(3, "k=3: class 1 has 2 images, so at most 2"), (0, "k=0: must be an integer of at least 1")],
)
def test_examples_that_cannot_be_drawn(k, message):
    with pytest.raises(RequestError) as caught:
        features.draw_examples(np.array([0, 0, 0, 1, 1, 2, 2, 2]), k, seed=0)
    assert str(caught.value) == message


def blobs(classes=3, k=8, dimensions=6, tests=400, seed=0):
    """Overlapping normal classes: examples [classes, k, d], test features and test labels."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(classes, dimensions))
    labels = rng.integers(0, classes, tests)
    examples = centers[:, np.newaxis] + rng.normal(size=(classes, k, dimensions))
    return examples, centers[labels] + rng.normal(size=(tests, dimensions)), labels


@pytest.mark.parametrize("k", [1, 8])
def test_accuracy_against_the_penalised_likelihood_itself(k):
    examples, tests, labels = blobs(k=k)
    classes, _, dimensions = examples.shape
    rows, wanted = examples.reshape(-1, dimensions), np.repeat(np.arange(classes), k)
    center = rows.mean(axis=0)
    scale = np.linalg.norm(rows - center) / np.sqrt(len(rows))

    def objective(flat):
        weights, bias = flat[:-classes].reshape(dimensions, classes), flat[-classes:]
        scores = (rows - center) / scale @ weights + bias
        losses = scipy.special.logsumexp(scores, axis=1) - scores[np.arange(len(rows)), wanted]
        return features.INVERSE_STRENGTH * losses.sum() + 0.5 * np.square(weights).sum()

    best = scipy.optimize.minimize(objective, np.zeros((dimensions + 1) * classes)).x
    scores = (tests - center) / scale @ best[:-classes].reshape(dimensions, classes) + best[-classes:]
    expected = (scores.argmax(axis=1) == labels).mean()
    found = features.few_shot_accuracy(examples, tests, labels)
    assert 0.5 < found < 1 and found == pytest.approx(expected, abs=1.5 / len(labels))  # one image may lie on a border


TRANSFORMS = {
    "shifted": lambda rows: rows + 1000,
    "larger": lambda rows: rows * 1e4,
    "smaller": lambda rows: rows * 1e-4,
    "turned": lambda rows: rows @ scipy.stats.ortho_group.rvs(rows.shape[-1], random_state=1),
    "with constant features": lambda rows: np.concatenate([rows, np.full_like(rows, 7)], axis=-1),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_accuracy_does_not_depend_on_shift_turn_and_scale(transform):
    examples, tests, labels = blobs()
    found = features.few_shot_accuracy(transform(examples), transform(tests), labels)
    assert found == pytest.approx(features.few_shot_accuracy(examples, tests, labels), abs=1.5 / len(labels))


def test_equal_examples_tell_nothing_apart():
    labels = np.array([0, 1, 1, 2])
    assert features.few_shot_accuracy(np.ones((3, 2, 5)), np.ones((4, 5)), labels) in (0.25, 0.5)


@pytest.mark.parametrize("k", [1, 5, 20, 100])
def test_raw_pixels_of_many_dimensions_converge(k):
    """In the precision of stored features, with as few as one example for each class; a warning would be an error."""
    images, labels = random_images(600, (16, 16, 1)), np.arange(600) % 5
    images[np.arange(600), labels] = 255  # a bright row names the class
    rows = features.pixels(images)
    drawn = features.draw_examples(labels[:550], k, seed=0)
    assert features.few_shot_accuracy(rows[drawn], rows[550:], labels[550:]) > (0.5 if k == 1 else 0.9)


def strongest_by_loops(images, outputs, window, filters, count):
    """Every cell of every image, sorted; an image's first strongest cell stands for it."""
    padded = np.pad(images.astype(float), ((0, 0), (20, 20), (20, 20), (0, 0)), constant_values=np.nan)
    patches, values, places = [], [], []
    for channel in filters:
        rows = []
        for image, output in enumerate(outputs[..., channel]):
            value, row, column = max((float(v), -r, -c) for (r, c), v in np.ndenumerate(output))
            rows.append((-value, image, -row, -column))
        best = sorted(rows)[:count]
        values.append([-value for value, *_ in best])
        places.append([image for _, image, *_ in best])
        patches.append([])
        for _, image, row, column in best:
            (top, left), (height, width) = window(row, column)
            patches[-1].append(padded[image, 20 + top : 20 + top + height, 20 + left : 20 + left + width])
    return np.array(patches), np.array(values), np.array(places)


@pytest.mark.parametrize("batch_size", [1, 4, 23])
@pytest.mark.parametrize("count", [1, 5, 40])
@pytest.mark.parametrize("levels", [3, 10_000])  # few levels: many equal activations
def test_patches_against_loops(batch_size, count, levels):
    images = random_images(23)
    outputs = np.random.default_rng(1).integers(-levels, 0, (23, 4, 3, 6)).astype(np.float32)
    batches = (outputs[start : start + batch_size] for start in range(0, 23, batch_size))

    def window(row, column):  # reaches beyond the border on every side, at the end with no cell of the image left
        return (2 * row - 1, 3 * column - 2), (4, 5)

    found = features.exciting_patches(images, batches, window, [5, 0, 2], count)
    expected = strongest_by_loops(images, outputs, window, [5, 0, 2], count)
    assert found.pixels.shape == (3, min(count, 23), 4, 5, 2) and np.isnan(found.pixels).any()
    for left, right in zip(found, expected):
        np.testing.assert_array_equal(left, right)


def test_a_patch_gives_its_activation():
    """The dot product of a patch with the filter is the activation that the layer gave there, the padding included."""
    network, variables = network_and_variables()
    zero, one = np.zeros(2, np.float32), np.ones(2, np.float32)
    images = random_images(300)
    batches = features.activations(network, variables, "block1/conv1", images, zero, one)
    found = features.exciting_patches(images, batches, lambda row, column: ((row - 1, column - 1), (3, 3)), range(4), 9)
    kernel = np.asarray(variables["params"]["block1"]["conv1"]["kernel"])
    products = np.einsum("fnhwc,hwcf->fn", np.nan_to_num(found.pixels), kernel)
    np.testing.assert_allclose(found.activations, products, rtol=1e-4)
    assert np.all(np.diff(found.activations, axis=1) <= 0)
    assert all(len(set(row)) == 9 for row in found.images.tolist())


def test_patches_by_hand():
    """A filter that sees 2 x 2 cells; each image has one bright cell, the second in the corner."""
    images = np.zeros((3, 3, 3, 1), np.uint8)
    images[0, 1, 1], images[1, 2, 2], images[2, 0, 1] = 5, 9, 7
    outputs = np.zeros((3, 3, 3, 1), np.float32)
    outputs[..., 0] = images[..., 0]
    found = features.exciting_patches(
        images, [outputs[:2], outputs[2:]], lambda row, column: ((row, column), (2, 2)), [0], 2
    )
    assert found.activations.tolist() == [[9, 7]] and found.images.tolist() == [[1, 2]]
    outside = np.nan  # of the image
    expected = [[[9, outside], [outside, outside]], [[7, 0], [0, 0]]]
    np.testing.assert_array_equal(found.pixels[0, :, :, :, 0], expected)


def test_accuracies_after_more_examples_are_those_of_more_examples():
    digits = datasets.load("digits")
    found = features.few_shot_accuracies(digits, features.pixels, (1, 5), seed=3)
    for k in (1, 5):
        drawn = features.draw_examples(digits.train_labels, k, seed=3)
        rows = features.pixels(digits.train_images[drawn.ravel()]).reshape(10, k, 64)
        test = features.pixels(digits.test_images)
        assert found[k] == features.few_shot_accuracy(rows, test, digits.test_labels)
    assert list(found) == [1, 5] and found[1] < found[5]


def test_what_is_shown_is_what_the_network_saw():
    network, variables = network_and_variables()
    images, outputs = random_images(300), outputs_at_once()
    shown = features.shown(network, variables, images, MEAN, DEVIATION, filters=3, count=2)
    np.testing.assert_array_equal(shown["kernel"], variables["params"]["block1"]["conv1"]["kernel"])
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
