"""The networks of a sweep in plain Flax Linen, trained by the loop of Flax's examples.

All images are in memory as normalised floats, and NumPy gathers a batch by index. One jitted function takes a step on
the whole batch, with its state donated; it compiles once for each depth, since the learning rate is an argument. The
optimiser is this project's, which is made of Optax's parts. Weights start as Linen's layers start them.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import peer_networks
from benchmarks.peers_mnist import TEST_BATCH_SIZE
from benchmarks.problems import Problem
from cnn.config import SweepConfig
from cnn.data.content import Dataset
from cnn.data.splits import channel_statistics, split
from cnn.training.optimizer import adamw


class Programs(NamedTuple):
    """What is compiled for one depth."""

    start: Callable[[jax.Array], Any]  # from a key: parameters and the optimiser's state
    step: Callable[[Any, float, np.ndarray, np.ndarray], Any]  # from a state, learning rate, images, labels
    right: Callable[[Any, np.ndarray, np.ndarray], jax.Array]  # from parameters, images, labels: how many are right


def programs(problem: Problem, config: SweepConfig, steps: int) -> Programs:
    """The jitted functions of one depth, for a training of `steps` steps."""
    network = peer_networks.flax_network(problem, config.training.precision)
    optimizer = adamw(config.training, steps)

    def logits(params: Any, images: jax.Array) -> jax.Array:
        return jnp.asarray(network.apply({"params": params}, images))

    @jax.jit
    def start(key: jax.Array) -> Any:
        params = network.init(key, jnp.zeros((1, *problem.image_shape)))["params"]
        return params, optimizer(0.0).init(params)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, rate: jax.Array, images: jax.Array, labels: jax.Array) -> Any:
        params, moments = state

        def loss(params: Any) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(logits(params, images), labels).mean()

        updates, moments = optimizer(rate).update(jax.grad(loss)(params), moments, params)
        return optax.apply_updates(params, updates), moments

    @jax.jit
    def right(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        return (logits(params, images).argmax(-1) == labels).sum()

    return Programs(start, step, right)


class FlaxLearner:
    """A learner of `benchmarks.peers_sweep`; the settings are those of the sweep."""

    def __init__(self, config: SweepConfig, data: Dataset) -> None:
        self.config = config
        mean, deviation = channel_statistics(data.train_images)
        self.train_images = (data.train_images - mean) / deviation
        self.test_images = (data.test_images - mean) / deviation
        self.train_labels = data.train_labels
        self.test_labels = data.test_labels
        self.programs = functools.cache(programs)

    def train(self, problem: Problem, rate: float, seed: int) -> float:
        """Train a new network; its validation accuracy after the last epoch."""
        training = self.config.training
        train, validation = split(self.train_labels, self.config.validation_fraction, seed)
        steps = len(train) // training.batch_size  # what is left over waits for another epoch
        start, step, self.right = self.programs(problem, self.config, training.epochs * steps)
        state = start(jax.random.key(seed))
        random = np.random.default_rng(seed)
        accuracy = 0.0
        for _ in range(training.epochs):
            order = random.permutation(train)[: steps * training.batch_size]
            for batch in order.reshape(steps, -1):
                state = step(state, rate, self.train_images[batch], self.train_labels[batch])
            self.params, _ = state
            accuracy = self._accuracy(self.train_images[validation], self.train_labels[validation])
        return accuracy

    def test(self) -> float:
        """The test accuracy of the network that was trained last."""
        return self._accuracy(self.test_images, self.test_labels)

    def _accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        starts = range(0, len(labels), TEST_BATCH_SIZE)
        parts = [slice(first, first + TEST_BATCH_SIZE) for first in starts]
        return sum(int(self.right(self.params, images[part], labels[part])) for part in parts) / len(labels)


def keep_compiled(folder: str) -> None:
    """Keep every compiled program in a folder, by the settings that JAX's guide to its cache gives."""
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
