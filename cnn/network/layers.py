"""Flax modules over `ops`: the layers of a network, each of which knows its shape and its cost as integers.

A layer is called as `layer(x, train, forms)`: `train` says whether dropout and batch normalisation are in training, and
`forms` which form of each operation the layer computes with (`cnn.network.forms`). A block is a layer made of layers.
Its `flow` says once how they follow one another. The forward pass, the table, the chain of sizes, receptive fields and
matched widths all derive from it.

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
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnn.network import ops
from cnn.network.forms import PLAIN, Forms
from cnn.network.geometry import Padding, Pair, Sides, Window, output_size, pair, receptive_field

Shape = tuple[int, ...]  # of one image or row, without the batch axis: (height, width, channels) or (features,)


class Signal(NamedTuple):
    """What flows from one layer to the next, for one image."""

    shape: Shape
    windows: tuple[Window, ...] | None = ()  # of each layer from the image on; None: a unit sees the whole image
    source: str = ""  # the name of the layer that it comes from, as the table has it; empty for the image


Value = TypeVar("Value", Array, Signal)  # what may flow through a block


class Layer(nn.Module):
    """What every layer has; the defaults are those of a layer without parameters that works cell by cell."""

    pictured: ClassVar[bool] = False  # whether pictures of a network show this layer's output

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer, for one image."""
        return shape

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        """The number of trainable parameters, for an input of this shape."""
        return 0

    @nn.nowrap
    def multiply_accumulates(self, shape: Shape) -> int:
        """Multiplications with a weight in the forward pass of one image (convolutions and dense layers)."""
        return 0

    @nn.nowrap
    def window(self, shape: Shape) -> Window:
        """Filter, stride and padding: which cells of an input of this shape lie under an output cell."""
        return (1, 1), (1, 1), 0

    @nn.nowrap
    def images_together(self) -> int:
        """How many images the layer computes with at once in training; a micro-batch is a multiple of it."""
        return 1

    @nn.nowrap
    def by_image(self) -> bool:
        """Whether what it computes for an image in training depends on no other image of the batch."""
        return True

    @nn.nowrap
    def visits(self, *inputs: Signal, name: str = "") -> list["Visit"]:
        """This layer with its input and output; for a block, those of each layer inside.

        Args:
            inputs: the signals that reach the layer; all but `Add` have one.
            name: the name of the layer, as the table has it.
        """
        after = self.after(*inputs)._replace(source=name)
        return [Visit(name, self, inputs[0], after, tuple(signal.source for signal in inputs))]

    @nn.nowrap
    def after(self, *inputs: Signal) -> Signal:
        """The signal that leaves the layer. Once the axes of the image are gone, a unit sees the whole image."""
        shape = self.output_shape(inputs[0].shape)
        before = inputs[0].windows
        return Signal(shape, None if before is None or len(shape) != 3 else (*before, self.window(inputs[0].shape)))

    @nn.nowrap
    def named_outputs(self, *inputs: Array, train: bool, forms: Forms) -> tuple[Array, dict[str, Array]]:
        """The layer's output, and beside it every intermediate by its name."""
        y = self(*inputs, train=train, forms=forms)
        return y, {str(self.name): y}


class Visit(NamedTuple):
    """One layer of a network, with the signals before and after it."""

    name: str  # as in the table: `block1/conv1`
    layer: Layer
    before: Signal
    after: Signal
    sources: tuple[str, ...]  # the names of the layers that reach it; empty for the image


class Block(Layer):
    """A layer made of layers. A subclass says in `flow` how they follow one another."""

    @nn.nowrap
    def flow(self, start: Value, step: Callable[..., Value]) -> Value:
        """Send something through the layers.

        Args:
            start: what reaches the block: an array, or a signal.
            step: `step(layer, *inputs)` gives what leaves a layer.
        """
        raise NotImplementedError

    @nn.compact
    def __call__(
        self, x: Array, train: bool = False, forms: Forms = PLAIN, intermediates: bool = False
    ) -> Array | tuple[Array, dict[str, Array]]:
        """The last layer's output; with `intermediates` also every layer's, by its name (`block1/conv1`)."""
        seen: dict[str, Array] = {}

        def step(layer: Layer, *inputs: Array) -> Array:
            y, inside = layer.named_outputs(*inputs, train=train, forms=forms)
            seen.update(inside)
            return y

        y = self.flow(x, step)
        return (y, seen) if intermediates else y

    @nn.nowrap
    def named_outputs(self, *inputs: Array, train: bool, forms: Forms) -> tuple[Array, dict[str, Array]]:
        y, inside = self(inputs[0], train=train, forms=forms, intermediates=True)
        return y, {f"{self.name}/{name}": value for name, value in inside.items()}

    @nn.nowrap
    def visits(self, *inputs: Signal, name: str = "") -> list[Visit]:
        visits: list[Visit] = []

        def step(layer: Layer, *inputs: Signal) -> Signal:
            visits.extend(layer.visits(*inputs, name=f"{name}/{layer.name}" if name else str(layer.name)))
            return visits[-1].after

        self.flow(inputs[0], step)
        return visits

    @nn.nowrap
    def after(self, *inputs: Signal) -> Signal:
        return self.visits(*inputs)[-1].after

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return self.after(Signal(shape)).shape

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        return sum(visit.layer.parameters(visit.before.shape) for visit in self.visits(Signal(shape)))

    @nn.nowrap
    def multiply_accumulates(self, shape: Shape) -> int:
        return sum(visit.layer.multiply_accumulates(visit.before.shape) for visit in self.visits(Signal(shape)))


class Chain(Block):
    """Layers one after another: a network, and most of its blocks."""

    @nn.nowrap
    def layers(self) -> list[Layer]:
        """The layers in order, each with a name of its own."""
        raise NotImplementedError

    @nn.nowrap
    def flow(self, start: Value, step: Callable[..., Value]) -> Value:
        for layer in self.layers():
            start = step(layer, start)
        return start


def _as_image(parameter: Array, x: Array) -> Array:
    """A parameter in the precision of the image; where pixels are integers, the parameter keeps its own precision."""
    return parameter.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else parameter


class Conv(Layer):
    """`ops.conv2d` with a learned kernel, initialised for the ReLU after it (He et al. 2015, equation 10), and bias."""

    features: int
    filter_size: int | Pair = 3
    stride: int | Pair = 1
    padding: Padding = "SAME"

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        shape = (*pair(self.filter_size, "filter_size"), x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return forms.conv2d(x, _as_image(kernel, x), _as_image(bias, x), stride=self.stride, padding=self.padding)

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
    def window(self, shape: Shape) -> Window:
        return pair(self.filter_size, "filter_size"), pair(self.stride, "stride"), self.padding


class Relu(Layer):
    """`max(x, 0)` (Nair and Hinton 2010)."""

    pictured: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return nn.relu(x)


class Add(Layer):
    """The sum of two signals of one shape, cell by cell: a branch and the skip connection around it.

    A cell of the sum sees what a cell of either signal sees. The wider of the two windows must contain the other.
    """

    @nn.compact
    def __call__(self, x: Array, skip: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return x + skip

    @nn.nowrap
    def after(self, *inputs: Signal) -> Signal:
        return max(inputs, key=_reach)


def _reach(signal: Signal) -> float:
    """How far a cell of the signal sees: the cells of its receptive field on both axes."""
    return math.inf if signal.windows is None else sum(receptive_field(window[:2] for window in signal.windows))


class ZeroPad(Layer):
    """Zeros around the image until each axis has at least `size` cells; an odd one goes to the bottom and the right."""

    size: int = 32

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return jnp.pad(x, ((0, 0), *self.sides(x.shape[1:]), (0, 0)))

    @nn.nowrap
    def sides(self, shape: Shape) -> Sides:
        """How many cells are added: `((top, bottom), (left, right))`."""
        height, width = (max(self.size - cells, 0) for cells in shape[:2])
        return (height // 2, height - height // 2), (width // 2, width - width // 2)

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return max(shape[0], self.size), max(shape[1], self.size), shape[2]

    @nn.nowrap
    def window(self, shape: Shape) -> Window:
        return (1, 1), (1, 1), self.sides(shape)


class Permute(Layer):
    """The image's cells in another order, the same for every image, so that neighbours are no longer neighbours."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        n, height, width, channels = x.shape
        order = np.random.default_rng(0).permutation(height * width)
        return x.reshape(n, height * width, channels)[:, order].reshape(x.shape)


class Flatten(Layer):
    """`ops.flatten`: the image as one row."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return ops.flatten(x)

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


class Dense(Layer):
    """`ops.dense` with a learned kernel and bias; `gain` is the kernel's variance times its inputs: 2 before a ReLU."""

    features: int
    gain: float = 2.0

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        init = nn.initializers.variance_scaling(self.gain, "fan_in", "truncated_normal")
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return forms.dense(x, _as_image(kernel, x), _as_image(bias, x))

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return *shape[:-1], self.features

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        return (shape[-1] + 1) * self.features

    @nn.nowrap
    def multiply_accumulates(self, shape: Shape) -> int:
        return math.prod(shape) * self.features


class Dropout(Layer):
    """While training, each unit is 0 with probability `rate`; the others keep the mean (Srivastava et al. 2014).

    An image's mask depends on its place in the batch alone, not on how the batch is divided.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        if not train:
            return x
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self.make_rng("dropout"), forms.positions(len(x)))
        dropout = nn.Dropout(self.rate, deterministic=False)
        return jax.vmap(lambda image, key: dropout(image, rng=key))(x, keys)
