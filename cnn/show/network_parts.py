"""The parts of a page about one network: its layers, its filters, what it confuses, and the network itself.

Example:
    >>> from cnn.config import NetworkConfig
    >>> from cnn.network.models import build
    >>> table = layers_table(build(NetworkConfig(blocks=1), (28, 28, 1), 10), (28, 28, 1))
    >>> [cell.text for cell in table[0].rows[0]]
    ['block1', '14x14x32', '320', '225,792', '4']
"""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Num, UInt8

from cnn.data.content import Dataset
from cnn.network import summary
from cnn.network.geometry import format_size
from cnn.network.layers import Block, Shape
from cnn.show.parts import Cell, Folded, Gallery, Image, Part, Table
from cnn.show.style import BLUE, VERMILION
from cnn.trained.network import Trained
from cnn.trained.patches import first_kernel
from cnn.training.answers import Predictions

MOST_FILTERS = 64
MOST_MISTAKES = 24
MOST_BYTES = 100_000  # of the pictures of mistakes, so that large images do not make a large page
MOST_PIXELS = 64  # of a side of such a picture
MOST_CLASSES = 20  # of a confusion matrix; of more classes the commonest confusions are listed
COLD = np.array([*bytes.fromhex(BLUE[1:])])  # of a negative weight
WARM = np.array([*bytes.fromhex(VERMILION[1:])])  # of a positive one


def layers_table(network: Block, image_shape: Shape) -> list[Part]:
    """The network block by block, and folded layer by layer."""
    rows = summary.rows(network, image_shape)
    blocks: dict[str, list[summary.Row]] = {}
    for row in rows:
        blocks.setdefault(row.name.partition("/")[0], []).append(row)
    totals = [
        summary.Row(
            name,
            "",
            own[-1].output_shape,
            sum(row.parameters for row in own),
            sum(row.macs for row in own),
            own[-1].receptive_field,
        )
        for name, own in blocks.items()
    ]
    heads = ("output", "parameters", "multiply-accumulates", "sees of the image")
    shape = summary.shape_in_words(image_shape)
    caption = f"From an image of {shape} to the logits. A cell of the output sees so many pixels."
    whole = Table(caption, ("block", *heads), [_row(row) for row in totals])
    each = Table("Every layer.", ("layer", *heads), [_row(row) for row in rows])
    return [whole, Folded("Layer by layer", (each,))]


def _row(row: summary.Row) -> list[Cell]:
    return [
        Cell(row.name),
        Cell(summary.shape_in_words(row.output_shape)),
        Cell(f"{row.parameters:,}", row.parameters),
        Cell(f"{row.macs:,}", row.macs),
        Cell(format_size(row.receptive_field)),
    ]


def first_filters(trained: Trained) -> Gallery | None:
    """The filters of the first convolution; None where the network has none, or its images are neither grey nor RGB."""
    kernel = first_kernel(trained)
    if kernel is None or kernel.shape[2] not in (1, 3):
        return None
    images = [
        Image(filter_png(kernel[..., number]), f"filter {number + 1} of the first convolution", (str(number + 1),))
        for number in range(min(kernel.shape[3], MOST_FILTERS))
    ]
    return Gallery(images, width=56)


def filter_png(weights: Float[np.ndarray, "height width channels"]) -> bytes:
    """A filter as a picture: of one channel blue below 0 and vermilion above; of three, colours around grey."""
    limit = float(np.abs(weights).max()) or 1.0
    scaled = weights / limit
    if weights.shape[2] == 3:
        return _png(np.rint(127.5 + 127.5 * scaled).astype(np.uint8))
    strength = np.abs(scaled)
    colour = np.where(scaled < 0, COLD, WARM)
    return _png(np.rint(255 + strength * (colour - 255.0)).astype(np.uint8))


def image_png(image: UInt8[np.ndarray, "height width channels"], largest: int) -> bytes:
    """An image of a data set whose largest pixel is `largest`, as a picture."""
    return _png(np.minimum(image.astype(np.float32) * (255 / largest), 255).astype(np.uint8))


def _png(pixels: Num[np.ndarray, "height width channels"]) -> bytes:
    from PIL import Image as Picture

    shown = pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., :3]
    buffer = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(shown)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def mistakes(dataset: Dataset, predictions: Sequence[Predictions]) -> Gallery | None:
    """The worst mistakes on test images: those of most seeds first, then those that the networks are surest of.

    None where there is no mistake, or images are neither grey nor RGB.

    Args:
        dataset: the images.
        predictions: of each seed.
    """
    if not predictions or dataset.image_shape[2] not in (1, 3):
        return None
    classes = np.stack([each.classes for each in predictions])
    wrong = classes != dataset.test_labels
    sure = np.where(wrong, np.stack([each.probabilities for each in predictions]), 0.0)
    order = np.lexsort((-sure.sum(0), -wrong.sum(0)))[:MOST_MISTAKES]
    worst = [int(place) for place in order if wrong[:, place].any()]
    images = [_mistake(dataset, place, classes, sure) for place in worst]
    sizes = np.cumsum([len(image.png) for image in images])
    return Gallery(images[: int((sizes <= MOST_BYTES).sum())], width=104) if worst else None


def _mistake(dataset: Dataset, place: int, classes: np.ndarray, sure: np.ndarray) -> Image:
    seed = int(sure[:, place].argmax())
    truth = dataset.class_names[dataset.test_labels[place]]
    said = dataset.class_names[classes[seed, place]]
    count = int((sure[:, place] > 0).sum())
    of = f"{count} of {len(sure)} seeds wrong" if len(sure) > 1 else ""
    lines = (f"is {truth}", f"taken for {said}, {100 * sure[seed, place]:.0f} %", *([of] if of else []))
    step = -(-max(dataset.image_shape[:2]) // MOST_PIXELS)
    png = image_png(dataset.test_images[place, ::step, ::step], dataset.largest_pixel)
    return Image(png, f"test image {place}: {'; '.join(lines)}", lines)


def confusion(dataset: Dataset, predictions: Sequence[Predictions]) -> Table | None:
    """How often each class is taken for each other on the test images, over all seeds together."""
    if not predictions:
        return None
    counts = confusion_counts(dataset.test_labels, predictions, dataset.classes)
    if dataset.classes > MOST_CLASSES:
        return _commonest(dataset.class_names, counts)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    most = float((share * (1 - np.eye(len(share)))).max()) or 1.0
    classes = range(dataset.classes)
    rows = [
        [
            Cell(name),
            *(_confused(int(counts[row, said]), float(share[row, said]), row == said, most) for said in classes),
        ]
        for row, name in enumerate(dataset.class_names)
    ]
    seeds = "one seed" if len(predictions) == 1 else f"{len(predictions)} seeds together"
    caption = f"A row for each true class, a column for each class that the network takes it for; test images, {seeds}."
    return Table(caption, ("true class", *dataset.class_names), rows)


def confusion_counts(
    labels: Int[np.ndarray, " images"], predictions: Sequence[Predictions], classes: int
) -> Int[np.ndarray, "classes classes"]:
    """How many images of each class (row) were taken for each class (column), over all seeds.

    Example:
        >>> said = Predictions(np.array([0, 1, 1], np.int32), np.ones(3, np.float32))
        >>> confusion_counts(np.array([0, 0, 1]), [said], 2).tolist()
        [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes, classes), np.int64)
    for each in predictions:
        np.add.at(counts, (labels, each.classes), 1)
    return counts


def _confused(count: int, share: float, right: bool, most: float) -> Cell:
    """A cell of the matrix; the mistakes are as dark as they are frequent beside the most frequent one, `most`."""
    return Cell(str(count) if count else "", count, 0.35 * share if right else 0.5 * share / most, wrong=not right)


def _commonest(names: Sequence[str], counts: np.ndarray) -> Table | None:
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_MISTAKES]
    pairs = [divmod(int(place), len(counts)) for place in order]
    if not wrong.any():
        return None
    rows = [
        [Cell(names[truth]), Cell(names[said]), Cell(str(wrong[truth, said]), int(wrong[truth, said]))]
        for truth, said in pairs
        if wrong[truth, said]
    ]
    return Table(
        "The commonest confusions on test images, over all seeds.", ("true class", "taken for", "images"), rows
    )
