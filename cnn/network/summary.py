"""A network as a table of integers; no array is made.

Example:
    >>> from cnn.network.models import LeNet5
    >>> cost(LeNet5(10), (28, 28, 1))
    Cost(parameters=61706, macs=416520)
"""

import math
from typing import NamedTuple

from tabulate import tabulate

from cnn.network.geometry import Pair, format_size, receptive_field
from cnn.network.layers import Block, Shape, Signal


class Row(NamedTuple):
    """One layer: its name, kind, output shape for one image, parameters, multiply-accumulates and receptive field."""

    name: str
    kind: str
    output_shape: Shape
    parameters: int
    macs: int
    receptive_field: Pair


class Cost(NamedTuple):
    """A network's parameters, and multiply-accumulates of one image forward (convolutions and dense layers)."""

    parameters: int
    macs: int


def rows(network: Block, image_shape: Shape) -> list[Row]:
    """The layers in order, blocks opened; after flattening every unit sees the whole image.

    Raises:
        RequestError: a filter or window does not fit.
    """
    return [
        Row(
            visit.name,
            type(visit.layer).__name__,
            visit.after.shape,
            visit.layer.parameters(visit.before.shape),
            visit.layer.multiply_accumulates(visit.before.shape),
            _field(visit.after, image_shape),
        )
        for visit in network.visits(Signal(image_shape))
    ]


def _field(signal: Signal, image_shape: Shape) -> Pair:
    """How many cells of the image one cell of the signal sees on each axis, at most the whole image."""
    if signal.windows is None:
        return image_shape[0], image_shape[1]
    height, width = receptive_field(window[:2] for window in signal.windows)
    return min(height, image_shape[0]), min(width, image_shape[1])


def cost(network: Block, image_shape: Shape) -> Cost:
    """Parameters and multiply-accumulates of the whole network."""
    visits = network.visits(Signal(image_shape))
    parameters = sum(visit.layer.parameters(visit.before.shape) for visit in visits)
    macs = sum(visit.layer.multiply_accumulates(visit.before.shape) for visit in visits)
    return Cost(parameters, macs)


def training_operations(network: Block, image_shape: Shape) -> int:
    """The operations of a training step for each image of its batch.

    A multiply-accumulate is two operations. Convolutions and dense layers compute three products for each image: the
    output, the gradient of the weights, and the gradient of the input, which the first of these layers does not need.
    So there are 2 * (3 * macs - macs of the first layer) operations, with `macs` of one image forward. Other operations
    do not count.

    Example:
        >>> from cnn.network.models import LeNet5
        >>> training_operations(LeNet5(10), (28, 28, 1))  # 416,520 multiply-accumulates, of conv1 117,600
        2263920
    """
    macs = [row.macs for row in rows(network, image_shape) if row.macs]
    return 2 * (3 * sum(macs) - sum(macs[:1]))


def images_together(network: Block, image_shape: Shape) -> int:
    """The number of images whose multiples a batch can be divided into: that of ghost batch normalisation, or 1."""
    return math.lcm(*(visit.layer.images_together() for visit in network.visits(Signal(image_shape))))


def by_image(network: Block, image_shape: Shape) -> bool:
    """Whether what the network computes for an image in training depends on no other image of the batch."""
    return all(visit.layer.by_image() for visit in network.visits(Signal(image_shape)))


def table(network: Block, image_shape: Shape) -> str:
    """The network as text: a line for the input, one for each layer, and one of totals."""
    total = cost(network, image_shape)
    lines = [["input", "", shape_in_words(image_shape), "", "", ""]]
    for row in rows(network, image_shape):
        numbers = [f"{row.parameters:,}", f"{row.macs:,}", format_size(row.receptive_field)]
        lines.append([row.name, row.kind, shape_in_words(row.output_shape), *numbers])
    lines.append(["total", "", "", f"{total.parameters:,}", f"{total.macs:,}", ""])
    headers = ["layer", "kind", "output shape", "parameters", "multiply-accumulates", "receptive field"]
    return tabulate(lines, headers, disable_numparse=True, colalign=("left", "left", "left", "right", "right", "right"))


def shape_in_words(shape: Shape) -> str:
    """A shape as text.

    Example:
        >>> shape_in_words((28, 28, 16))
        '28x28x16'
    """
    return "x".join(map(str, shape))
