"""The measured networks built of the layers of plain Flax Linen, and of PyTorch, as their documentation teaches.

Neither library has ghost batch normalisation: their networks then have batch normalisation, which is what others would
take. Libraries are imported inside the functions, so that the process of one side does not load another's.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.problems import CLASSES, Problem

if TYPE_CHECKING:
    import flax.linen
    import torch


def groups(channels: int) -> int:
    """The groups of group normalisation, as this project counts them."""
    from cnn.network import normalization

    return normalization.groups(channels)


def flax_network(problem: Problem, precision: str) -> "flax.linen.Module":
    """The network of Linen's own layers; parameters are float32 in either precision."""
    from flax import linen

    settings = problem.network

    def norm(x: Any) -> Any:
        kind = settings.normalization
        if kind in ("batch", "ghost"):
            return linen.BatchNorm(use_running_average=False, momentum=0.9, dtype=precision)(x)
        if kind in ("group", "layer"):
            count = groups(x.shape[-1]) if kind == "group" else 1
            return linen.GroupNorm(num_groups=count, dtype=precision)(x)
        return x

    def conv(x: Any, width: int, size: int = 3, stride: int = 1, padding: Any = "SAME") -> Any:
        return linen.Conv(width, (size, size), (stride, stride), padding, dtype=precision)(x)

    def dense(x: Any, width: int) -> Any:
        return linen.Dense(width, dtype=precision)(x)

    def convnet(x: Any) -> Any:
        pools: dict[str, Callable[..., Any]] = {"max": linen.max_pool, "average": linen.avg_pool}
        for width in problem.widths:
            for number in range(1, settings.convolutions + 1):
                halves = settings.pooling == "stride" and number == settings.convolutions
                x = linen.relu(norm(conv(x, width, stride=2 if halves else 1)))
            if settings.pooling in pools:
                x = pools[settings.pooling](x, window_shape=(2, 2), strides=(2, 2))
        if settings.head == "average":
            return dense(x.mean((1, 2)), CLASSES)
        return dense(linen.relu(dense(x.reshape(len(x), -1), settings.hidden)), CLASSES)

    def resnet(x: Any) -> Any:
        x = linen.relu(norm(conv(x, problem.widths[0])))
        for index, width in enumerate(problem.widths):
            stride = 2 if index else 1
            skip = norm(conv(x, width, 1, stride)) if stride > 1 or x.shape[-1] != width else x
            y = linen.relu(norm(conv(x, width, stride=stride, padding=1)))  # as PyTorch and this project pad
            x = linen.relu(norm(conv(y, width)) + skip)
        return dense(x.mean((1, 2)), CLASSES)

    def lenet5(x: Any) -> Any:
        import jax.numpy as jnp

        x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
        for width in (6, 16):
            x = linen.relu(conv(x, width, 5, padding="VALID"))
            x = linen.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape(len(x), -1)
        for width in (120, 84):
            x = linen.relu(dense(x, width))
        return dense(x, CLASSES)

    forward = {"convnet": convnet, "resnet": resnet, "lenet5": lenet5}[settings.model]

    class Network(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            return forward(x)

    return Network()


def torch_network(problem: Problem) -> "torch.nn.Module":
    """The network of PyTorch's own layers."""
    builders = {"convnet": _torch_convnet, "resnet": _torch_resnet, "lenet5": _torch_lenet5}
    return builders[problem.network.model](problem)


def _torch_norm(kind: str, channels: int) -> "list[torch.nn.Module]":
    from torch import nn

    if kind in ("batch", "ghost"):
        return [nn.BatchNorm2d(channels)]
    if kind in ("group", "layer"):
        return [nn.GroupNorm(groups(channels) if kind == "group" else 1, channels)]
    return []


def _torch_convnet(problem: Problem) -> "torch.nn.Module":
    from torch import nn

    settings = problem.network
    pools: dict[str, Callable[[], nn.Module]] = {
        "max": functools.partial(nn.MaxPool2d, 2),
        "average": functools.partial(nn.AvgPool2d, 2),
    }
    layers: list[nn.Module] = []
    channels = problem.image_shape[2]
    for width in problem.widths:
        for number in range(1, settings.convolutions + 1):
            halves = settings.pooling == "stride" and number == settings.convolutions
            layers.append(nn.Conv2d(channels, width, 3, stride=2 if halves else 1, padding=1))
            layers += [*_torch_norm(settings.normalization, width), nn.ReLU()]
            channels = width
        if settings.pooling in pools:
            layers.append(pools[settings.pooling]())
    if settings.head == "average":
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    height, width = (size // 2**settings.blocks for size in problem.image_shape[:2])
    hidden = settings.hidden
    head = [nn.Flatten(), nn.Linear(height * width * channels, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES)]
    return nn.Sequential(*layers, *head)


def _torch_resnet(problem: Problem) -> "torch.nn.Module":
    from torch import nn

    kind = problem.network.normalization

    class Residual(nn.Module):
        def __init__(self, channels: int, width: int, stride: int) -> None:
            super().__init__()
            first = [nn.Conv2d(channels, width, 3, stride, 1), *_torch_norm(kind, width), nn.ReLU()]
            self.branch = nn.Sequential(*first, nn.Conv2d(width, width, 3, 1, 1), *_torch_norm(kind, width))
            projects = stride > 1 or channels != width
            skip = [nn.Conv2d(channels, width, 1, stride), *_torch_norm(kind, width)] if projects else [nn.Identity()]
            self.skip = nn.Sequential(*skip)

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return nn.functional.relu(self.branch(x) + self.skip(x))

    first = problem.widths[0]
    layers = [nn.Conv2d(problem.image_shape[2], first, 3, padding=1), *_torch_norm(kind, first), nn.ReLU()]
    channels = first
    for index, width in enumerate(problem.widths):
        layers.append(Residual(channels, width, 2 if index else 1))
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def _torch_lenet5(problem: Problem) -> "torch.nn.Module":
    from torch import nn

    return nn.Sequential(
        *(nn.Conv2d(problem.image_shape[2], 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES)),
    )
