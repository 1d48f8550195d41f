"""What excites the filters of a trained network most, and what pictures show of it.

Example:
    >>> images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    >>> outputs = [images.astype(np.float32)]  # of a filter whose response is the cell itself
    >>> exciting = exciting_patches(images, outputs, lambda row, column: ((row, column), (1, 2)), filters=[0], count=1)
    >>> exciting.activations.tolist(), exciting.images.tolist(), exciting.pixels[0, 0, ..., 0].tolist()
    ([[7.0]], [[1]], [[7.0, nan]])
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn.errors import RequestError
from cnn.network import geometry
from cnn.network.geometry import Pair
from cnn.network.layers import Conv, Signal, Visit
from cnn.trained.network import Trained


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

    Each image counts with its strongest cell. Among equal activations the earlier image comes first, and within an
    image the earlier cell counts. From one batch to the next only the best so far are kept.

    Args:
        images: the images as they are stored.
        batches: the layer's output for these images in their order, [batch, rows, columns, channels]; see
            `Trained.activations`.
        window: `(top, left), (height, width)` of the image's cells under the output cell at `(row, column)`; see
            `geometry.input_window`. Cells beyond the image's border become NaN, since there is no image.
        filters: the channels of the output to show.
        count: how many patches of each filter; with fewer images, as many as there are images.
    """
    values, places = _strongest(batches, list(filters), count)
    patches = [
        [_cut(images[image], *window(int(row), int(column))) for image, row, column in best]
        for best in places.swapaxes(0, 1)
    ]
    return Patches(np.array(patches), values.T, places[..., 0].T)


def shown(
    trained: Trained, images: UInt8[np.ndarray, "n height width c"], filters: int, count: int
) -> dict[str, np.ndarray]:
    """What pictures show of a network: its first filters, an image with its feature maps, and exciting patches.

    Args:
        trained: a network with a convolution.
        images: the first gives the feature maps, all of them give the patches.
        filters: of how many filters of the last convolution to show patches.
        count: how many patches of each filter.

    Returns:
        The arrays of a trial's file: `kernel` of the first convolution, `image`, `map NAME` of each activation and
        pooling that has height and width, and `patches`.

    Raises:
        RequestError: the network has no convolution.
    """
    visits = _with_height_and_width(trained)
    convolutions = [visit for visit in visits if isinstance(visit.layer, Conv)]
    if not convolutions:
        raise RequestError("the network has no convolution; only a network with convolutions has filters to show")
    arrays = {"kernel": _kernel(trained, convolutions[0]), "image": images[0]}
    arrays["patches"] = _of_layer(trained, convolutions[-1], images, filters, count).pixels
    for visit in visits:
        if visit.layer.pictured:
            arrays[f"map {visit.name}"] = next(trained.activations(visit.name, images[:1]))[0]
    return arrays


def first_kernel(trained: Trained) -> Float[np.ndarray, "f_height f_width c_in count"] | None:
    """The filters of the network's first convolution; None where it has none."""
    convolutions = (visit for visit in _with_height_and_width(trained) if isinstance(visit.layer, Conv))
    first = next(convolutions, None)
    return None if first is None else _kernel(trained, first)


def _with_height_and_width(trained: Trained) -> list[Visit]:
    return [visit for visit in trained.network.visits(Signal(trained.image_shape)) if len(visit.after.shape) == 3]


def _kernel(trained: Trained, convolution: Visit) -> np.ndarray:
    found = trained.variables["params"]
    for name in convolution.name.split("/"):
        found = found[name]
    return np.asarray(found["kernel"])


def _of_layer(trained: Trained, visit: Visit, images: np.ndarray, filters: int, count: int) -> Patches:
    """The patches that excite the first filters of a convolution of the network."""
    steps = visit.after.windows or ()

    def window(row: int, column: int) -> tuple[Pair, Pair]:
        return geometry.input_window((row, column), images.shape[1:3], steps)

    channels = range(min(filters, visit.after.shape[-1]))
    return exciting_patches(images, trained.activations(visit.name, images), window, channels, count)


def _strongest(batches: Iterable[np.ndarray], filters: list[int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The highest activations [count, filters] and where they are: image, row and column [count, filters, 3]."""
    values = np.zeros((0, len(filters)), np.float32)
    places = np.zeros((0, len(filters), 3), np.int64)
    done = 0
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
    rows = np.arange(corner[0], corner[0] + size[0])
    columns = np.arange(corner[1], corner[1] + size[1])
    inside_rows = (rows >= 0) & (rows < image.shape[0])
    inside_columns = (columns >= 0) & (columns < image.shape[1])
    part = np.full((*size, image.shape[2]), np.nan, np.float32)
    inside = image[np.ix_(rows[inside_rows], columns[inside_columns])]
    part[np.ix_(inside_rows, inside_columns)] = inside
    return part
