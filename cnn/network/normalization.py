"""Normalisation: layers that bring what they see to mean 0 and variance 1, times a learned scale plus a learned shift.

The kinds differ in what shares a mean and a variance, and `Shared` says what does. One more kind takes an edit of
this file alone: a subclass of `Layer`, and its line in `NORMALIZATIONS`.

Example:
    >>> import jax, jax.numpy as jnp
    >>> layer, x = LayerNorm(), jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> y = layer.apply(layer.init(jax.random.key(0), x), x)
    >>> abs(y.mean().item()) < 1e-5, layer.parameters((4, 4, 1))
    (True, 2)
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnn.config import NetworkConfig
from cnn.errors import require
from cnn.network.forms import PLAIN, Forms
from cnn.network.layers import Layer, Shape
from cnn.network.spread import HERE, Spread

EPSILON = 1e-5  # added to a variance
MOMENTUM = 0.9  # what a running statistic keeps of its value in a step
MOST_GROUPS = 32  # Wu and He 2018, table 3
LEAST_CHANNELS = 4  # of a group; with one channel the layer would be instance normalisation, which learns worse there


class Shared(NamedTuple):
    """What shares one mean and one variance."""

    parts: int  # into which the images are divided; each has statistics of its own
    groups: int  # into which the channels are divided; each has statistics of its own
    joined: Spread | None = None  # where the rest of the batch lies, if the part is the whole batch


class Moments(NamedTuple):
    """For each part and channel, [parts, channels]: the mean, and one divided by the standard deviation."""

    mean: Array
    inverse: Array

    @classmethod
    def of(cls, mean: Array, variance: Array) -> "Moments":
        """The moments for a mean and a variance."""
        return cls(mean, jax.lax.rsqrt(variance + EPSILON))


def _sums(x: Array, y: Array) -> tuple[Array, Array]:
    """Sums of `x` and of `x * y` over the cells, [parts, cells, channels] to [parts, channels]."""
    ones = jnp.ones(x.shape[:2])
    return _over_cells(ones, x), _over_cells(ones, x * y)


def _over_cells(ones: Array, x: Array) -> Array:
    # As a product with ones: XLA's sum takes up to 25 times as long on a CPU where there is one part.
    return jnp.einsum("pr,prc->pc", ones, x, precision="highest")


def _means(sums: tuple[Array, Array], cells: int, shared: Shared) -> tuple[Array, Array]:
    """Two sums over cells, [parts, channels], as means over everything that shares statistics, at each channel."""
    parts, channels = sums[0].shape
    if shared.joined is not None:
        total = shared.joined.sum(jnp.concatenate([*sums, jnp.full((parts, 1), cells, jnp.float32)], axis=1))
        return total[:, :channels] / total[:, -1:], total[:, channels:-1] / total[:, -1:]
    if shared.groups == channels:
        return sums[0] / cells, sums[1] / cells
    group = np.arange(channels) // (channels // shared.groups)
    same = (group[:, None] == group).astype(np.float32) / (cells * channels // shared.groups)
    return jnp.matmul(sums[0], same, precision="highest"), jnp.matmul(sums[1], same, precision="highest")


def _apply(x: Array, scale: Array, bias: Array, moments: Moments) -> Array:
    factor = moments.inverse * scale[None]
    return x * factor[:, None] + (bias[None] - moments.mean * factor)[:, None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def standardize(x: Array, scale: Array, bias: Array, shared: Shared) -> Array:
    """Bring images to mean 0 and variance 1, then multiply each channel by its scale and add its bias.

    The variance is the mean of squares less the square of the mean, both float32, so that one pass over the image gives
    both. The gradient is the closed form of Ioffe and Szegedy 2015, section 3: two more sums and one more pass.

    Args:
        x: float32 [parts, cells, channels], where `cells` counts those of all images of a part.
        scale, bias: [channels].
        shared: what shares a mean and a variance.

    Example:
        >>> standardize(jnp.array([[[1.0], [3.0]]]), jnp.ones(1), jnp.zeros(1), Shared(1, 1)).round(3).tolist()
        [[[-1.0], [1.0]]]
    """
    return _standardize_forward(x, scale, bias, shared)[0]


def _standardize_forward(
    x: Array, scale: Array, bias: Array, shared: Shared
) -> tuple[Array, tuple[Array, Array, Moments]]:
    mean, square = _means(_sums(x, x), x.shape[1], shared)
    zero = jnp.float32(0)  # an integer would be float64 to jax2onnx, which replaces `jnp.maximum` by its own
    moments = Moments.of(mean, jnp.maximum(square - mean * mean, zero))
    return _apply(x, scale, bias, moments), (x, scale, moments)


def _standardize_backward(
    shared: Shared, kept: tuple[Array, Array, Moments], gradient: Array
) -> tuple[Array, Array, Array]:
    x, scale, (mean, inverse) = kept
    centred = x - mean[:, None]
    by_bias, product = _sums(gradient, centred)
    by_scale = product * inverse
    first, second = _means((by_bias * scale[None], by_scale * scale[None]), x.shape[1], shared)
    by_x = gradient * (inverse * scale[None])[:, None]
    by_x -= centred * (inverse**2 * second)[:, None] + (inverse * first)[:, None]
    # The barrier: on a CPU, XLA would compute `by_x` again inside the sum that is the gradient of the bias before.
    return jax.lax.optimization_barrier(by_x), by_scale.sum(0), by_bias.sum(0)


standardize.defvjp(_standardize_forward, _standardize_backward)


class _Standardize(nn.Module):
    """A scale and a shift for each channel, and, where `running` says so, running statistics, in `batch_stats`.

    The statistics follow the mean and the variance of the whole batch, whatever its parts.
    """

    running: bool = False

    @nn.compact
    def __call__(self, x: Array, shared: Shared, train: bool, spread: Spread = HERE) -> Array:
        channels = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        scale, bias = (parameter.astype(jnp.float32) for parameter in (scale, bias))
        cells = x.astype(jnp.float32).reshape(shared.parts, -1, *channels)
        if not self.running:
            return standardize(cells, scale, bias, shared).reshape(x.shape).astype(x.dtype)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        variance = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        if not train:
            y = _apply(cells, scale, bias, Moments.of(mean.value[None], variance.value[None]))
            return y.reshape(x.shape).astype(x.dtype)
        if not self.is_initializing():
            fixed = jax.lax.stop_gradient(cells)
            sums = tuple(values.sum(0, keepdims=True) for values in _sums(fixed, fixed))
            now, square = _means((sums[0], sums[1]), x.size // x.shape[-1], Shared(1, *channels, spread))
            mean.value = MOMENTUM * mean.value + (1 - MOMENTUM) * now[0]
            variance.value = MOMENTUM * variance.value + (1 - MOMENTUM) * jnp.maximum(square - now**2, 0)[0]
        return standardize(cells, scale, bias, shared).reshape(x.shape).astype(x.dtype)


class _Norm(Layer):
    """A scale and a shift for each channel."""

    @nn.nowrap
    def parameters(self, shape: Shape) -> int:
        return 2 * shape[-1]


class _BatchNorm(_Norm):
    """It computes with several images at once."""

    @nn.nowrap
    def by_image(self) -> bool:
        return False


class BatchNorm(_BatchNorm):
    """Batch normalisation (Ioffe and Szegedy 2015): each channel over all images of the batch.

    Outside training it uses running means and variances, the collection `batch_stats`.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return _Standardize(running=True, name="norm")(x, Shared(1, x.shape[-1], forms.spread), train, forms.spread)


class GhostBatchNorm(_BatchNorm):
    """Ghost batch normalisation (Hoffer et al. 2017, algorithm 1): each channel over parts of `ghost_batch` images.

    The parts follow one another in the batch. So the result depends neither on the device nor on how a batch is divided
    into micro-batches of whole parts. By default a part has 16 images, as a micro-batch has that stays in a core's
    cache.

    Outside training the layer uses running statistics, as `BatchNorm` does: the means and the variances of the whole
    batch, which are the same for any parts. The paper averages the variances within the parts instead. These lack the
    variance of the parts' means, so evaluated images would have a variance above 1, while it is 1 in training.

    Raises:
        RequestError: in training, the batch is not a whole number of parts.
    """

    ghost_batch: int = NetworkConfig.ghost_batch

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        parts = 1
        if train:
            require_parts(self.ghost_batch, x.shape[0])
            parts = x.shape[0] // self.ghost_batch
        return _Standardize(running=True, name="norm")(x, Shared(parts, x.shape[-1]), train, forms.spread)

    @nn.nowrap
    def images_together(self) -> int:
        return self.ghost_batch


class GroupNorm(_Norm):
    """Group normalisation (Wu and He 2018): each image over all its cells and a group of its channels.

    See `groups` for their number.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return _Standardize(name="norm")(x, Shared(x.shape[0], groups(x.shape[-1])), train)


class LayerNorm(_Norm):
    """Layer normalisation (Ba et al. 2016): each image over all its cells and channels."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False, forms: Forms = PLAIN) -> Array:
        return _Standardize(name="norm")(x, Shared(x.shape[0], 1), train)


def groups(channels: int) -> int:
    """The number of groups of so many channels: the most that divide them, up to 32, with at least 4 channels in each.

    The paper's networks have 64 channels and more, and 32 groups. With 32 groups of 32 channels each channel would be
    on its own.

    Example:
        >>> [groups(channels) for channels in (128, 64, 32, 20, 7, 1)]
        [32, 16, 8, 5, 1, 1]
    """
    most = min(MOST_GROUPS, channels // LEAST_CHANNELS)
    return next((number for number in range(most, 0, -1) if channels % number == 0), 1)


def require_parts(ghost_batch: int, batch_size: int) -> None:
    """Refuse a batch that is not a whole number of parts.

    Raises:
        RequestError: `ghost_batch` does not divide `batch_size`.
    """
    divides = batch_size % ghost_batch == 0
    require(divides, "ghost_batch", ghost_batch, f"a number of images that divides batch_size={batch_size}")


NORMALIZATIONS: dict[str, Callable[..., Layer] | None] = {
    "none": None,
    "batch": BatchNorm,
    "ghost": GhostBatchNorm,
    "group": GroupNorm,
    "layer": LayerNorm,
}


def normalization(settings: NetworkConfig, name: str) -> list[Layer]:
    """The layer that normalises, under a name; empty for the kind `none`."""
    layer = NORMALIZATIONS[settings.normalization]
    if layer is None:
        return []
    return [layer(settings.ghost_batch, name=name) if layer is GhostBatchNorm else layer(name=name)]
