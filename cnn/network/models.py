"""The networks, each one sequence of layers from an image to one logit for each class.

Example:
    >>> import jax, jax.numpy as jnp
    >>> network = build(NetworkConfig(blocks=2), image_shape=(28, 28, 1), classes=10)
    >>> variables = network.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    >>> logits, seen = network.apply(variables, jnp.ones((1, 28, 28, 1)), intermediates=True)
    >>> logits.shape, seen["block1/pool"].shape
    ((1, 10), (1, 14, 14, 32))
"""

import dataclasses

import flax.linen as nn

from cnn.config import BlockConfig, ConvNetConfig, NetworkConfig, RequestError, require_known
from cnn.network.geometry import blocks_that_fit, chain, format_size
from cnn.network.layers import (
    Conv,
    ConvReluPool,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool,
    Permute,
    Relu,
    Sequence,
    Shape,
    ZeroPad,
)
from cnn.network.lenet1998 import LeNet5_1998


class ConvNet(Sequence):
    """CONV-RELU-POOL, `blocks` times, a dense layer with ReLU, and the logits; 0 blocks is the plain dense network.

    Block i (from 0) has `width * growth**i` channels, rounded. A width need not be whole, so that later blocks can be
    matched to a cost more closely.
    """

    classes: int
    blocks: int = 2
    width: float = 32
    growth: float = 2.0
    filter_size: int = 3
    convolutions: int = 1
    pooling: str = "max"
    normalization: str = "none"
    bottleneck: float = 0.0
    dropout: float = 0.0
    hidden: int = 128
    permute: bool = False

    @nn.nowrap
    def layers(self) -> list[Layer]:
        sequence: list[Layer] = [Permute(name="permute")] if self.permute else []
        channels = 0  # the image's are too few to reduce
        for index in range(self.blocks):
            features = max(round(self.width * self.growth**index), 1)
            reduce = max(round(channels * self.bottleneck), 1) if channels and self.bottleneck else 0
            settings = (self.filter_size, self.convolutions, self.pooling, self.normalization, reduce)
            sequence.append(ConvReluPool(features, *settings, name=f"block{index + 1}"))
            channels = features
        return [*sequence, Flatten(name="flatten"), *_dense_head((self.hidden,), self.dropout, self.classes)]


class LeNet5(Sequence):
    """LeNet-5 as it is taught today: ReLU, max pooling, full connections; 61,706 parameters for grey digits.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2, gives the sizes. Smaller
    images are padded with zeros to its 32x32.
    """

    classes: int

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
        return [*convolutions, Flatten(name="flatten"), *_dense_head((120, 84), 0.0, self.classes)]


class MLP(Sequence):
    """Dense layers alone: the image flattened, two hidden layers with ReLU, the logits."""

    classes: int
    hidden: int = 128
    dropout: float = 0.0
    permute: bool = False

    @nn.nowrap
    def layers(self) -> list[Layer]:
        first: list[Layer] = [Permute(name="permute")] if self.permute else []
        return [*first, Flatten(name="flatten"), *_dense_head((self.hidden, self.hidden), self.dropout, self.classes)]


def _dense_head(hidden: tuple[int, ...], dropout: float, classes: int) -> list[Layer]:
    sequence: list[Layer] = []
    for number, features in enumerate(hidden, start=1):
        sequence += [Dense(features, name=f"dense{number}"), Relu(name=f"dense{number}_relu")]
        if dropout > 0:
            sequence.append(Dropout(dropout, name=f"dropout{number}"))
    return [*sequence, Dense(classes, gain=1.0, name="logits")]


def _convnet(config: NetworkConfig, classes: int) -> ConvNet:
    shared = [field.name for field in dataclasses.fields(BlockConfig)]
    return ConvNet(classes, config.blocks, **{name: getattr(config, name) for name in shared})


MODELS = {
    "convnet": _convnet,
    "lenet5": lambda config, classes: LeNet5(classes),
    "lenet5_1998": lambda config, classes: LeNet5_1998(classes),
    "mlp": lambda config, classes: MLP(classes, config.hidden, config.dropout, config.permute),
}


SETTINGS = {  # of `NetworkConfig`, those that a model uses
    "convnet": tuple(field.name for field in dataclasses.fields(ConvNetConfig)),
    "lenet5": (),
    "lenet5_1998": (),
    "mlp": ("hidden", "dropout", "permute"),
}


def build(config: NetworkConfig, image_shape: Shape, classes: int) -> Sequence:
    """The network that the settings name, checked against the image it will see.

    Args:
        config: model and settings.
        image_shape: `(height, width, channels)`.
        classes: how many logits.

    Raises:
        RequestError: an unknown model, an image or a number of classes that it does not take, or more blocks than the
        image can be halved; the message shows the chain of sizes.

    Example:
        >>> build(NetworkConfig(blocks=5), (28, 28, 1), 10)
        Traceback (most recent call last):
        cnn.config.RequestError: blocks=5: a 28 image fits at most 4: 28 -> 14 -> 7 -> 3 -> 1 -> 0
    """
    require_known("model", config.model, MODELS)
    size = image_shape[:2]
    if config.model == "convnet" and config.blocks > blocks_that_fit(size):
        sizes = " -> ".join(map(format_size, chain(size)))
        raise RequestError(
            f"blocks={config.blocks}: a {format_size(size)} image fits at most {blocks_that_fit(size)}: {sizes}"
        )
    network = MODELS[config.model](config, classes)
    network.output_shape(image_shape)  # an image larger than the network takes is refused here
    return network
