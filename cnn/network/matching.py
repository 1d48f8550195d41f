"""The width that gives a network a wanted cost.

A network grows by the one setting that its model names (`Model.size`): a ConvNet by its width, a network of dense
layers by its hidden units. Cost grows with that setting, so bisection finds its value.

Example:
    >>> with_cost(NetworkConfig(model="resnet"), "macs", 1_000_000, (8, 8, 1), 10).width
    21.75
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from cnn.config import NetworkConfig
from cnn.errors import RequestError
from cnn.network import models, summary
from cnn.network.layers import Shape
from cnn.network.models import Size

TOLERANCE = 0.02  # how far a matched network's cost may lie from the wanted cost, as a share of it


def with_equal_cost(configs: list[NetworkConfig], kind: str, image_shape: Shape, outputs: int) -> list[NetworkConfig]:
    """Give every depth the cost of the deepest, by changing its width (0 blocks: its hidden units).

    Args:
        configs: networks of one model that differ in their number of blocks alone.
        kind: `parameters` or `macs`; `width` changes nothing.
        image_shape: `(height, width, channels)`.
        outputs: how many numbers the networks give.

    Returns:
        The settings in the same order, each within 2 % of the deepest one's cost.

    Raises:
        RequestError: a depth cannot come within 2 %; the message names the nearest width of the deepest depth with
        which every depth can.

    Example:
        >>> shallow, deep = with_equal_cost([NetworkConfig(blocks=1), NetworkConfig(blocks=3)], "macs", (28, 28, 1), 10)
        >>> shallow.width, deep.width
        (236.5, 32)
    """
    if kind == "width":
        return configs
    deepest = max(configs, key=lambda config: config.blocks)
    setting = _size(deepest).setting
    given = getattr(deepest, setting)

    def candidates(value: float) -> list[NetworkConfig]:
        reference = _resized(deepest, setting, value)
        wanted = _cost(reference, kind, image_shape, outputs)
        return [
            reference if config == deepest else _nearest(config, kind, wanted, image_shape, outputs)
            for config in configs
        ]

    def error(found: list[NetworkConfig]) -> float:
        costs = [_cost(config, kind, image_shape, outputs) for config in found]
        wanted = costs[configs.index(deepest)]
        return max(abs(cost / wanted - 1) for cost in costs)

    found = candidates(given)
    if error(found) <= TOLERANCE:
        return found
    possible = _nearest_possible(setting, given, lambda value: error(candidates(value)))
    raise RequestError(
        f"match={kind!r} with {setting}={given}: costs differ by {error(found):.1%}, more than {TOLERANCE:.0%};"
        f" {possible}"
    )


def _nearest_possible(setting: str, given: float, error: Callable[[int], float]) -> str:
    """Which whole number nearest to the given one can be matched, as the end of an error message."""
    given = round(given)
    for distance in range(4 * given + 1):
        for other in (given - distance, given + distance):
            if other >= 1 and error(other) <= TOLERANCE:
                return f"the nearest {setting} that can be matched is {other}"
    return f"no {setting} up to {5 * given} can be matched"


def with_cost(config: NetworkConfig, kind: str, wanted: int, image_shape: Shape, outputs: int) -> NetworkConfig:
    """The same network with the width (a network of dense layers: hidden units) that gives it a wanted cost.

    Args:
        config: the network.
        kind: `parameters` or `macs`.
        wanted: the cost.
        image_shape: `(height, width, channels)`.
        outputs: how many numbers the network gives.

    Raises:
        RequestError: the nearest cost is more than 2 % away, or the model's cost is fixed.

    Example:
        >>> with_cost(NetworkConfig(model="mlp"), "parameters", 100_000, (28, 28, 1), 10).hidden
        110
    """
    found = _nearest(config, kind, wanted, image_shape, outputs)
    reached = _cost(found, kind, image_shape, outputs)
    if abs(reached / wanted - 1) > TOLERANCE:
        setting = _size(config).setting
        raise RequestError(
            f"{kind}={wanted:,}: the nearest that {config.model} with another {setting} can reach is {reached:,},"
            f" more than {TOLERANCE:.0%} away"
        )
    return found


def equal_parameters(
    network: NetworkConfig, reference: NetworkConfig, image_shape: Shape, outputs: int
) -> NetworkConfig:
    """The network with the width (a network of dense layers: hidden units) that gives it the reference's parameters.

    Raises:
        RequestError: the nearest number of parameters is more than 2 % away, or the model's cost is fixed.

    Example:
        >>> equal_parameters(NetworkConfig(model="mlp"), NetworkConfig(blocks=2, width=16), (28, 28, 1), 10).hidden
        206
    """
    wanted = _cost(reference, "parameters", image_shape, outputs)
    return with_cost(network, "parameters", wanted, image_shape, outputs)


def _size(config: NetworkConfig) -> Size:
    """The setting that changes the cost of a network."""
    models.check_names(config)
    size = models.MODELS[config.model].size
    if size is None:
        able = ", ".join(name for name, model in models.MODELS.items() if model.size)
        raise RequestError(f"model={config.model!r}: its cost is fixed; models that can be matched: {able}")
    return size(config)


def _resized(config: NetworkConfig, setting: str, value: float) -> NetworkConfig:
    changed: dict[str, Any] = {setting: value}
    return dataclasses.replace(config, **changed)


def _cost(config: NetworkConfig, kind: str, image_shape: Shape, outputs: int) -> int:
    return getattr(summary.cost(models.build(config, image_shape, outputs), image_shape), kind)


def _nearest(config: NetworkConfig, kind: str, wanted: int, image_shape: Shape, outputs: int) -> NetworkConfig:
    """The network whose cost is nearest to the wanted cost, found by bisection over whole steps of its size."""
    setting, step = _size(config)

    def candidate(steps: int) -> NetworkConfig:
        return _resized(config, setting, steps * step)

    def cost(steps: int) -> int:
        return _cost(candidate(steps), kind, image_shape, outputs)

    low = round(1 / step)  # the setting is 1
    high = 2 * low
    while cost(high) < wanted:
        low = high
        high = 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if cost(middle) < wanted:
            low = middle
        else:
            high = middle
    return candidate(min((low, high), key=lambda steps: abs(cost(steps) - wanted)))
