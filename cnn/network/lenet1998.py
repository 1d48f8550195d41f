"""LeNet-5 as it was published: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11), section II-B. `models.LeNet5` is the network as it is taught today.

The layers carry the paper's names. Beside its parameters, each layer knows its connections, which the paper counts too.

Example:
    >>> import jax, jax.numpy as jnp
    >>> network = LeNet5_1998(classes=10)
    >>> network.parameters((28, 28, 1)), network.connections((28, 28, 1))
    (60000, 340908)
    >>> variables = network.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    >>> logits, seen = network.apply(variables, jnp.ones((1, 28, 28, 1)), intermediates=True)
    >>> logits.shape, seen["c3"].shape
    ((1, 10), (1, 10, 10, 16))
"""

import math
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnn.errors import RequestError, require
from cnn.network import ops
from cnn.network.forms import PLAIN, Forms
from cnn.network.geometry import Padding, Pair, pair
from cnn.network.layers import Chain, Conv, Layer, Shape, Signal, ZeroPad
from cnn.network.pooling import AvgPool

# Table I: a row for each map of S2, a column for each map of C3, and X where the two are connected.
TABLE_I = (
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
)

# Figure 3, the digits 0 to 9: the drawing that F6 should give for each class. The bars above 0, 2, 4 and 5 stand in the
# figure too.
DIGITS = (
    """
    .#####.  ...##..  .#####.  #######  .#####.
    .......  ..###..  .......  .....##  .......
    ..###..  .####..  .#####.  ....##.  .......
    .##.##.  ...##..  ##...##  ...##..  .##..##
    ##...##  ...##..  #....##  ..####.  .##..##
    ##...##  ...##..  ....##.  .....##  ###..##
    ##...##  ...##..  ..###..  .....##  ##...##
    ##...##  ...##..  .##....  .....##  ##...##
    .##.##.  ...##..  ##.....  ##...##  ##..###
    ..###..  .######  #######  .#####.  .######
    .......  .......  .......  .......  .....##
    .......  .......  .......  .......  .....##
    """,
    """
    .#####.  ..####.  #######  .#####.  .#####.
    .......  .##....  .....##  ##...##  ##..###
    #######  ##.....  .....##  ##...##  ##...##
    ##.....  ##.....  ....##.  ##...##  ##...##
    ##.....  ######.  ...##..  .#####.  ##..###
    .####..  ###..##  ...##..  ##...##  .######
    ..####.  ##...##  ..##...  ##...##  .....##
    .....##  ##...##  ..##...  ##...##  .....##
    ##...##  ###..##  ..##...  ##...##  ....##.
    .#####.  .#####.  ..##...  .#####.  .####..
    .......  .......  .......  .......  .......
    .......  .......  .......  .......  .......
    """,
)


def _pixels(drawings: tuple[str, str]) -> np.ndarray:
    """1 for ink and -1 for paper, each digit row by row: [10, 84]."""
    digits = [
        digit for half in drawings for digit in zip(*(line.split() for line in half.strip().split("\n")), strict=True)
    ]
    return np.array([[1 if cell == "#" else -1 for cell in "".join(digit)] for digit in digits], np.float32)


CONNECTED = np.array([list(row) for row in TABLE_I]) == "X"  # [6, 16]
BITMAPS = _pixels(DIGITS)  # [10, 84]


def _fan_in_uniform(fan_in: int | np.ndarray) -> Callable[[Array, Shape], Array]:
    """Uniform within 2.4 / fan_in on both sides of 0 (appendix A); `fan_in` may differ along the last axis."""

    def init(key: Array, shape: Shape) -> Array:
        bound = np.broadcast_to(np.float32(2.4) / np.asarray(fan_in, np.float32), shape)
        return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

    return init


class CountedLayer(Layer):
    """A layer that also knows the number of its connections."""

    @nn.nowrap
    def connections(self, shape: Shape) -> int:
        """Connections for one image, as the paper counts: each cell's inputs, and its bias where it has one."""
        return 0


class EdgePad(CountedLayer, ZeroPad):
    """The edge repeated around the image until each axis has `size` cells, so that the paper around a digit goes on.

    An odd cell goes to the bottom and the right. Integer pixels become float32.

    Raises:
        RequestError: an image larger than `size`.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        self.output_shape(x.shape[1:])  # refuses what is too large
        x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)
        for axis, (before, after) in enumerate(self.sides(x.shape[1:]), start=1):
            first = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
            last = jax.lax.slice_in_dim(x, x.shape[axis] - 1, x.shape[axis], axis=axis)
            x = jnp.concatenate([*[first] * before, x, *[last] * after], axis=axis)
        return x

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        if max(shape[:2]) > self.size:
            raise RequestError(f"lenet5_1998: a {shape[0]}x{shape[1]} image: must be at most {self.size}x{self.size}")
        return self.size, self.size, shape[2]


class Squash(CountedLayer):
    """`1.7159 tanh(2/3 x)` (equation 6 and appendix A): it keeps -1 and 1, and bends the most there."""

    pictured: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return 1.7159 * jnp.tanh(2 / 3 * x)


class Convolution(CountedLayer, Conv):
    """C1, C5 and F6: every map sees every map before it. F6, fully connected to 120 maps of one cell, is 1x1."""

    filter_size: int | Pair = 5
    padding: Padding = "VALID"

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        shape = (*pair(self.filter_size, "filter_size"), x.shape[-1], self.features)
        init = _fan_in_uniform(math.prod(shape[:3]))
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", init, shape[3:])
        return forms.conv2d(x, kernel.astype(x.dtype), bias.astype(x.dtype), stride=self.stride, padding=self.padding)

    @nn.nowrap
    def connections(self, shape: Shape) -> int:
        return self.multiply_accumulates(shape) + math.prod(self.output_shape(shape))


class SparseConvolution(Convolution):
    """C3: each map sees only those maps of S2 that Table I gives it, so that the maps of C3 come to differ.

    The kernel holds a filter for each X of the table, in reading order: [5, 5, 60]. The forward pass sets them into a
    kernel [5, 5, 6, 16] whose other filters are 0. Those zeros are no parameters, and do not count as work.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        size = pair(self.filter_size, "filter_size")
        inputs, maps = np.nonzero(CONNECTED)
        fan_in = math.prod(size) * CONNECTED.sum(0)
        filters = self.param("kernel", _fan_in_uniform(fan_in[maps]), (*size, len(maps)))
        bias = self.param("bias", _fan_in_uniform(fan_in), fan_in.shape)
        kernel = jnp.zeros((*size, *CONNECTED.shape), x.dtype).at[:, :, inputs, maps].set(filters.astype(x.dtype))
        return forms.conv2d(x, kernel, bias.astype(x.dtype), stride=self.stride, padding=self.padding)

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        return math.prod(pair(self.filter_size, "filter_size")) * int(CONNECTED.sum()) + self.features

    @nn.nowrap
    def multiply_accumulates(self, shape: Shape) -> int:
        return (self.parameters(shape) - self.features) * math.prod(self.output_shape(shape)[:2])


class Subsampling(CountedLayer, AvgPool):
    """S2 and S4: the sum of each 2x2 window, times a coefficient of its map, plus a bias of its map."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        inputs = math.prod(pair(self.size, "size"))
        shape = x.shape[-1:]
        init = _fan_in_uniform(inputs)
        coefficient = self.param("coefficient", init, shape)
        bias = self.param("bias", init, shape)
        total = inputs * forms.avg_pool2d(x, self.size)
        return total * coefficient.astype(x.dtype).reshape(1, 1, 1, -1) + bias.astype(x.dtype).reshape(1, 1, 1, -1)

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        return 2 * shape[2]

    @nn.nowrap
    def multiply_accumulates(self, shape: Shape) -> int:
        return math.prod(self.output_shape(shape))

    @nn.nowrap
    def connections(self, shape: Shape) -> int:
        return (math.prod(pair(self.size, "size")) + 1) * math.prod(self.output_shape(shape))


class RadialBasis(CountedLayer):
    """The output: minus the squared distance of F6 to each digit's bitmap (equation 7), as logits.

    The paper's penalties are minus these logits. The bitmaps are fixed, so the layer has no parameters. Each connection
    costs one multiplication: of its difference with itself.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        difference = ops.flatten(x)[:, None, :] - BITMAPS.reshape(1, *BITMAPS.shape)
        return -jnp.square(difference).sum(-1).astype(x.dtype)  # float32: a bfloat16 sum would lose the small addends

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return (len(BITMAPS),)

    @nn.nowrap
    def multiply_accumulates(self, shape: Shape) -> int:
        return BITMAPS.size

    @nn.nowrap
    def connections(self, shape: Shape) -> int:
        return BITMAPS.size


class LeNet5_1998(Chain):
    """LeNet-5 of the paper: 60,000 parameters and 340,908 connections for a grey image.

    Images smaller than 32x32 are padded. `rejection_logit` is -j of the loss (equation 9): the discriminative criterion
    is the softmax cross-entropy over the ten classes and one more, "none of them", whose penalty j is a constant. The
    paper gives no value for j. 10 lies below 12, the penalty of an answer midway between 6 and 8, which have the most
    similar bitmaps. On MNIST's validation images the values 1 to 20 did equally well, and 40 and 100 worse.

    Raises:
        RequestError: the number of classes is not ten, or (from `output_shape` on) the image is larger than 32x32.

    Example:
        >>> LeNet5_1998(classes=26)
        Traceback (most recent call last):
        cnn.errors.RequestError: classes=26: must be 10, the digits that the output layer has bitmaps of
    """

    classes: int
    rejection_logit: ClassVar[float] = -10.0

    def __post_init__(self) -> None:
        accepted = f"{len(BITMAPS)}, the digits that the output layer has bitmaps of"
        require(self.classes == len(BITMAPS), "classes", self.classes, accepted)
        super().__post_init__()

    @nn.nowrap
    def layers(self) -> list[Layer]:
        return [
            EdgePad(32, name="pad"),  # [32, 32, channels]
            Convolution(6, name="c1"),  # [28, 28, 6]
            Squash(name="c1_squash"),
            Subsampling(name="s2"),  # [14, 14, 6]
            Squash(name="s2_squash"),
            SparseConvolution(16, name="c3"),  # [10, 10, 16]
            Squash(name="c3_squash"),
            Subsampling(name="s4"),  # [5, 5, 16]
            Squash(name="s4_squash"),
            Convolution(120, name="c5"),  # [1, 1, 120]
            Squash(name="c5_squash"),
            Convolution(84, 1, name="f6"),  # [1, 1, 84]
            Squash(name="f6_squash"),
            RadialBasis(name="output"),  # [10]
        ]

    @nn.nowrap
    def connections(self, shape: Shape) -> int:
        """Connections of the whole network for one image, as the paper counts them.

        The journal prints 156,000 for C3 and 345,308 for the network. The authors' preprint has 151,600, which is 1,516
        parameters at 10x10 places, and 340,908.
        """
        return sum(visit.layer.connections(visit.before.shape) for visit in self.visits(Signal(shape)))
