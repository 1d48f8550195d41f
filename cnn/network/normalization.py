"""Normalisation: layers that bring what they see to mean 0 and variance 1, times a learned scale plus a learned shift.

One more kind takes an edit of this file alone: a subclass of `Layer`, and its line in `NORMALIZATIONS`.

Example:
    >>> import jax, jax.numpy as jnp
    >>> layer, x = LayerNorm(), jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> y = layer.apply(layer.init(jax.random.key(0), x), x)
    >>> abs(y.mean().item()) < 1e-5, layer.parameters((4, 4, 1))
    (True, 2)
"""

from typing import ClassVar

import flax.linen as nn
from jax import Array

from cnn.network.forms import PLAIN, Forms
from cnn.network.layers import Layer, Shape


class _Norm(Layer):
    """A scale and a shift for each channel."""

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        return 2 * shape[-1]


class BatchNorm(_Norm):
    """Batch normalisation (Ioffe and Szegedy 2015): each channel over all images of the batch.

    Outside training it uses running means and variances, the collection `batch_stats`.
    """

    mixes_images: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=x.dtype, name="norm")(x)


class LayerNorm(_Norm):
    """Layer normalisation (Ba et al. 2016): each image over all its cells and channels."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return nn.LayerNorm(reduction_axes=tuple(range(1, x.ndim)), dtype=x.dtype, name="norm")(x)


NORMALIZATIONS: dict[str, type[Layer] | None] = {"none": None, "batch": BatchNorm, "layer": LayerNorm}


def normalization(kind: str, name: str) -> list[Layer]:
    """The layer that normalises, under a name; empty for the kind `none`."""
    layer = NORMALIZATIONS[kind]
    return [] if layer is None else [layer(name=name)]
