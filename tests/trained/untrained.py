"""A network that has learned nothing, and what it makes of random images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cnn.config import NetworkConfig, TrialConfig
from cnn.network import models
from cnn.trained.network import Trained

SHAPE = (8, 6, 2)
MEAN = np.array([100.0, 20.0], np.float32)
DEVIATION = np.array([50.0, 7.0], np.float32)


def random_images(count, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def some_variables(network, x):
    """Kernels drawn by NumPy: to compile what initialises a network takes seconds. All else as a network starts."""
    generator = np.random.default_rng(0)

    def draw(path, leaf):
        if leaf.ndim > 1:
            return generator.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape).astype(np.float32)
        return np.full(leaf.shape, path[-1].key in ("scale", "var", "coefficient"), np.float32)

    shapes = jax.eval_shape(network.init, jax.random.key(0), x)
    return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(draw, shapes))


@functools.cache
def make(**settings):
    config = TrialConfig("random", network=NetworkConfig(**{"blocks": 2, "width": 4, "hidden": 5} | settings))
    variables = some_variables(models.build(config.network, SHAPE, 3), jnp.ones((1, *SHAPE)))
    return Trained(config, variables, MEAN, DEVIATION, SHAPE, ("a", "b", "c"), 3)


@functools.cache
def outputs_at_once(**settings):
    """Every layer's output for 300 images in one batch."""
    trained = make(**settings)
    x = jnp.asarray((random_images(300).astype(np.float32) - MEAN) / DEVIATION)
    return jax.jit(lambda x: trained.network.apply(trained.variables, x, intermediates=True)[1])(x)
