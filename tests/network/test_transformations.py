"""Every operation under every transformation of JAX: vmap, jit, bfloat16; and the reach of a NaN."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cnn.network import ops
from tests.network.helpers import FORMS, whole_numbers

pytestmark = pytest.mark.thorough

CPU = FORMS["cpu"]
FUNCTIONS = {
    "conv2d": (lambda x, k, b: ops.conv2d(x, k, b, stride=2, padding=1), [(2, 5, 4, 2), (3, 3, 2, 3), (3,)]),
    "conv2d-cpu": (lambda x, k, b: CPU.conv2d(x, k, b, stride=2, padding=1), [(2, 5, 4, 2), (3, 3, 2, 3), (3,)]),
    "max-touching": (lambda x: ops.max_pool2d(x, 2), [(2, 5, 4, 2)]),
    "max-touching-cpu": (lambda x: CPU.max_pool2d(x, 2), [(2, 5, 4, 2)]),
    "max-overlapping": (lambda x: ops.max_pool2d(x, 3, 2, 1), [(2, 5, 4, 2)]),
    "avg-touching": (lambda x: ops.avg_pool2d(x, 2), [(2, 5, 4, 2)]),
    "avg-overlapping": (lambda x: ops.avg_pool2d(x, 3, 2, 1, count_include_pad=False), [(2, 5, 4, 2)]),
    "dense": (ops.dense, [(2, 3), (3, 4), (4,)]),
    "flatten": (ops.flatten, [(2, 3, 2, 2)]),
}
EVERY_FUNCTION = pytest.mark.parametrize(("function", "shapes"), FUNCTIONS.values(), ids=FUNCTIONS.keys())


def squares_and_gradients(function, *arguments):
    every = tuple(range(len(arguments)))
    return function(*arguments), jax.grad(lambda *each: (function(*each) ** 2).sum(), every)(*arguments)


@EVERY_FUNCTION
def test_vmap_is_a_loop(function, shapes):
    """Over replicas: each has its own image, kernel and bias."""
    both = functools.partial(squares_and_gradients, function)
    stacked = [jnp.asarray(array) for array in whole_numbers(7, *((3, *shape) for shape in shapes))]
    found = jax.jit(jax.vmap(both))(*stacked)
    single = jax.jit(both)
    looped = [single(*(array[replica] for array in stacked)) for replica in range(3)]
    jax.tree.map(lambda a, *b: assert_allclose(a, np.stack(b), rtol=1e-6, atol=1e-6), found, *looped)


@EVERY_FUNCTION
def test_jit_is_eager(function, shapes):
    arguments = [jnp.asarray(array) for array in whole_numbers(9, *shapes)]
    assert_allclose(jax.jit(function)(*arguments), function(*arguments), rtol=1e-6, atol=1e-6)


@EVERY_FUNCTION
def test_bfloat16_stays_bfloat16(function, shapes):
    generator = np.random.default_rng(10)
    arguments = [jnp.asarray(generator.normal(size=shape), jnp.bfloat16) for shape in shapes]
    found = jax.jit(functools.partial(squares_and_gradients, function))(*arguments)
    expected = jax.jit(functools.partial(squares_and_gradients, function))(
        *(argument.astype(jnp.float32) for argument in arguments)
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(expected)} == {jnp.dtype(jnp.float32)}
    jax.tree.map(lambda a, b: assert_allclose(a.astype(jnp.float32), b, rtol=0.03, atol=0.06), found, expected)


@EVERY_FUNCTION
def test_nan_reaches_exactly_the_outputs_that_see_it(function, shapes):
    arguments = [jnp.asarray(array) for array in whole_numbers(11, *shapes)]
    x = arguments[0]
    for index in [(0,) * x.ndim, (1,) * x.ndim, (1, *(n - 1 for n in x.shape[1:]))]:
        sees = np.asarray(function(x.at[index].set(jnp.nan), *arguments[1:]))
        ones = [jnp.ones_like(argument) for argument in arguments[1:]]
        moves = np.asarray(function(jnp.zeros_like(x).at[index].set(1.0), *ones)) != np.asarray(
            function(jnp.zeros_like(x), *ones)
        )
        assert_array_equal(np.isnan(sees), moves)
