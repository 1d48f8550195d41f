"""The width and the hidden units that give a network a wanted cost.

A model names the settings that change its cost (`Model.sizes`): a ConvNet has a width and, with a dense head, hidden
units; a network of dense layers has hidden units alone. Cost grows with each of them, so bisection finds its value.
Channels are whole numbers. Where no width comes near enough for that reason, hidden units take up the rest.

Example:
    >>> with_cost(NetworkConfig(model="resnet"), "macs", 1_000_000, (8, 8, 1), 10).width
    21.75
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

from cnn.config import LARGEST_SIZE, NetworkConfig
from cnn.errors import RequestError
from cnn.network import models, summary
from cnn.network.layers import Shape
from cnn.network.models import Size

Cost = Callable[[NetworkConfig], int]  # parameters or multiply-accumulates of a network

FARTHEST = 50  # how far from the given width others are tried, where it cannot be matched; each takes 0.1 s
TOLERANCE = 0.02  # how far a matched network's cost may lie from the wanted cost, as a share of it


def with_equal_cost(configs: list[NetworkConfig], kind: str, image_shape: Shape, outputs: int) -> list[NetworkConfig]:
    """Give every network the cost of the last one: by its width, and by its hidden units where that is too coarse.

    Args:
        configs: networks of one model; the last is the reference, and stays as it is.
        kind: `parameters` or `macs`; `width` changes nothing.
        image_shape: `(height, width, channels)`.
        outputs: how many numbers the networks give.

    Returns:
        The settings in the same order, each within 2 % of the last one's cost.

    Raises:
        RequestError: a network cannot come within 2 %; the message names the nearest width of the reference with which
        every network can, as far as one is near.

    Example:
        >>> shallow, deep = with_equal_cost([NetworkConfig(blocks=1), NetworkConfig(blocks=3)], "macs", (28, 28, 1), 10)
        >>> shallow.width, deep.width
        (236.5, 32)
    """
    if kind == "width":
        return configs
    *others, reference = configs
    setting = _sizes(reference)[0].setting
    given = getattr(reference, setting)
    cost = functools.partial(_cost, kind=kind, image_shape=image_shape, outputs=outputs)

    def matched(value: float) -> tuple[list[NetworkConfig], float]:
        """The networks, and the largest difference to the reference's cost, as a share of it."""
        resized = _resized(reference, setting, value)
        wanted = cost(resized)
        nearest = [_nearest(config, cost, wanted) for config in others]
        return [*nearest, resized], max((abs(cost(config) / wanted - 1) for config in nearest), default=0.0)

    networks, error = matched(given)
    if error > TOLERANCE:
        possible = _nearest_possible(setting, given, lambda value: matched(value)[1])
        raise RequestError(
            f"match={kind!r} with {setting}={given}: costs differ by {100 * error:.1f} %, "
            f"more than {100 * TOLERANCE:.0f} %; {possible}"
        )
    return networks


def _nearest_possible(setting: str, given: float, error: Callable[[int], float]) -> str:
    """Which whole number nearest to the given one can be matched, as the end of an error message."""
    reach = min(4 * given, FARTHEST)
    low = max(round(given - reach), 1)
    high = min(round(given + reach), LARGEST_SIZE)
    for other in sorted(range(low, high + 1), key=lambda other: abs(other - given)):
        if error(other) <= TOLERANCE:
            return f"the nearest {setting} that can be matched is {other}"
    return f"no {setting} from {low} to {high} can be matched"


def with_cost(config: NetworkConfig, kind: str, wanted: int, image_shape: Shape, outputs: int) -> NetworkConfig:
    """The same network with the width, the hidden units or both that give it a wanted cost.

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
    cost = functools.partial(_cost, kind=kind, image_shape=image_shape, outputs=outputs)
    nearest = _nearest(config, cost, wanted)
    reached = cost(nearest)
    if abs(reached / wanted - 1) > TOLERANCE:
        settings = " and ".join(size.setting for size in _sizes(config))
        raise RequestError(
            f"{kind}={wanted:,}: the nearest that {config.model} with another {settings} can reach is {reached:,},"
            f" more than {100 * TOLERANCE:.0f} % away"
        )
    return nearest


def equal_parameters(
    network: NetworkConfig, reference: NetworkConfig, image_shape: Shape, outputs: int
) -> NetworkConfig:
    """The network with the width, the hidden units or both that give it the reference's parameters.

    Raises:
        RequestError: the nearest number of parameters is more than 2 % away, or the model's cost is fixed.

    Example:
        >>> equal_parameters(NetworkConfig(model="mlp"), NetworkConfig(blocks=2, width=16), (28, 28, 1), 10).hidden
        206
    """
    wanted = _cost(reference, "parameters", image_shape, outputs)
    return with_cost(network, "parameters", wanted, image_shape, outputs)


def _sizes(config: NetworkConfig) -> tuple[Size, ...]:
    """The settings that change the cost of a network, from the coarsest to the finest."""
    models.check_names(config)
    sizes = models.MODELS[config.model].sizes
    if sizes is None:
        able = ", ".join(name for name, model in models.MODELS.items() if model.sizes)
        raise RequestError(f"model={config.model!r}: its cost is fixed; models that can be matched: {able}")
    return sizes(config)


def _resized(config: NetworkConfig, setting: str, value: float) -> NetworkConfig:
    changed: dict[str, Any] = {setting: value}
    return dataclasses.replace(config, **changed)


def _cost(config: NetworkConfig, kind: str, image_shape: Shape, outputs: int) -> int:
    return getattr(summary.cost(models.build(config, image_shape, outputs), image_shape), kind)


def _nearest(config: NetworkConfig, cost: Cost, wanted: int) -> NetworkConfig:
    """The network whose cost is nearest to the wanted cost, by its width alone where that suffices.

    Otherwise its hidden units change too, at the two widths whose costs enclose the wanted cost. Of the networks that
    come within the tolerance, the one is taken whose hidden units change least.
    """

    def error(network: NetworkConfig) -> float:
        return abs(cost(network) / wanted - 1)

    coarsest, *finer = _sizes(config)
    around = _around(config, coarsest, cost, wanted)
    nearest = min(around, key=error)
    if error(nearest) <= TOLERANCE or not finer:
        return nearest
    refined = [min(_around(each, finer[0], cost, wanted), key=error) for each in around]
    near = [each for each in refined if error(each) <= TOLERANCE]
    if near:
        return min(near, key=lambda each: abs(math.log(each.hidden / config.hidden)))
    return min(refined, key=error)


def _around(config: NetworkConfig, size: Size, cost: Cost, wanted: int) -> tuple[NetworkConfig, NetworkConfig]:
    """The networks just below and just above the wanted cost, found by bisection over whole steps of one setting."""
    setting, step = size

    def candidate(steps: int) -> NetworkConfig:
        return _resized(config, setting, steps * step)

    low = round(1 / step)  # the setting is 1
    most = round(LARGEST_SIZE / step)
    high = 2 * low
    while high < most and cost(candidate(high)) < wanted:
        low = high
        high = min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        if cost(candidate(middle)) < wanted:
            low = middle
        else:
            high = middle
    return candidate(low), candidate(high)
