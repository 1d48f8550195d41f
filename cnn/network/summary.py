"""A network as a table of integers, and the width that gives a wanted cost; no array is made.

Example:
    >>> from cnn.network.models import LeNet5
    >>> cost(LeNet5(10), (28, 28, 1))
    Cost(parameters=61706, macs=416520)
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tabulate import tabulate

from cnn.config import NetworkConfig, RequestError, require_known
from cnn.network import models
from cnn.network.geometry import Padding, Pair, format_size, receptive_field
from cnn.network.layers import Layer, Sequence, Shape, ZeroPad

TOLERANCE = 0.02  # how far a matched network's cost may lie from the wanted one


class Row(NamedTuple):
    """One layer: its name, kind, output shape for one image, parameters, multiply-accumulates and receptive field."""

    name: str
    kind: str
    output_shape: Shape
    parameters: int
    macs: int
    receptive_field: tuple[int, int]


class Cost(NamedTuple):
    """A network's parameters, and multiply-accumulates of one image forward (convolutions and dense layers)."""

    parameters: int
    macs: int


def rows(network: Sequence, image_shape: Shape) -> list[Row]:
    """The layers in order, blocks opened; after flattening every unit sees the whole image.

    Raises:
        RequestError: a filter or window that does not fit, from the first layer where it does not.
    """
    table, windows, shape, field = [], [], image_shape, (1, 1)
    for name, layer in _leaves(network):
        after = layer.output_shape(shape)
        windows.append(layer.window())
        if len(after) == 3:
            seen = receptive_field(windows)
            field = min(seen[0], image_shape[0]), min(seen[1], image_shape[1])
        else:
            field = image_shape[0], image_shape[1]
        cells = (layer.parameters(shape), layer.multiply_accumulates(shape))
        table.append(Row(name, type(layer).__name__, after, *cells, field))
        shape = after
    return table


def _leaves(sequence: Sequence, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    for layer in sequence.layers():
        if isinstance(layer, Sequence):
            yield from _leaves(layer, f"{prefix}{layer.name}/")
        else:
            yield f"{prefix}{layer.name}", layer


def windows(network: Sequence, image_shape: Shape, name: str) -> list[tuple[Pair, Pair, Padding]]:
    """`(filter, stride, padding)` of each layer from the image to the layer of that name: see `geometry.input_window`.

    Raises:
        RequestError: a layer that the network does not have.

    Example:
        >>> from cnn.network.models import ConvNet
        >>> windows(ConvNet(10, blocks=2), (28, 28, 1), "block1/pool")
        [((3, 3), (1, 1), 'SAME'), ((1, 1), (1, 1), 0), ((2, 2), (2, 2), 0)]
    """
    layers, shape, found = dict(_leaves(network)), image_shape, []
    require_known("layer", name, layers)
    for layer in list(layers.values())[: list(layers).index(name) + 1]:
        padding = layer.sides(shape) if isinstance(layer, ZeroPad) else getattr(layer, "padding", 0)
        found.append((*layer.window(), padding))
        shape = layer.output_shape(shape)
    return found


def cost(network: Sequence, image_shape: Shape) -> Cost:
    """Parameters and multiply-accumulates of the whole network."""
    table = rows(network, image_shape)
    return Cost(sum(row.parameters for row in table), sum(row.macs for row in table))


def summary(network: Sequence, image_shape: Shape) -> str:
    """The table of a network, a line for each layer and a line of totals."""
    total = cost(network, image_shape)
    lines = [["input", "", _times(image_shape), "", "", ""]]
    for row in rows(network, image_shape):
        numbers = [f"{row.parameters:,}", f"{row.macs:,}", format_size(row.receptive_field)]
        lines.append([row.name, row.kind, _times(row.output_shape), *numbers])
    lines.append(["total", "", "", f"{total.parameters:,}", f"{total.macs:,}", ""])
    headers = ["layer", "kind", "output shape", "parameters", "multiply-accumulates", "receptive field"]
    return tabulate(lines, headers, disable_numparse=True, colalign=("left", "left", "left", "right", "right", "right"))


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))


def match(configs: list[NetworkConfig], kind: str, image_shape: Shape, classes: int) -> list[NetworkConfig]:
    """Give every depth the cost of the deepest, by changing its width (0 blocks: its hidden units).

    Args:
        configs: convnets that differ in their blocks alone.
        kind: `parameters` or `macs`; `width` changes nothing.
        image_shape: `(height, width, channels)`.
        classes: how many logits.

    Returns:
        The settings in the same order, each within 2 % of the deepest one's cost.

    Raises:
        RequestError: where a depth cannot come within 2 %; the message names the nearest width of the deepest that can.

    Example:
        >>> shallow, deep = match([NetworkConfig(blocks=1), NetworkConfig(blocks=3)], "macs", (28, 28, 1), 10)
        >>> shallow.width, deep.width
        (236.5, 32)
    """
    if kind == "width":
        return configs
    deepest = max(configs, key=lambda config: config.blocks)

    def candidates(width: float) -> list[NetworkConfig]:
        reference = dataclasses.replace(deepest, width=width)
        wanted = getattr(cost(models.build(reference, image_shape, classes), image_shape), kind)
        return [
            reference if config == deepest else _nearest(config, kind, wanted, image_shape, classes)
            for config in configs
        ]

    def error(found: list[NetworkConfig]) -> float:
        costs = [getattr(cost(models.build(config, image_shape, classes), image_shape), kind) for config in found]
        wanted = costs[configs.index(deepest)]
        return max(abs(value / wanted - 1) for value in costs)

    found = candidates(deepest.width)
    if error(found) <= TOLERANCE:
        return found
    raise RequestError(
        f"match={kind!r} with width={deepest.width}: costs differ by {error(found):.1%}, more than {TOLERANCE:.0%};"
        f" {_nearest_possible(deepest.width, lambda width: error(candidates(width)))}"
    )


def _nearest_possible(width: float, error: Callable[[int], float]) -> str:
    width = round(width)
    for distance in range(4 * width + 1):
        for other in (width - distance, width + distance):
            if other >= 1 and error(other) <= TOLERANCE:
                return f"the nearest width that can be matched is {other}"
    return f"no width up to {5 * width} can be matched"


def matched(config: NetworkConfig, kind: str, wanted: int, image_shape: Shape, outputs: int) -> NetworkConfig:
    """The same network with the width (a network of dense layers: hidden units) that gives a wanted cost.

    Args:
        config: a convnet or an MLP.
        kind: `parameters` or `macs`.
        wanted: the cost.
        image_shape: `(height, width, channels)`.
        outputs: how many numbers the network gives.

    Raises:
        RequestError: the nearest cost is more than 2 % away.

    Example:
        >>> matched(NetworkConfig(model="mlp"), "parameters", 100_000, (28, 28, 1), 10).hidden
        110
    """
    found = _nearest(config, kind, wanted, image_shape, outputs)
    reached = getattr(cost(models.build(found, image_shape, outputs), image_shape), kind)
    if abs(reached / wanted - 1) > TOLERANCE:
        raise RequestError(
            f"{kind}={wanted:,}: the nearest that {config.model} with pooling={config.pooling!r} can reach is"
            f" {reached:,}, more than {TOLERANCE:.0%} away; another width may do"
        )
    return found


def _nearest(config: NetworkConfig, kind: str, wanted: int, image_shape: Shape, outputs: int) -> NetworkConfig:
    """The width whose cost is nearest; cost grows with it, so bisection finds it."""
    dense = config.model == "mlp" or config.blocks == 0
    finest = 1 if dense else 16  # widths in sixteenths of a channel

    def candidate(steps: int) -> NetworkConfig:
        if dense:
            return dataclasses.replace(config, hidden=steps)
        return dataclasses.replace(config, width=steps / finest)

    def value(steps: int) -> int:
        return getattr(cost(models.build(candidate(steps), image_shape, outputs), image_shape), kind)

    low, high = finest, 2 * finest
    while value(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if value(middle) < wanted else (low, middle)
    return candidate(min((low, high), key=lambda steps: abs(value(steps) - wanted)))
