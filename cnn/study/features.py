"""What a network has learnt to see: features for a linear classifier with few examples, and what excites a filter.

Images become rows of features, by a layer of a network, by their pixels or by principal components. A classifier sees
a few labelled rows of each class. With the same `draw_examples` every kind of feature is judged on the same images.

Example:
    >>> from cnn.data import datasets
    >>> digits = datasets.load("digits")
    >>> known, new = datasets.subset(digits, range(5)), datasets.subset(digits, range(5, 10))
    >>> components = principal_components(known.train_images)
    >>> rows = components.transform(pixels(new.train_images)[draw_examples(new.train_labels, k=20, seed=0).ravel()])
    >>> test = components.transform(pixels(new.test_images))
    >>> few_shot_accuracy(rows.reshape(5, 20, -1), test, new.test_labels) > 0.9
    True
"""

import functools
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from cnn.config import RequestError, require_integer, require_known
from cnn.data import preprocess
from cnn.data.datasets import Dataset
from cnn.network import geometry, layers, summary
from cnn.network.geometry import Pair
from cnn.training.step import padded

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

BATCH_SIZE = 128  # of images whose activations are computed together
COMPONENTS = 40  # as LeCun et al. 1998 took
ENOUGH = 10_000  # images for them: 40 directions are known by far fewer
INVERSE_STRENGTH = 10.0  # scikit-learn's C, see `few_shot_accuracy`


def activations(
    network: layers.Sequence,
    variables: Any,
    layer: str,
    images: UInt8[np.ndarray, "n height width c"],
    mean: Float[Array | np.ndarray, " c"],
    deviation: Float[Array | np.ndarray, " c"],
) -> Iterator[np.ndarray]:
    """A layer's output for all images, batch by batch, since that of a whole data set may not fit in memory.

    Args:
        network: any network; with its initial variables the layer is one of random filters.
        variables: what `network.apply` takes: `{"params": ...}` and, with batch normalisation, the statistics.
        layer: the name of a layer, as in the network's table: `block1/conv1`, `flatten`.
        images: normalised here, on the device.
        mean, deviation: of each channel, in pixel units: those that the network learnt with.

    Yields:
        float32 [batch, ...], in the order of the images, each image once.

    Raises:
        RequestError: a layer that the network does not have.
    """
    require_known("layer", layer, [row.name for row in summary.rows(network, images.shape[1:])])
    for indices, mask in zip(*padded(np.arange(len(images)), BATCH_SIZE)):
        output = _layer_output(network, layer, variables, images[indices], mean, deviation)
        yield np.asarray(output)[: mask.sum()]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _layer_output(
    network: layers.Sequence, layer: str, variables: Any, images: Array, mean: Array, deviation: Array
) -> Array:
    x = preprocess.normalize(images, mean, deviation)
    return network.apply(variables, x, intermediates=True)[1][layer]


def layer_features(
    network: layers.Sequence,
    variables: Any,
    layer: str,
    images: UInt8[np.ndarray, "n height width c"],
    mean: Float[Array | np.ndarray, " c"],
    deviation: Float[Array | np.ndarray, " c"],
) -> Float[np.ndarray, "n d"]:
    """A layer's output as one row for each image; the arguments are those of `activations`.

    Example:
        >>> import jax.numpy as jnp
        >>> from cnn.network.models import ConvNet
        >>> network, images = ConvNet(5, blocks=1, width=4), np.zeros((3, 8, 8, 1), np.uint8)
        >>> variables = jax.jit(network.init)(jax.random.key(0), jnp.ones((1, 8, 8, 1)))  # not trained: random filters
        >>> layer_features(network, variables, "flatten", images, np.zeros(1, np.float32), np.ones(1, np.float32)).shape
        (3, 64)
    """
    batches = activations(network, variables, layer, images, mean, deviation)
    return np.concatenate([batch.reshape(len(batch), -1) for batch in batches])


def pixels(images: UInt8[np.ndarray, "n height width c"]) -> Float[np.ndarray, "n d"]:
    """The images as they are, one float32 row for each."""
    return images.reshape(len(images), -1).astype(np.float32)


def principal_components(images: UInt8[np.ndarray, "n height width c"]) -> "PCA":
    """The directions in which the pixels of these images vary most; `.transform` turns `pixels` into features.

    They are found from 10,000 images at most, evenly spaced among those given. 40 of them, as in LeCun et al. 1998,
    section III-C.3, or as many as there are images or pixels. All of them would be
    the pixels again, turned. On training images of MNIST and CIFAR-10, 150 were never a point better than 40 with 1 to
    100 examples: the classifier weighs a direction by its variance, and the later ones have little.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
        >>> principal_components(images).transform(pixels(images)).shape
        (50, 40)
    """
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    rows = pixels(images[:: -(-len(images) // ENOUGH)])
    with threadpool_limits(1, "blas"):  # on two busy cores it takes three times as long with a second thread
        return PCA(min(COMPONENTS, *rows.shape), random_state=0).fit(rows)


def draw_examples(labels: Int[np.ndarray, " n"], k: int, seed: int) -> Int[np.ndarray, "classes k"]:
    """The indices of k random images of each class, one row for each of the classes 0, 1, ...

    They follow from labels and seed alone. With the same seed a smaller k takes the first columns of a larger one, so
    that accuracies with more and with fewer examples compare in pairs.

    Raises:
        RequestError: a class with fewer than k images.

    Example:
        >>> draw_examples(np.array([0, 1, 0, 1, 0, 1]), k=2, seed=0).tolist()
        [[4, 0], [1, 5]]
        >>> draw_examples(np.array([0, 1, 0, 1, 0, 1]), k=1, seed=0).tolist()
        [[4], [1]]
    """
    require_integer("k", k, 1)
    sizes = np.bincount(labels)
    if sizes.min() < k:
        raise RequestError(f"k={k}: class {sizes.argmin()} has {sizes.min()} images, so at most {sizes.min()}")
    order = np.random.default_rng([zlib.crc32(b"examples"), seed]).permutation(len(labels))
    return np.stack([order[labels[order] == label][:k] for label in range(len(sizes))])


def few_shot_accuracy(
    examples: Float[np.ndarray, "classes k d"], features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> float:
    """The share of rows that a linear classifier gets right after k examples of each class.

    The classifier is multinomial logistic regression with an L2 penalty (scikit-learn's, C = 10). Before it, the mean
    of the examples is subtracted and everything is divided by one number, the root mean square distance of an example
    from that mean. So the accuracy does not change when features are shifted, turned or scaled as a whole, and one C
    means the same for pixels and for activations. Scaling each feature on its own would give border pixels that are
    hardly ever on, and the last principal components, the weight of the others.

    Both were chosen on training images of MNIST's classes 5 to 9, for pixels, principal components, random and learnt
    filters, with the mean of 5 draws. Scaling each feature by the deviation over all training images was at most 0.2
    points better and up to 10 worse. Of C = 0.1, 1, 10, 100 and 1000 no other was more than 0.6 points better with 5,
    20 or 100 examples; with a single one 0.1 was, by up to 2.4.

    Args:
        examples: the labelled features; class i is row i.
        features: what is classified.
        labels: its classes, from 0 to classes - 1.

    Example:
        >>> examples = np.array([[[0.0, 1.0]], [[4.0, 1.0]]])  # one of each class: the border is at 2
        >>> few_shot_accuracy(examples, np.array([[1.9, 0.0], [2.1, 9.0], [1.8, 5.0]]), np.array([0, 1, 1]))
        0.6666666666666666
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    classes, k, _ = examples.shape
    rows = np.concatenate(examples).astype(np.float64)  # in float32 the optimiser's line search can fail
    center = rows.mean(axis=0)
    rows -= center
    spread = np.sqrt(np.square(rows).sum(axis=1).mean()) or 1.0
    model = LogisticRegression(C=INVERSE_STRENGTH, max_iter=10_000)
    # The products are small: on two busy cores a second thread made a fit of 0.1 s one of 2 to 4 s.
    with threadpool_limits(1, "blas"):
        model.fit(rows / spread, np.repeat(np.arange(classes), k))
        return float(model.score((features - center) / spread, labels))


def few_shot_accuracies(
    dataset: Dataset, extract: Callable[[np.ndarray], np.ndarray], examples: tuple[int, ...], seed: int
) -> dict[int, float]:
    """`few_shot_accuracy` on the test images after 1, 5, ... training images of each class, by their number.

    Args:
        dataset: images of the classes to tell apart.
        extract: images to rows of features.
        examples: how many images of each class the classifier sees.
        seed: which; see `draw_examples`.

    Example:
        >>> from cnn.data import datasets
        >>> found = few_shot_accuracies(datasets.load("digits"), pixels, examples=(1, 20), seed=0)
        >>> found[1] < 0.7 < 0.9 < found[20]
        True
    """
    drawn = draw_examples(dataset.train_labels, max(examples), seed)
    rows = extract(dataset.train_images[drawn.ravel()]).reshape(*drawn.shape, -1)
    test = extract(dataset.test_images)
    return {k: few_shot_accuracy(rows[:, :k], test, dataset.test_labels) for k in examples}


class Patches(NamedTuple):
    """For each chosen filter the patches that excite it most, strongest first, each of another image."""

    pixels: Float[np.ndarray, "filters count height width c"]  # NaN beyond the image's border
    activations: Float[np.ndarray, "filters count"]
    images: Int[np.ndarray, "filters count"]  # which images they are cut from


def exciting_patches(
    images: UInt8[np.ndarray, "n height width c"],
    batches: Iterable[np.ndarray],
    window: Callable[[int, int], tuple[Pair, Pair]],
    filters: Iterable[int],
    count: int,
) -> Patches:
    """The parts of images at which filters of a convolution layer respond most (Zeiler and Fergus 2014, figure 2).

    An image counts with its strongest cell. Of equal activations the first image's, and in an image the first cell's,
    goes first. Only the best so far are kept from one batch to the next.

    Args:
        images: the images as they are stored.
        batches: the layer's output for these images in their order, [batch, rows, columns, channels]: `activations`.
        window: `(top, left), (height, width)` of the image's cells under the output cell at `(row, column)`; see
            `geometry.input_window`. Cells beyond the image's border are NaN: there is no image.
        filters: which channels.
        count: how many patches of each, or as many as there are images.

    Example:
        >>> images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
        >>> outputs = [images.astype(np.float32)]  # of a filter that sees a cell as it is
        >>> found = exciting_patches(images, outputs, lambda row, column: ((row, column), (1, 2)), filters=[0], count=1)
        >>> found.activations.tolist(), found.images.tolist(), found.pixels[0, 0, ..., 0].tolist()
        ([[7.0]], [[1]], [[7.0, nan]])
    """
    values, places = _strongest(batches, list(filters), count)
    patches = [
        [_cut(images[image], *window(int(row), int(column))) for image, row, column in best]
        for best in places.swapaxes(0, 1)
    ]
    return Patches(np.array(patches), values.T, places[..., 0].T)


def shown(
    network: layers.Sequence,
    variables: Any,
    images: UInt8[np.ndarray, "n height width c"],
    mean: Float[Array | np.ndarray, " c"],
    deviation: Float[Array | np.ndarray, " c"],
    filters: int,
    count: int,
) -> dict[str, np.ndarray]:
    """What pictures show of a ConvNet: its first filters, an image with its feature maps, and exciting patches.

    Args:
        network, variables, mean, deviation: as for `activations`; a network of at least one block.
        images: the first gives the feature maps, all of them the patches.
        filters: of how many filters of the last convolution.
        count: how many patches of each.

    Returns:
        `kernel` of the first convolution, `image`, `map NAME` of each layer that ends a step of a block, and `patches`.
    """
    see = functools.partial(activations, network, variables, mean=mean, deviation=deviation)
    rows = {row.name: row for row in summary.rows(network, images.shape[1:])}
    last = [name for name, row in rows.items() if row.kind == "Conv"][-1]
    steps = summary.windows(network, images.shape[1:], last)
    patches = exciting_patches(
        images,
        see(layer=last, images=images),
        lambda row, column: geometry.input_window((row, column), images.shape[1:3], steps),
        range(min(filters, rows[last].output_shape[-1])),
        count,
    )
    mapped = [name for name, row in rows.items() if row.kind in ("Relu", "MaxPool", "AvgPool") and "block" in name]
    maps = {f"map {name}": next(see(layer=name, images=images[:1]))[0] for name in mapped}
    kernel = np.asarray(variables["params"]["block1"]["conv1"]["kernel"])
    return {"kernel": kernel, "image": images[0], "patches": patches.pixels, **maps}


def _strongest(batches: Iterable[np.ndarray], filters: list[int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The highest activations [count, filters] and where they are: image, row and column [count, filters, 3]."""
    values, places, done = np.zeros((0, len(filters)), np.float32), np.zeros((0, len(filters), 3), np.int64), 0
    for batch in batches:
        size, _, columns, _ = batch.shape
        responses = batch[..., filters].reshape(size, -1, len(filters))
        cells = responses.argmax(axis=1)
        image = np.broadcast_to(np.arange(done, done + size)[:, np.newaxis], cells.shape)
        values = np.concatenate([values, responses.max(axis=1)])
        places = np.concatenate([places, np.stack([image, *np.divmod(cells, columns)], axis=-1)])
        best = np.argsort(-values, axis=0, kind="stable")[:count]
        values = np.take_along_axis(values, best, axis=0)
        places = np.take_along_axis(places, best[..., np.newaxis], axis=0)
        done += size
    return values, places


def _cut(image: np.ndarray, corner: Pair, size: Pair) -> np.ndarray:
    """A part of an image, float32, with NaN where it reaches beyond the border."""
    (top, left), (height, width) = corner, size
    rows, columns = np.arange(top, top + height), np.arange(left, left + width)
    inside = (rows >= 0) & (rows < image.shape[0]), (columns >= 0) & (columns < image.shape[1])
    part = np.full((height, width, image.shape[2]), np.nan, np.float32)
    part[np.ix_(*inside)] = image[np.ix_(rows[inside[0]], columns[inside[1]])]
    return part
