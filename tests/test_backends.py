"""The table of what suits each kind of device, and what a precision means in the programs that are compiled."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import pytest

from cnn import backends
from cnn.backends import BACKENDS, Backend, Choice
from cnn.network import forms


def test_every_choice_of_every_backend_has_a_ground():
    for row in BACKENDS.values():
        for field in dataclasses.fields(Backend):
            choice = getattr(row, field.name)
            assert isinstance(choice, Choice) and choice.ground in ("measured", "compiled", "read") and choice.why


def test_only_what_ran_counts_as_measured():
    """No GPU and no TPU has run this project so far: a test that must change with the first that does."""
    grounds = {
        name: {getattr(row, field.name).ground for field in dataclasses.fields(Backend)}
        for name, row in BACKENDS.items()
    }
    assert grounds["cpu"] == {"measured"} and "measured" not in grounds["gpu"] | grounds["tpu"]


def test_an_unknown_backend_counts_as_a_gpu():
    assert backends.of("METAL") is backends.of("gpu") is not backends.of("tpu")


@pytest.mark.parametrize(
    "precision, dtype, operands",
    [("float32", "f32", "HIGHEST"), ("tensorfloat32", "f32", "HIGH"), ("bfloat16", "bf16", "DEFAULT")],
)
def test_a_precision_reaches_products_and_convolutions_and_their_gradients(precision, dtype, operands):
    chosen = backends.PRECISIONS[precision]

    @functools.partial(jax.grad, argnums=(0, 1, 2))
    def loss(x, kernel, weights):
        with backends.multiplying(precision):
            y = forms.fast("gpu").conv2d(x, kernel, padding="SAME")
            return forms.fast("gpu").dense(y.reshape(2, -1), weights).astype(jnp.float32).sum()

    shapes = ((2, 4, 4, 3), (3, 3, 3, 5), (80, 7))
    text = jax.jit(loss).lower(*(jnp.ones(shape, chosen.dtype) for shape in shapes)).as_text()
    found = re.findall(r"stablehlo\.(convolution|dot_general)(.*)", text)
    names = [name for name, _ in found]
    assert names.count("convolution") >= 2 and names.count("dot_general") >= 2  # by the kernel or weights, by the input
    for _, rest in found:
        said = set(re.findall(r"HIGHEST|HIGH|DEFAULT", rest)) or {"DEFAULT"}
        assert said == {operands} and dtype in rest
