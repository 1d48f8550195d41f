"""The networks, each a chain of layers from an image to its outputs, and the registry of models.

Example:
    >>> import jax, jax.numpy as jnp
    >>> network = build(NetworkConfig(blocks=2), image_shape=(28, 28, 1), outputs=10)
    >>> variables = network.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    >>> logits, seen = network.apply(variables, jnp.ones((1, 28, 28, 1)), intermediates=True)
    >>> logits.shape, seen["block1/pool"].shape
    ((1, 10), (1, 14, 14, 32))
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn

from cnn.config import NetworkConfig
from cnn.errors import RequestError, require, require_known
from cnn.network.blocks import ConvReluPool, Residual, convolution
from cnn.network.geometry import Pair, blocks_that_fit, chain, format_size
from cnn.network.heads import HEADS, average_head, dense_head
from cnn.network.layers import Chain, Conv, Layer, Permute, Relu, Shape, ZeroPad
from cnn.network.lenet1998 import LeNet5_1998
from cnn.network.normalization import NORMALIZATIONS
from cnn.network.pooling import POOLINGS, MaxPool


class ConvNet(Chain):
    """CONV-RELU-POOL, `blocks` times, and the head that the settings name; 0 blocks is the plain dense network.

    Block i (from 0) has `width * growth**i` channels, rounded. A width need not be whole, so that later blocks can be
    matched to a cost more closely.
    """

    settings: NetworkConfig
    outputs: int

    @nn.nowrap
    def layers(self) -> list[Layer]:
        sequence = _permutation(self.settings)
        channels = 0  # the image has too few channels to reduce
        for index in range(self.settings.blocks):
            share = self.settings.bottleneck
            reduce = max(round(channels * share), 1) if channels and share else 0
            channels = _channels(self.settings, index)
            sequence.append(ConvReluPool(channels, self.settings, reduce, name=f"block{index + 1}"))
        return [*sequence, *HEADS[self.settings.head].layers(self.settings, self.outputs)]


class Stack(Chain):
    """Blocks of one kind: a first convolution, `blocks` blocks, the mean of each channel, the logits.

    He et al. 2016, "Deep residual learning for image recognition", section 4.2, describe such a network of residual
    blocks for CIFAR-10, with several blocks at each of three sizes. Here each block but the first halves height and
    width, half a cell rounded up, and multiplies the channels by `growth`.
    """

    settings: NetworkConfig
    outputs: int
    block: Callable[..., Layer]  # from features, stride, settings and a name

    @nn.nowrap
    def layers(self) -> list[Layer]:
        first = Conv(_channels(self.settings, 0), self.settings.filter_size, name="conv1")
        sequence = [*convolution(first, self.settings, "1"), Relu(name="relu1")]
        for index in range(self.settings.blocks):
            features = _channels(self.settings, index)
            stride = 2 if index else 1
            sequence.append(self.block(features, stride, settings=self.settings, name=f"block{index + 1}"))
        return [*sequence, *average_head(self.outputs)]


class LeNet5(Chain):
    """LeNet-5 as it is taught today: ReLU, max pooling, full connections; 61,706 parameters for grey digits.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2, gives the sizes. Smaller
    images are padded with zeros to its 32x32.
    """

    outputs: int

    @nn.nowrap
    def layers(self) -> list[Layer]:
        convolutions = [
            ZeroPad(32, name="pad"),  # [32, 32, channels]
            Conv(6, 5, padding="VALID", name="conv1"),  # [28, 28, 6]
            Relu(name="relu1"),
            MaxPool(2, name="pool1"),  # [14, 14, 6]
            Conv(16, 5, padding="VALID", name="conv2"),  # [10, 10, 16]
            Relu(name="relu2"),
            MaxPool(2, name="pool2"),  # [5, 5, 16]
        ]
        return [*convolutions, *dense_head((120, 84), 0.0, self.outputs)]


class MLP(Chain):
    """Dense layers alone: the image flattened, two hidden layers with ReLU, the logits."""

    settings: NetworkConfig
    outputs: int

    @nn.nowrap
    def layers(self) -> list[Layer]:
        hidden = self.settings.hidden
        head = dense_head((hidden, hidden), self.settings.dropout, self.outputs)
        return [*_permutation(self.settings), *head]


def _channels(settings: NetworkConfig, index: int) -> int:
    """The channels of block `index`, counted from 0."""
    return max(round(settings.width * settings.growth**index), 1)


def _permutation(settings: NetworkConfig) -> list[Layer]:
    return [Permute(name="permute")] if settings.permute else []


class Size(NamedTuple):
    """A setting that changes what a model costs; a larger value never costs less. Its smallest value is 1."""

    setting: str  # a field of `NetworkConfig`
    step: float  # the smallest change that is tried


WIDTH = Size("width", 1 / 16)
HIDDEN = Size("hidden", 1)


@dataclass(frozen=True)
class Model:
    """What the project knows of a model beside its layers."""

    build: Callable[[NetworkConfig, Shape, int], Chain]  # from settings, image shape and number of outputs
    settings: tuple[str, ...] = ()  # the fields of `NetworkConfig` that it can use, beside `model`; see `used`
    sizes: Callable[[NetworkConfig], tuple[Size, ...]] | None = None  # from the coarsest; None: its cost is fixed
    rejection_logit: float | None = None  # of "none of the classes", a constant that the loss counts
    features: Callable[[NetworkConfig], str] | None = None  # the layer that describes an image; None: nobody asks
    only_classifies: bool = False  # whether its outputs mean classes, so that it cannot locate objects


def _convnet(config: NetworkConfig, image_shape: Shape, outputs: int) -> Chain:
    _require_fit(config.blocks, blocks_that_fit(image_shape[:2]), chain(image_shape[:2]))
    return ConvNet(config, outputs)


def _convnet_sizes(config: NetworkConfig) -> tuple[Size, ...]:
    return tuple(size for size in (WIDTH, HIDDEN) if size.setting in used(config) and (config.blocks or size is HIDDEN))


def stack_of(block: Callable[..., Layer]) -> Model:
    """The registry's entry of a `Stack` of such blocks.

    Args:
        block: `block(features, stride, settings=..., name=...)` gives a layer, such as `blocks.Residual`.
    """

    def build(config: NetworkConfig, image_shape: Shape, outputs: int) -> Chain:
        sizes = chain(image_shape[:2], up=True)
        _require_fit(config.blocks, len(sizes), sizes)  # the first block keeps the size
        return Stack(config, outputs, block)

    return Model(
        build,
        settings=("blocks", "width", "growth", "filter_size", "normalization", "ghost_batch"),
        sizes=lambda config: (WIDTH,),
        features=lambda config: "pool",
    )


def _require_fit(blocks: int, most: int, sizes: list[Pair]) -> None:
    if blocks > most:
        halved = " -> ".join(map(format_size, sizes))
        height, width = sizes[0]
        raise RequestError(f"blocks={blocks}: an image of {height}x{width} fits at most {most} blocks: {halved}")


MODELS: dict[str, Model] = {
    "convnet": Model(
        _convnet,
        settings=(
            *("blocks", "width", "growth", "filter_size", "convolutions", "bottleneck"),
            *("pooling", "normalization", "ghost_batch", "head", "dropout", "hidden", "permute"),
        ),
        sizes=_convnet_sizes,
        features=lambda config: HEADS[config.head].features,
    ),
    "lenet5": Model(lambda config, image_shape, outputs: LeNet5(outputs)),
    "lenet5_1998": Model(
        lambda config, image_shape, outputs: LeNet5_1998(outputs),
        rejection_logit=LeNet5_1998.rejection_logit,
        only_classifies=True,
    ),
    "mlp": Model(
        lambda config, image_shape, outputs: MLP(config, outputs),
        settings=("dropout", "hidden", "permute"),
        sizes=lambda config: (HIDDEN,),
    ),
    "resnet": stack_of(Residual),
}


def choices() -> dict[str, tuple[str, ...]]:
    """The known names of each setting that is a name, for `--help`.

    Example:
        >>> choices()["normalization"]
        ('none', 'batch', 'ghost', 'group', 'layer')
    """
    return {
        "model": tuple(MODELS),
        "pooling": tuple(POOLINGS),
        "normalization": tuple(NORMALIZATIONS),
        "head": tuple(HEADS),
    }


def known(name: str) -> Model:
    """The model of that name.

    Raises:
        RequestError: there is none; the message lists the known ones and the nearest.

    Example:
        >>> known("mlp").settings
        ('dropout', 'hidden', 'permute')
    """
    require_known("model", name, MODELS)
    return MODELS[name]


def used(config: NetworkConfig) -> tuple[str, ...]:
    """The settings that the network uses, beside `model`: those of its model, but for those of another head or kind.

    Raises:
        RequestError: the model, the head or the normalisation is unknown.

    Example:
        >>> set(used(NetworkConfig())) - set(used(NetworkConfig(head="average"))) == {"dropout", "hidden"}
        True
    """
    settings = known(config.model).settings
    others: set[str] = set()
    if "head" in settings:
        require_known("head", config.head, HEADS)
        others |= {name for head in HEADS.values() for name in head.settings} - set(HEADS[config.head].settings)
    if "normalization" in settings:
        require_known("normalization", config.normalization, NORMALIZATIONS)
        others |= {"ghost_batch"} if config.normalization != "ghost" else set()
    return tuple(name for name in settings if name not in others)


def check_names(config: NetworkConfig) -> None:
    """Refuse settings that no image could suit: unknown names, a filter too small for the pooling, nothing to average.

    Raises:
        RequestError: the model, the pooling, the normalisation or the head is unknown; a convolution would skip cells;
        or there are too few blocks for the head.

    Example:
        >>> check_names(NetworkConfig(filter_size=1, pooling="stride"))
        Traceback (most recent call last):
        cnn.errors.RequestError: filter_size=1: must be at least 2 with pooling='stride'
    """
    for setting, names in choices().items():
        require_known(setting, getattr(config, setting), names)
    settings = MODELS[config.model].settings
    if "head" in settings:
        least = HEADS[config.head].least_blocks
        able = ", ".join(name for name, head in HEADS.items() if head.least_blocks <= config.blocks)
        accepted = f"at least {least} with head={config.head!r}; heads that take {config.blocks} blocks: {able}"
        require(config.blocks >= least, "blocks", config.blocks, accepted)
    if "pooling" in settings:
        smallest = POOLINGS[config.pooling].smallest_filter
        fits = config.filter_size >= smallest
        require(fits, "filter_size", config.filter_size, f"at least {smallest} with pooling={config.pooling!r}")


def build(config: NetworkConfig, image_shape: Shape, outputs: int) -> Chain:
    """The network that the settings name, checked against the image that it will see.

    Args:
        config: model and settings.
        image_shape: `(height, width, channels)`.
        outputs: how many numbers the network gives for an image; for a classifier, how many classes there are.

    Raises:
        RequestError: a name is unknown, the model does not take the image or the number of outputs, or the image cannot
        be halved so often; the message then shows the chain of sizes.

    Example:
        >>> build(NetworkConfig(blocks=5), (28, 28, 1), 10)
        Traceback (most recent call last):
        cnn.errors.RequestError: blocks=5: an image of 28x28 fits at most 4 blocks: 28 -> 14 -> 7 -> 3 -> 1 -> 0
    """
    check_names(config)
    network = MODELS[config.model].build(config, image_shape, outputs)
    network.output_shape(image_shape)  # refuses an image that is larger than the network takes
    return network
