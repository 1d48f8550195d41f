"""The table of what suits each kind of device, and what a precision means in the programs that are compiled."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import pytest

from cnn import backends, machine
from cnn.backends import BACKENDS, Backend, Choice
from cnn.config import NetworkConfig, TrialConfig
from cnn.data import datasets
from cnn.network import forms
from cnn.training.fit import Session
from cnn.training.loops import choice
from cnn.training.loops.scan import ScanLoop
from cnn.training.loops.threads import ThreadsLoop
from cnn.training.prepared import prepare_trials


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


SMALL = NetworkConfig(blocks=0, hidden=8)
LARGE = NetworkConfig(blocks=0, hidden=8192)


@pytest.mark.parametrize(
    "backend, network, changed, kind, in_pieces",
    [
        ("cpu", NetworkConfig(blocks=1, width=2), {}, ThreadsLoop, False),
        ("cpu", SMALL, {}, ThreadsLoop, True),
        ("cpu", LARGE, {}, ThreadsLoop, False),  # its steps take so long that Python may start each
        ("cpu", SMALL, {"small_loop": "steps"}, ThreadsLoop, False),
        ("cpu", LARGE, {"loop": "program"}, ThreadsLoop, True),
        ("gpu", SMALL, {}, ScanLoop, None),
        ("tpu", LARGE, {}, ScanLoop, None),
        ("gpu", LARGE, {"loop": "steps"}, ThreadsLoop, False),
        ("tpu", SMALL, {"small_loop": "steps"}, ThreadsLoop, False),
    ],
)
def test_the_table_decides_which_loop_runs(monkeypatch, backend, network, changed, kind, in_pieces):
    row = BACKENDS[backend]
    other = {name: dataclasses.replace(getattr(row, name), value=value) for name, value in changed.items()}
    monkeypatch.setitem(BACKENDS, backend, dataclasses.replace(row, **other))
    config = TrialConfig("digits", network=network)
    with Session(datasets.load("digits"), dataclasses.replace(machine.here(), backend=backend)) as session:
        loop = session.loop(prepare_trials(config, session.dataset))
    assert type(loop) is kind
    if in_pieces is not None:
        assert (loop.pieces is not None) == in_pieces


@pytest.mark.parametrize("together, group", [(8, 8), (1, 3)])
def test_the_table_decides_how_many_replicas_run_together(monkeypatch, together, group):
    row = BACKENDS["gpu"]
    other = {"together": together, "group": group}
    changed = {name: dataclasses.replace(getattr(row, name), value=value) for name, value in other.items()}
    monkeypatch.setitem(BACKENDS, "gpu", dataclasses.replace(row, **changed))
    here = dataclasses.replace(machine.here(), backend="gpu")
    with Session(datasets.load("digits"), here) as session:
        loop = session.loop(prepare_trials(TrialConfig("digits"), session.dataset))
        assert loop.together == together and session.largest_group == group
    assert choice.largest_group(dataclasses.replace(here, devices=4)) == 4 * group


@pytest.mark.parametrize(
    "backend, network, together",
    [
        ("gpu", {"width": 64}, 8),
        ("tpu", {"width": 63}, 8),
        ("tpu", {"width": 64}, 1),
        ("tpu", {"width": 64, "bottleneck": 0.5, "blocks": 2}, 8),  # a 1x1 convolution has 32 filters
        ("tpu", {"blocks": 0}, 8),
    ],
)
def test_wide_networks_may_run_one_after_another(backend, network, together):
    here = dataclasses.replace(machine.here(), backend=backend)
    with Session(datasets.load("digits"), here) as session:
        config = TrialConfig("digits", network=NetworkConfig(**network))
        assert session.loop(prepare_trials(config, session.dataset)).together == together


@pytest.mark.parametrize("backend, field, value", [("gpu", "max_pool", "windows"), ("tpu", "convolution", "by shape")])
def test_the_table_decides_which_form_an_operation_takes(monkeypatch, backend, field, value):
    row = BACKENDS[backend]
    before = forms.fast(backend)
    changed = dataclasses.replace(getattr(row, field), value=value)
    monkeypatch.setitem(BACKENDS, backend, dataclasses.replace(row, **{field: changed}))
    assert forms.fast(backend) != before


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
