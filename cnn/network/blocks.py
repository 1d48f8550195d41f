"""The blocks that a network repeats: CONV-RELU-POOL, and the residual block.

A block takes its settings from `NetworkConfig`, where their defaults stand.

Example:
    >>> from cnn.network.layers import Signal
    >>> ConvReluPool(features=8).output_shape((28, 28, 1)), Residual(features=8, stride=2).output_shape((28, 28, 4))
    ((14, 14, 8), (14, 14, 8))
    >>> [visit.name for visit in Residual(features=8).visits(Signal((28, 28, 4)))]
    ['skip', 'conv1', 'relu1', 'conv2', 'sum', 'relu2']
"""

from collections.abc import Callable

import flax.linen as nn

from cnn.config import NetworkConfig
from cnn.network.geometry import Padding, halving_padding, padding_sides
from cnn.network.layers import Add, Block, Chain, Conv, Layer, Relu, Value
from cnn.network.normalization import normalization
from cnn.network.pooling import POOLINGS


def convolution(conv: Conv, settings: NetworkConfig, suffix: str) -> list[Layer]:
    """A convolution, then its normalisation where there is one; `norm` and the suffix name the latter."""
    return [conv, *normalization(settings, f"norm{suffix}")]


class ConvReluPool(Chain):
    """The block of the main question: `convolutions` times CONV and RELU, then POOL, which halves height and width.

    With `pooling="stride"` there is no pooling layer: the last convolution moves by two cells, padded so that the sizes
    are those that pooling gives. With `pooling="convolution"` one more such convolution stands in the place of the
    pooling layer (Springenberg et al. 2015, section 2). `reduce` above 0 puts a 1x1 convolution with that many channels
    in front (Szegedy et al. 2015, section 4): the later ones then read fewer channels.
    """

    features: int
    settings: NetworkConfig = NetworkConfig()
    reduce: int = 0

    @nn.nowrap
    def layers(self) -> list[Layer]:
        pooling = POOLINGS[self.settings.pooling]
        last = self.settings.convolutions + pooling.convolutions
        sequence: list[Layer] = []
        if self.reduce:
            sequence += self._convolution(Conv(self.reduce, 1, name="conv1x1"), "1x1")
        for number in range(1, last + 1):
            halves = pooling.layer is None and number == last
            sequence += self._convolution(self._conv(halves, f"conv{number}"), str(number))
        return sequence if pooling.layer is None else [*sequence, pooling.layer(name="pool")]

    @nn.nowrap
    def _conv(self, halves: bool, name: str) -> Conv:
        size = self.settings.filter_size
        if halves:
            return Conv(self.features, size, stride=2, padding=halving_padding(size, 2), name=name)
        return Conv(self.features, size, name=name)

    @nn.nowrap
    def _convolution(self, conv: Conv, suffix: str) -> list[Layer]:
        return [*convolution(conv, self.settings, suffix), Relu(name=f"relu{suffix}")]


class Residual(Block):
    """Two convolutions, and a skip connection from the block's input to their sum (He et al. 2016, figure 2).

    "Deep residual learning for image recognition", sections 3.3 and 4.2: CONV, RELU, CONV, the sum with the input,
    RELU. Its normalisation follows each convolution, where there is one. Where the block changes the shape, a 1x1
    convolution brings the input to the new shape (equation 2, "projection shortcut"). A block with stride 2 halves
    height and width, half a cell rounded up.
    """

    features: int
    stride: int = 1
    settings: NetworkConfig = NetworkConfig()

    @nn.nowrap
    def flow(self, start: Value, step: Callable[..., Value]) -> Value:
        skip = start
        if self.stride != 1 or start.shape[-1] != self.features:
            skip_conv = Conv(self.features, 1, self.stride, padding="VALID", name="skip")
            for layer in convolution(skip_conv, self.settings, "_skip"):
                skip = step(layer, skip)
        y = start
        for layer in self._branch():
            y = step(layer, y)
        return step(Relu(name="relu2"), step(Add(name="sum"), y, skip))

    @nn.nowrap
    def _branch(self) -> list[Layer]:
        size = self.settings.filter_size
        # Stride 2 is padded like stride 1, so that each filter's window contains the cell that the skip takes.
        padding: Padding = padding_sides("SAME", size, size)
        first = Conv(self.features, size, self.stride, padding, name="conv1")
        second = Conv(self.features, size, 1, padding, name="conv2")
        return [*convolution(first, self.settings, "1"), Relu(name="relu1"), *convolution(second, self.settings, "2")]
