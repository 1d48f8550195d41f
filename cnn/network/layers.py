"""Flax modules over `ops`: the layers a network is a sequence of, each with its shape and its cost as integers.

A layer is called as `layer(x, train)`. Beside it stand what the table, the chain of sizes and the matched widths need,
all without touching an array: the shape after it, its parameters and its multiply-accumulates.

Example:
    >>> import jax, jax.numpy as jnp
    >>> conv = Conv(features=6, filter_size=5, padding=2)
    >>> variables = conv.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    >>> conv.apply(variables, jnp.ones((1, 28, 28, 1))).shape, conv.output_shape((28, 28, 1))
    ((1, 28, 28, 6), (28, 28, 6))
    >>> conv.parameters((28, 28, 1)), conv.multiply_accumulates((28, 28, 1))
    (156, 117600)
"""

import math
from collections.abc import Iterator

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnn.network import ops
from cnn.network.geometry import Padding, Pair, Sides, halving_padding, output_size, pair, receptive_field

Shape = tuple[int, ...]  # of one image or row, without the batch axis: (height, width, channels) or (features,)


class Layer(nn.Module):
    """What every layer has; the defaults are those of a layer without parameters that works cell by cell."""

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer, for one image."""
        return shape

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        """Trainable numbers, for an input of this shape."""
        return 0

    @nn.nowrap
    def multiply_accumulates(self, shape: Shape) -> int:
        """Multiplications with a weight in the forward pass of one image (convolutions and dense layers)."""
        return 0

    @nn.nowrap
    def window(self) -> tuple[Pair, Pair]:
        """`(filter, stride)`: the cells under one output cell, and the cells between two."""
        return (1, 1), (1, 1)


class Sequence(Layer):
    """A layer made of layers, one after another: the network itself, and each of its blocks."""

    @nn.nowrap
    def layers(self) -> list[Layer]:
        """The layers in order, each with a name of its own; everything else about the sequence derives from it."""
        raise NotImplementedError

    @nn.compact
    def __call__(
        self, x: Array, train: bool = False, intermediates: bool = False
    ) -> Array | tuple[Array, dict[str, Array]]:
        """The last layer's output; with `intermediates` also every layer's, by its name (`block1/conv1`)."""
        seen: dict[str, Array] = {}
        for layer in self.layers():
            if isinstance(layer, Sequence):
                x, inside = layer(x, train, intermediates=True)
                seen.update({f"{layer.name}/{name}": value for name, value in inside.items()})
            else:
                x = seen[f"{layer.name}"] = layer(x, train)
        return (x, seen) if intermediates else x

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        for layer in self.layers():
            shape = layer.output_shape(shape)
        return shape

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        return sum(layer.parameters(before) for layer, before in self._inputs(shape))

    @nn.nowrap
    def multiply_accumulates(self, shape: Shape) -> int:
        return sum(layer.multiply_accumulates(before) for layer, before in self._inputs(shape))

    @nn.nowrap
    def _inputs(self, shape: Shape) -> Iterator[tuple[Layer, Shape]]:
        for layer in self.layers():
            yield layer, shape
            shape = layer.output_shape(shape)

    @nn.nowrap
    def window(self) -> tuple[Pair, Pair]:
        windows = [layer.window() for layer in self.layers()]
        strides = [math.prod(axis) for axis in zip(*(stride for _, stride in windows))]
        return receptive_field(windows), (strides[0], strides[1])


def _as_image(parameter: Array, x: Array) -> Array:
    """A parameter in the precision of the image; pixels given as integers are computed with in the parameter's own."""
    return parameter.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else parameter


class Conv(Layer):
    """`ops.conv2d` with a learned kernel, initialised for the ReLU after it (He et al. 2015, equation 10), and bias."""

    features: int
    filter_size: int | Pair = 3
    stride: int | Pair = 1
    padding: Padding = "SAME"

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        shape = (*pair(self.filter_size, "filter_size"), x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return ops.conv2d(x, _as_image(kernel, x), _as_image(bias, x), stride=self.stride, padding=self.padding)

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return *output_size(shape[:2], self.filter_size, self.stride, self.padding), self.features

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        return (math.prod(pair(self.filter_size, "filter_size")) * shape[2] + 1) * self.features

    @nn.nowrap
    def multiply_accumulates(self, shape: Shape) -> int:
        return math.prod(pair(self.filter_size, "filter_size")) * shape[2] * math.prod(self.output_shape(shape))

    @nn.nowrap
    def window(self) -> tuple[Pair, Pair]:
        return pair(self.filter_size, "filter_size"), pair(self.stride, "stride")


class _Pool(Layer):
    """Windows that touch: the image's height and width divided by `size`, rounded down."""

    size: int | Pair = 2

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return *output_size(shape[:2], self.size, pair(self.size, "size")), shape[2]

    @nn.nowrap
    def window(self) -> tuple[Pair, Pair]:
        return pair(self.size, "size"), pair(self.size, "size")


class MaxPool(_Pool):
    """`ops.max_pool2d`; it has no parameters."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        return ops.max_pool2d(x, self.size)


class AvgPool(_Pool):
    """`ops.avg_pool2d`; it has no parameters."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        return ops.avg_pool2d(x, self.size)


class Relu(Layer):
    """`max(x, 0)` (Nair and Hinton 2010)."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        return nn.relu(x)


class ZeroPad(Layer):
    """Zeros around the image until each axis has at least `size` cells; an odd one goes to the bottom and the right."""

    size: int = 32

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        return jnp.pad(x, ((0, 0), *self.sides(x.shape[1:]), (0, 0)))

    @nn.nowrap
    def sides(self, shape: Shape) -> Sides:
        """How many cells are added: `((top, bottom), (left, right))`."""
        height, width = (max(self.size - cells, 0) for cells in shape[:2])
        return (height // 2, height - height // 2), (width // 2, width - width // 2)

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return max(shape[0], self.size), max(shape[1], self.size), shape[2]


class Permute(Layer):
    """The image's cells in another order, always the same one; what is near in the image is near no more."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        n, height, width, channels = x.shape
        order = np.random.default_rng(0).permutation(height * width)
        return x.reshape(n, height * width, channels)[:, order].reshape(x.shape)


class Flatten(Layer):
    """`ops.flatten`: the image as one row."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        return ops.flatten(x)

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


class Dense(Layer):
    """`ops.dense` with a learned kernel and bias; `gain` is the kernel's variance times its inputs: 2 before a ReLU."""

    features: int
    gain: float = 2.0

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        init = nn.initializers.variance_scaling(self.gain, "fan_in", "truncated_normal")
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return ops.dense(x, _as_image(kernel, x), _as_image(bias, x))

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return *shape[:-1], self.features

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        return (shape[-1] + 1) * self.features

    @nn.nowrap
    def multiply_accumulates(self, shape: Shape) -> int:
        return math.prod(shape) * self.features


class Normalize(Layer):
    """Batch normalisation (Ioffe and Szegedy 2015) or layer normalisation over the whole image (Ba et al. 2016)."""

    kind: str

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        if self.kind == "batch":
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=x.dtype, name="norm")(x)
        return nn.LayerNorm(reduction_axes=tuple(range(1, x.ndim)), dtype=x.dtype, name="norm")(x)

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        return 2 * shape[-1]


class Dropout(Layer):
    """While training, each unit is 0 with probability `rate`; the others keep the mean (Srivastava et al. 2014)."""

    rate: float

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        return nn.Dropout(self.rate, deterministic=not train)(x)


class ConvReluPool(Sequence):
    """The block of the main question: `convolutions` times CONV and RELU, then POOL, which halves height and width.

    With `pooling="stride"` there is no pooling layer: the last convolution moves by two cells, padded so that the sizes
    are those that pooling gives. With `pooling="convolution"` one more convolution does so in the place of the pooling
    layer (Springenberg et al. 2015, section 2). `reduce` above 0 puts a 1x1 convolution with that many channels in
    front (Szegedy et al. 2015, section 4): the later ones then read fewer channels.
    """

    features: int
    filter_size: int = 3
    convolutions: int = 1
    pooling: str = "max"
    normalization: str = "none"
    reduce: int = 0

    @nn.nowrap
    def layers(self) -> list[Layer]:
        sequence: list[Layer] = []
        if self.reduce:
            sequence += self._convolution(self.reduce, 1, 1, "SAME", "1x1")
        extra = self.pooling == "convolution"
        for number in range(1, self.convolutions + 1 + extra):
            halves = (self.pooling == "stride" or extra) and number == self.convolutions + extra
            stride, padding = (2, halving_padding(self.filter_size, 2)) if halves else (1, "SAME")
            sequence += self._convolution(self.features, self.filter_size, stride, padding, str(number))
        if self.pooling in ("max", "average"):
            sequence.append({"max": MaxPool, "average": AvgPool}[self.pooling](name="pool"))
        return sequence

    @nn.nowrap
    def _convolution(self, features: int, filter_size: int, stride: int, padding: Padding, name: str) -> list[Layer]:
        normalize = [] if self.normalization == "none" else [Normalize(self.normalization, name=f"norm{name}")]
        conv = Conv(features, filter_size, stride, padding, name=f"conv{name}")
        return [conv, *normalize, Relu(name=f"relu{name}")]
