"""A network that has learned: uint8 images in, outputs and activations out.

Example, a network that has not been trained:
    >>> from cnn.config import NetworkConfig
    >>> from cnn.network import forms, models
    >>> network = models.build(NetworkConfig(blocks=1, width=4), (8, 8, 1), outputs=3)
    >>> scale = (np.zeros(1, np.float32), np.ones(1, np.float32))
    >>> variables = jax.jit(network.init)(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    >>> trained = Trained(network, variables, *scale, (8, 8, 1), ("a", "b", "c"), seed=0, forms=forms.PLAIN)
    >>> images = np.zeros((5, 8, 8, 1), np.uint8)
    >>> trained.outputs(images).shape, trained.features("flatten", images).shape
    ((5, 3), (5, 64))
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from cnn import machine
from cnn.data import preprocess
from cnn.data.batches import padded, stream
from cnn.errors import require, require_known
from cnn.network import summary
from cnn.network.forms import Forms
from cnn.network.layers import Chain, Shape

BATCH_SIZE = 128  # larger batches leave the cache of a CPU and are slower


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with its learned weights, and the scale of the pixels that it learned with."""

    network: Chain
    variables: Any  # what `network.apply` takes: `{"params": ...}` and, with batch normalisation, `batch_stats`
    mean: Float[Array | np.ndarray, " c"]  # of each channel, in pixel units
    deviation: Float[Array | np.ndarray, " c"]
    image_shape: Shape
    class_names: tuple[str, ...]
    seed: int
    forms: Forms  # which form of each operation the layers compute with
    precision: str = "float32"  # of images, activations and weights in use, as in training

    def outputs(self, images: UInt8[np.ndarray, "n height width c"]) -> Float[np.ndarray, "n outputs"]:
        """The network's output for each image, in float32: for a classifier a logit for each class.

        The images are normalised here. They run in batches of 128, a thread for each core, since a CPU does not keep
        its cores busy with one batch.

        Raises:
            RequestError: the images have another shape than those that the network learned from.
        """
        none = np.zeros((0, *self.network.output_shape(self.image_shape)), np.float32)
        return np.concatenate([none, *self._in_batches(_outputs, images)])

    def activations(self, layer: str, images: UInt8[np.ndarray, "n height width c"]) -> Iterator[np.ndarray]:
        """A layer's output for all images, batch by batch, since that of a whole data set may not fit in memory.

        Args:
            layer: the name of a layer, as in the network's table: `block1/conv1`, `flatten`.
            images: normalised here, on the device.

        Returns:
            An iterator over arrays float32 [batch, ...], in the order of the images, each image once.

        Raises:
            RequestError: the network has no layer of that name, or the images have another shape than those that the
            network learned from.
        """
        require_known("layer", layer, [row.name for row in summary.rows(self.network, self.image_shape)])
        return self._in_batches(functools.partial(_layer_output, layer), images)

    def features(self, layer: str, images: UInt8[np.ndarray, "n height width c"]) -> Float[np.ndarray, "n d"]:
        """A layer's output as one row for each image; arguments and errors are those of `activations`."""
        return np.concatenate([batch.reshape(len(batch), -1) for batch in self.activations(layer, images)])

    def with_initial_weights(self) -> "Trained":
        """The same network before training, with the weights that its seed gave it: random filters."""
        image = jnp.zeros((1, *self.image_shape), jnp.float32)
        return dataclasses.replace(self, variables=dict(self.network.init(stream(self.seed, "init"), image)))

    def _in_batches(self, compute: Callable[..., Array], images: np.ndarray) -> Iterator[np.ndarray]:
        shape = images.shape[1:]
        require(shape == tuple(self.image_shape), "images", shape, f"of shape {tuple(self.image_shape)}")
        indices, masks = padded(np.arange(len(images)), BATCH_SIZE)

        def batch(indices: np.ndarray, mask: np.ndarray) -> np.ndarray:
            y = compute(
                self.network, self.forms, self.precision, self.variables, images[indices], self.mean, self.deviation
            )
            return np.asarray(y)[: mask.sum()]

        return _in_threads(batch, zip(indices, masks, strict=True))


def _in_threads(function: Callable[..., np.ndarray], rows: Iterator[tuple[Any, ...]]) -> Iterator[np.ndarray]:
    """`function(*row)` of each row, in order, a thread for each core; only a few results wait to be taken."""
    count = machine.cores()
    waiting: collections.deque[Future[np.ndarray]] = collections.deque()
    with ThreadPoolExecutor(count) as threads:
        for row in rows:
            waiting.append(threads.submit(function, *row))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def forward(
    network: Chain, forms: Forms, precision: str, variables: Any, images: Array, mean: Array, deviation: Array
) -> Float[Array, "batch outputs"]:
    """The outputs of a network for uint8 images, which are normalised here; the evaluation of training uses it too."""
    x = preprocess.normalize(images, mean, deviation, precision)
    return jnp.asarray(network.apply(_in_use(variables, precision), x, forms=forms), jnp.float32)


_outputs = jax.jit(forward, static_argnums=(0, 1, 2))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _layer_output(
    layer: str,
    network: Chain,
    forms: Forms,
    precision: str,
    variables: Any,
    images: Array,
    mean: Array,
    deviation: Array,
) -> Array:
    x = preprocess.normalize(images, mean, deviation, precision)
    output = network.apply(_in_use(variables, precision), x, forms=forms, intermediates=True)[1][layer]
    return jnp.asarray(output, jnp.float32)


def _in_use(variables: dict[str, Any], precision: str) -> dict[str, Any]:
    """The variables with parameters in the precision that the layers compute in; statistics stay as they are."""
    params = jax.tree.map(lambda leaf: leaf.astype(precision), variables["params"])
    return {**variables, "params": params}
