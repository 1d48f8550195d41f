"""The training step's benchmark: its sides compute the same, and its command prints and writes every row."""

import collections
import json
import subprocess
import sys
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import ours, peer_networks, peers
from benchmarks.problems import CLASSES, PROBLEMS, Problem, gflop
from benchmarks.train_step import OURS, PRODUCT, SIDES
from cnn.config import NetworkConfig
from cnn.network import models, summary
from cnn.network.layers import Signal

pytestmark = pytest.mark.thorough

TINY = Problem((8, 8, 3), NetworkConfig(blocks=2, width=4, hidden=16), 16)
GROUPS = [Problem((8, 8, 3), NetworkConfig(width=16, normalization=kind), 16) for kind in ("group", "layer")]


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        # of each image forward, by layer: convolutions [cells x 9 x channels x filters], dense layers
        ("A", (784 * 9 * 1 * 32, 196 * 9 * 32 * 64, 49 * 64 * 256, 256 * 10)),
        ("B", (1024 * 9 * 3 * 32, 256 * 9 * 32 * 64, 64 * 9 * 64 * 128, 16 * 128 * 256, 256 * 10)),
        ("sweep", (64 * 9 * 1 * 16, 16 * 9 * 16 * 32, 4 * 9 * 32 * 64, 1 * 64 * 128, 128 * 10)),
    ],
)
def test_operations_of_a_step(name, macs):
    forward = sum(macs)
    weights = sum(macs)
    inputs = sum(macs[1:])
    assert gflop(PROBLEMS[name]) == pytest.approx(PROBLEMS[name].batch_size * 2 * (forward + weights + inputs) / 1e9)


def parameters(problem):
    return summary.cost(models.build(problem.network, problem.image_shape, CLASSES), problem.image_shape).parameters


@pytest.mark.parametrize("problem", [TINY, *GROUPS, *PROBLEMS.values()])
def test_networks_have_the_same_parameters(problem):
    image = jnp.zeros((1, *problem.image_shape))
    variables = jax.eval_shape(peer_networks.flax_network(problem, "float32").init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters(problem)


def layers_of(network, image_shape, params):
    """The parameters of each layer that has some, in the order in which an image meets them."""
    for visit in network.visits(Signal(image_shape)):
        own = params
        for name in visit.name.split("/"):
            own = own.get(name, {})
        if own:
            yield own.get("norm", own)


def with_weights(peer, layers):
    """The peer's parameters with the values of these layers; of equal shapes, the first takes those of the first."""
    waiting = collections.defaultdict(list)
    for layer in layers:
        waiting[str(jax.tree.map(jnp.shape, layer))].append(layer)
    names = sorted(peer, key=lambda name: int(name.rpartition("_")[2]))  # of each kind, in the order of creation
    return {name: waiting[str(jax.tree.map(jnp.shape, dict(peer[name])))].pop(0) for name in names}


def known_logits(problem):
    """Two images, the layers' parameters, of which no bias is zero, and what this project's network makes of them."""
    network = models.build(problem.network, problem.image_shape, CLASSES)
    images = jax.random.normal(jax.random.key(0), (2, *problem.image_shape))
    params = jax.jit(network.init)(jax.random.key(1), images)["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.1 * (leaf.ndim == 1), params)
    logits = jax.jit(network.apply)({"params": params}, images)
    return images, layers_of(network, problem.image_shape, params), np.asarray(logits)


def assert_close(logits, expected):
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


LOGITS = {name: own for name, own in PROBLEMS.items() if own.network.normalization not in ("batch", "ghost")}


@pytest.mark.slow
@pytest.mark.parametrize("problem", [TINY, *GROUPS, *LOGITS.values()], ids=["tiny", "group", "layer", *LOGITS])
def test_plain_flax_computes_the_same_logits(problem):
    """Each layer does in both what its name says, in the same order: counts of parameters would not tell."""
    images, layers, expected = known_logits(problem)
    other = peer_networks.flax_network(problem, "float32")
    empty = jax.eval_shape(other.init, jax.random.key(0), images)["params"]
    assert_close(jax.jit(other.apply)({"params": with_weights(empty, layers)}, images), expected)


@pytest.mark.parametrize("problem", [TINY, *GROUPS, *PROBLEMS.values()])
def test_pytorch_has_the_same_parameters(problem):
    pytest.importorskip("torch")
    assert sum(leaf.numel() for leaf in peer_networks.torch_network(problem).parameters()) == parameters(problem)


def in_pytorch_order(kernel, channels):
    """HWIO as OIHW; the rows of a dense kernel, which flattened maps of so many channels meet, channel by channel."""
    if kernel.ndim == 1:
        return kernel
    if kernel.ndim == 2:
        side = round((kernel.shape[0] / channels) ** 0.5)
        kernel = kernel.reshape(side, side, channels, -1)
        return kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[3], -1)
    return kernel.transpose(3, 2, 0, 1)


def pytorch_with_weights(model, layers):
    """The model with the values of these layers; of equal shapes, the first takes those of the first."""
    import torch

    waiting = collections.defaultdict(list)
    channels = None
    for layer in layers:
        kernel = layer.get("kernel", layer.get("scale"))
        weight = in_pytorch_order(np.asarray(kernel), channels)
        waiting[weight.shape].append((weight, np.asarray(layer["bias"])))
        channels = len(weight)
    for module in model.modules():
        if list(module.parameters(recurse=False)):
            weight, bias = waiting[tuple(module.weight.shape)].pop(0)
            module.weight.data = torch.tensor(weight)
            module.bias.data = torch.tensor(bias)
    return model


# A convolution with a stride is padded on both sides in PyTorch's network, and on one side in the others.
ALIKE = {name: own for name, own in LOGITS.items() if own.network.pooling != "stride"}


@pytest.mark.slow
@pytest.mark.parametrize("problem", [TINY, *GROUPS, *ALIKE.values()], ids=["tiny", "group", "layer", *ALIKE])
def test_pytorch_computes_the_same_logits(problem):
    torch = pytest.importorskip("torch")
    images, layers, expected = known_logits(problem)
    other = pytorch_with_weights(peer_networks.torch_network(problem), layers)
    with torch.no_grad():
        assert_close(other(torch.tensor(np.asarray(images)).permute(0, 3, 1, 2)).numpy(), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "precision"),
    [
        (ours.train, "float32"),
        (ours.train, "bfloat16"),
        (peers.plain_flax, "float32"),
        (peers.plain_flax, "bfloat16"),
        (peers.pytorch, "float32"),
        (peers.pytorch, "bfloat16"),
    ],
)
def test_a_side_learns_its_batch(build, precision):
    if build is peers.pytorch:
        pytest.importorskip("torch")
    run = build(TINY, precision, 1)
    losses = [run() for _ in range(60)]
    assert losses[0] == pytest.approx(np.log(CLASSES), abs=1.0) and losses[-1] < losses[0] - 0.5


@pytest.mark.slow
def test_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.train_step"]
    command += ["--networks=sweep,batch", "--batch_sizes=16", "--rounds=2", "--steps=1"]
    done = subprocess.run([*command, f"--output={tmp_path / 't.json'}"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert [(row["network"], row["side"]) for row in rows] == [
        (network, side) for network in ("sweep", "batch") for side in SIDES if side != PRODUCT
    ]
    assert {row["precision"] for row in rows} == {"float32"}
    lines = done.stdout.splitlines()
    assert sum(line.startswith("| sweep") for line in lines) == sum(row["network"] == "sweep" for row in rows)
    assert sum(line.startswith("| float32") for line in lines) == (1 if find_spec("torch") is None else 3)
    assert ("PyTorch is not installed" in done.stdout) == (find_spec("torch") is None)
    by_side = {row["side"]: row for row in rows if row["network"] == "batch"}
    flax = by_side["plain Flax Linen"]
    assert by_side[OURS]["ratios"] == [1.0, 1.0]
    assert flax["ratios"] == pytest.approx(np.divide(flax["ms_of_rounds"], by_side[OURS]["ms_of_rounds"]))
    assert flax["share"] * flax["ms"] == pytest.approx(by_side[OURS]["share"] * by_side[OURS]["ms"])
    assert flax["share"] == pytest.approx(flax["gflop"] / flax["ms"] * 1e3 / flax["matrix_product_gflop_per_second"])


@pytest.mark.parametrize("networks", ["", "C"])
def test_unknown_or_no_networks(networks):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.train_step", f"--networks={networks}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "must be of A, B, batch, ghost" in done.stderr
    assert "Traceback" not in done.stderr
