"""Pooling: layers that summarise a window by one number, and the ways in which a block halves height and width.

One more way takes an edit of this file alone: a subclass of `Pool`, and its line in `POOLINGS`.

Example:
    >>> import jax.numpy as jnp
    >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> MaxPool(2).apply({}, x).reshape(2, 2).tolist(), GlobalAvgPool().apply({}, x).tolist()
    ([[5.0, 7.0], [13.0, 15.0]], [[7.5]])
"""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
from jax import Array

from cnn.network import ops
from cnn.network.forms import PLAIN, Forms
from cnn.network.geometry import Pair, Window, output_size, pair
from cnn.network.layers import Layer, Shape


class Pool(Layer):
    """Windows that touch: the image's height and width divided by `size`, rounded down."""

    size: int | Pair = 2
    pictured: ClassVar[bool] = True

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return *output_size(shape[:2], self.size, pair(self.size, "size")), shape[2]

    @nn.nowrap
    def window(self, shape: Shape) -> Window:
        return pair(self.size, "size"), pair(self.size, "size"), 0


class MaxPool(Pool):
    """`ops.max_pool2d`; it has no parameters."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return forms.max_pool2d(x, self.size)


class AvgPool(Pool):
    """`ops.avg_pool2d`; it has no parameters."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return forms.avg_pool2d(x, self.size)


class GlobalAvgPool(Layer):
    """The mean of each channel over the whole image, as one row (Lin et al. 2014, "Network in network", 3.2).

    It has no parameters.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return ops.flatten(forms.avg_pool2d(x, x.shape[1:3]))

    @nn.nowrap
    def output_shape(self, shape: Shape) -> Shape:
        return shape[2:]


@dataclass(frozen=True)
class Pooling:
    """How a block halves height and width: by a layer at its end, or by a convolution that moves by two cells."""

    layer: type[Layer] | None = None  # the layer; None: the last convolution of the block moves by two cells
    convolutions: int = 0  # how many convolutions stand in the place of the layer

    @property
    def smallest_filter(self) -> int:
        """The smallest filter with which a block can halve: one that moves by two cells must not skip any."""
        return 2 if self.layer is None else 1


POOLINGS: dict[str, Pooling] = {
    "max": Pooling(MaxPool),
    "average": Pooling(AvgPool),
    "stride": Pooling(),
    "convolution": Pooling(convolutions=1),  # Springenberg et al. 2015, section 2
}
