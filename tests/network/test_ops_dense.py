"""Dense layers and flattening against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cnn.errors import RequestError
from cnn.network import ops
from tests.network.helpers import value_and_gradients, whole_numbers


@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (2, 3, 4)], ids=str)
def test_dense(lead):
    x, kernel, bias = whole_numbers(13, (*lead, 3), (3, 4), (4,))
    g = whole_numbers(14, (*lead, 4))[0]
    y, (dx, dk, db) = value_and_gradients(ops.dense, g, x, kernel, bias)
    rows = x.reshape(-1, 3)
    assert_array_equal(y, (rows @ kernel + bias).reshape(*lead, 4))
    assert_array_equal(dx, (g.reshape(-1, 4) @ kernel.T).reshape(*lead, 3))
    assert_array_equal(dk, rows.T @ g.reshape(-1, 4))
    assert_array_equal(db, g.reshape(-1, 4).sum(0))
    assert_array_equal(ops.dense(jnp.asarray(x), jnp.asarray(kernel)), np.asarray(y) - bias)


@pytest.mark.parametrize("shape", [(2, 3, 2, 4), (2, 5), (3,), (0, 7, 5, 3), (2, 0, 3)], ids=str)
def test_flatten_keeps_rows_and_reading_order(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    y = ops.flatten(jnp.asarray(x))
    assert y.shape == (shape[0], np.prod(shape[1:], dtype=int))
    assert y.tolist() == [list(row.ravel()) for row in x]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        pytest.param(
            lambda: ops.dense(jnp.ones((2, 3)), jnp.ones((4, 3))), r"dense: kernel .*\(4, 3\)", id="dense-inputs"
        ),
        pytest.param(lambda: ops.dense(jnp.ones((2, 3)), jnp.ones(3)), "dense: kernel", id="dense-kernel-rank"),
        pytest.param(lambda: ops.dense(jnp.ones(()), jnp.ones((1, 1))), "dense: kernel", id="dense-number"),
        pytest.param(
            lambda: ops.dense(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones(1)), "dense: bias", id="dense-bias"
        ),
        pytest.param(lambda: ops.flatten(jnp.ones(())), "flatten: ", id="flatten-number"),
    ],
)
def test_refused(call, named, unchecked):
    with pytest.raises(RequestError, match=named):
        call()
