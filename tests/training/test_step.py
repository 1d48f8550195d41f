import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn.config import NetworkConfig, TrainingConfig
from cnn.data.batches import Images, Resident, members, padded
from cnn.network import forms, models
from cnn.training.loops.threads import ThreadsLoop
from cnn.training.optimizer import adamw
from cnn.training.step import Program, Replica, Totals
from cnn.training.tasks import Classification

pytestmark = pytest.mark.thorough

SHAPE = (8, 8, 1)
CLASSES = 3
COUNT = 40


def program(micro_batch=8, batch_size=8, network=None, **training):
    training = TrainingConfig(batch_size=batch_size, epochs=4, **training)
    network = models.build(network or NetworkConfig(blocks=1, width=4, hidden=8), SHAPE, CLASSES)
    steps = COUNT // batch_size
    return Program(
        network,
        Classification(SHAPE, CLASSES, training),
        Resident(batch_size, steps),
        adamw(training, 4 * steps),
        forms.fast("cpu"),
        micro_batch,
        training.precision,
        training.label_smoothing,
    )


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
    return Images(jnp.asarray(images), jnp.asarray(random.integers(0, CLASSES, COUNT, dtype=np.int32)))


def replica(seed=0, rate=1e-2):
    indices = jnp.arange(COUNT, dtype=jnp.int32)
    return Replica(jnp.int32(seed), jnp.float32(rate), indices, jnp.array([127.0]), jnp.array([70.0]))


def one_step(chosen, data, own=None):
    own = own or replica()
    state = chosen.init(own)
    return state, *jax.jit(chosen.step)(state, Totals.zero(), own, (data, chosen.order(own, 0)))


def test_a_step_is_optax_adamw_on_the_mean_cross_entropy(data):
    chosen, own = program(weight_decay=0.1), replica()
    before, after, totals = one_step(chosen, data)
    indices = np.asarray(chosen.order(own, 0))[:8]
    x = jnp.asarray((np.asarray(data.images)[indices].astype(np.float32) - 127.0) / 70.0)

    def loss(params):
        logits = chosen.network.apply({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, data.labels[indices]).mean()

    value, grads = jax.value_and_grad(loss)(before.params)
    rate = 1e-2 * 1 / 4  # 4 epochs of 5 steps: a fifth of 20 steps warms up, and this is the first of 4
    flat = jax.tree.leaves(before.params)
    for old, new, grad in zip(flat, jax.tree.leaves(after.params), jax.tree.leaves(grads), strict=True):
        decay = 0.1 * old if old.ndim > 1 else 0.0  # Adam's first update is the sign of the gradient, but for epsilon
        np.testing.assert_allclose(new, old - rate * (grad / (jnp.abs(grad) + 1e-8) + decay), rtol=1e-4, atol=1e-6)
    assert float(totals.loss) == pytest.approx(8 * float(value), rel=1e-5)
    assert int(totals.count) == 8 and int(after.step) == 1


@pytest.mark.parametrize("micro_batch", [3, 4, 7])
def test_micro_batches_change_nothing_but_rounding(data, micro_batch, pool):
    own = replica()
    network = NetworkConfig(blocks=1, width=4, hidden=8, dropout=0.5)
    _, whole, whole_totals = one_step(program(8, network=network), data)
    divided = ThreadsLoop(program(micro_batch, network=network), 2, pool)
    state = divided.program.init(own)
    parts, parts_totals = divided.step(state, Totals.zero(), own, (data, divided.order(own, 0)))
    for left, right in zip(jax.tree.leaves((whole, whole_totals)), jax.tree.leaves((parts, parts_totals)), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "micro_batch, settings",
    [
        (3, {"normalization": "batch", "dropout": 0.5}),  # the last part has 2 images
        (4, {"normalization": "batch", "convolutions": 2, "pooling": "average", "blocks": 2}),
        (4, {"normalization": "batch", "model": "resnet", "blocks": 2}),
        (4, {"normalization": "ghost", "ghost_batch": 2}),
        (2, {"normalization": "ghost", "ghost_batch": 2, "model": "resnet", "blocks": 2}),
        (3, {"normalization": "group"}),
    ],
)
def test_a_normalised_network_learns_the_same_in_micro_batches(data, micro_batch, settings, pool):
    """One step: then Adam would enlarge the rounding of the gradients of biases, which a normalisation makes 0."""
    own = replica()
    network = NetworkConfig(**{"blocks": 1, "width": 4, "hidden": 8, **settings})
    whole, divided = program(8, network=network), ThreadsLoop(program(micro_batch, network=network), 2, pool)
    given = data, whole.order(own, 0)
    expected, expected_totals = jax.jit(whole.step)(whole.init(own), Totals.zero(), own, given)
    found, totals = divided.step(whole.init(own), Totals.zero(), own, given)
    for name in ("statistics", "optimizer"):  # the optimiser's state holds the gradient
        states = (getattr(expected, name), getattr(found, name))
        for left, right in zip(*map(jax.tree.leaves, states), strict=True):
            np.testing.assert_allclose(left, right, rtol=2e-3, atol=1e-6)
    assert float(totals.loss) == pytest.approx(float(expected_totals.loss), rel=1e-5)


def test_bfloat16_rounds_the_gradient_and_keeps_the_state_in_float32(data, pool):
    own, exact, low = replica(), program(4), program(4, precision="bfloat16")
    state = exact.init(own)
    batch = exact.batch(state.step, own, (data, exact.order(own, 0)))
    wanted = jax.jit(exact.gradient, static_argnums=5)(state.params, {}, own, batch, 0, 8)
    found = jax.jit(low.gradient, static_argnums=5)(low.weights(state.params), {}, own, batch, 0, 8)
    assert {leaf.dtype for leaf in jax.tree.leaves(low.weights(state.params))} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(found.params)} == {jnp.dtype("float32")}
    for left, right in zip(jax.tree.leaves(wanted.params), jax.tree.leaves(found.params), strict=True):
        error = float(jnp.linalg.norm(left - right) / jnp.linalg.norm(left))
        assert 1e-5 < error < 0.05, error  # 8 bits are 0.4 %, and sums of them somewhat more
    after, _ = ThreadsLoop(low, 2, pool).step(state, Totals.zero(), own, (data, low.order(own, 0)))
    assert {leaf.dtype for leaf in jax.tree.leaves((after.params, after.optimizer))} <= {
        jnp.dtype("float32"),
        jnp.dtype("int32"),
    }


def test_label_smoothing_against_its_definition(data):
    chosen = program(label_smoothing=0.3)
    before, _, totals = one_step(chosen, data)
    indices = np.asarray(chosen.order(replica(), 0))[:8]
    x = jnp.asarray((np.asarray(data.images)[indices].astype(np.float32) - 127.0) / 70.0)
    log_p = np.asarray(jax.nn.log_softmax(chosen.network.apply({"params": before.params}, x)))
    targets = 0.7 * np.eye(CLASSES)[np.asarray(data.labels)[indices]] + 0.3 / CLASSES
    assert float(totals.loss) == pytest.approx(-(targets * log_p).sum(), rel=1e-5)


@pytest.mark.parametrize("batch_size", [8, 20])
def test_the_schedule_rises_then_falls_to_nearly_zero(batch_size):
    chosen = program(batch_size=batch_size, micro_batch=batch_size)
    total = 4 * chosen.batches.steps_per_epoch
    params = {"bias": jnp.ones(1)}
    optimizer = chosen.optimizer(1.0)
    state, rates = optimizer.init(params), []
    for _ in range(total):
        updates, state = optimizer.update({"bias": jnp.ones(1)}, state, params)
        rates.append(-float(updates["bias"][0]))
    top = int(np.argmax(rates))
    assert max(rates) == pytest.approx(1.0, rel=1e-3) and top == max(int(0.2 * total), 1) - 1
    assert np.all(np.diff(rates[: top + 1]) > 0) and np.all(np.diff(rates[top:]) < 0)
    assert 0 < rates[-1] < 0.1


def test_orders_of_seeds_and_epochs_differ():
    chosen = program()
    orders = [np.asarray(chosen.order(replica(seed), epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(COUNT)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_an_epoch_takes_each_image_once(data):
    chosen, own = program(), replica()
    order = jnp.asarray(chosen.order(own, 0))
    numbered = dataclasses.replace(data, labels=jnp.arange(COUNT, dtype=jnp.int32))
    taken = [
        np.asarray(chosen.batches.examples((numbered, order), step).labels).ravel()
        for step in range(chosen.batches.steps_per_epoch)
    ]
    assert sorted(np.concatenate(taken)) == list(range(COUNT))
    state, totals = chosen.init(own), Totals.zero()
    for _ in taken:
        state, totals = jax.jit(chosen.step)(state, totals, own, (data, order))
    assert int(totals.count) == COUNT and int(state.step) == len(taken) == 5


def test_the_first_bad_step_is_named(data):
    chosen, own = program(), replica()
    state = chosen.init(own)
    state = state.replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, state.params))
    order, totals = chosen.order(own, 0), Totals.zero()
    for _ in range(2):
        state, totals = jax.jit(chosen.step)(state, totals, own, (data, order))
    assert int(totals.bad_step) == 0


@pytest.mark.slow
def test_evaluation_counts_every_image_once_and_padding_never(data):
    chosen, own = program(), replica()
    state = chosen.init(own)
    x = jnp.asarray((np.asarray(data.images).astype(np.float32) - 127.0) / 70.0)
    right = np.asarray(chosen.network.apply({"params": state.params}, x)).argmax(-1) == np.asarray(data.labels)
    for size in (1, 7, 40, 64):
        parts, flags = [], []
        for indices, mask in zip(*padded(members(np.arange(COUNT), 1), size), strict=True):
            sums, answers = chosen.evaluate(state, own, indices, data.take(indices), mask)
            parts.append(sums)
            flags.append(np.asarray(answers.right))
        totals = Totals.of(parts)
        assert int(totals.count) == COUNT and int(totals.correct) == right.sum()
        np.testing.assert_array_equal(np.concatenate(flags)[:COUNT], right)


@pytest.mark.parametrize("normalization", ["batch", "ghost", "group", "layer"])
def test_normalised_and_dropped_out_networks_train(data, normalization):
    network = NetworkConfig(blocks=1, width=4, hidden=8, normalization=normalization, ghost_batch=4, dropout=0.5)
    before, after, totals = one_step(program(network=network), data)
    assert np.isfinite(float(totals.loss))
    pairs = zip(*map(jax.tree.leaves, (before.statistics, after.statistics)), strict=True)
    moved = [not np.array_equal(a, b) for a, b in pairs]
    assert moved == [True, True] * (normalization in ("batch", "ghost"))


NETWORKS = {
    "plain": {"blocks": 2},
    "batch": {"blocks": 1, "normalization": "batch", "dropout": 0.5},
    "ghost": {"blocks": 1, "normalization": "ghost", "ghost_batch": 4},
    "residual": {"model": "resnet", "blocks": 2, "normalization": "layer"},
    "no convolution": {"blocks": 0},
}


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_several_replicas_is_that_of_each(data, name):
    network = NetworkConfig(**{"width": 4, "hidden": 8, **NETWORKS[name]})
    chosen = program(network=network)
    own = [replica(seed, 1e-2 * (1 + seed)) for seed in range(3)]
    states = [chosen.init(one) for one in own]
    orders = jnp.stack([chosen.order(one, 0) for one in own])
    arguments = (stacked(states), stacked([Totals.zero()] * 3), stacked(own), (data, orders))
    after, totals = jax.jit(chosen.steps)(*arguments)
    for place, (one, state) in enumerate(zip(own, states, strict=True)):
        expected, sums = jax.jit(chosen.step)(state, Totals.zero(), one, (data, orders[place]))
        found = jax.tree.map(lambda leaf, place=place: leaf[place], (after, totals))
        assert int(found[1].correct) == int(sums.correct) and int(found[0].step) == 1
        for part in ("statistics", "optimizer"):  # the optimiser's state holds the gradient
            pairs = zip(*map(jax.tree.leaves, (getattr(found[0], part), getattr(expected, part))), strict=True)
            for left, right in pairs:
                np.testing.assert_allclose(left, right, rtol=2e-3, atol=1e-6)


def lowered(chosen, data, replicas):
    own = [replica(seed) for seed in range(replicas)]
    orders = jnp.stack([chosen.order(one, 0) for one in own])
    states = stacked([chosen.init(one) for one in own])
    arguments = (states, stacked([Totals.zero()] * replicas), stacked(own), (data, orders))
    return arguments, text_of(chosen.steps, arguments)


def text_of(function, arguments):
    """The program before XLA's optimisations; its arguments are plain leaves, since those of classes are checked."""
    leaves, structure = jax.tree.flatten(arguments)
    return jax.jit(lambda *leaves: function(*jax.tree.unflatten(structure, leaves))).lower(*leaves).as_text()


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
@pytest.mark.parametrize(
    "settings, layers",
    [
        ({"blocks": 2}, 2),
        ({"blocks": 1, "convolutions": 2}, 2),
        ({"blocks": 2, "normalization": "ghost", "ghost_batch": 4, "head": "average"}, 2),
        ({"blocks": 2, "pooling": "stride"}, 2),
        ({"blocks": 1, "model": "resnet"}, 3),
    ],
    ids=str,
)
def test_every_gradient_of_a_convolutions_weights_has_a_batch_group_count(data, backend, settings, layers):
    """XLA has kernels of cuDNN for such a convolution, and none for one with as many groups of features."""
    network = NetworkConfig(**{"width": 4, "hidden": 8, **settings})
    chosen = dataclasses.replace(program(network=network), forms=forms.fast(backend))
    arguments, text = lowered(chosen, data, replicas=3)
    counts = re.findall(r"stablehlo\.convolution.*batch_group_count = (\d+) : i64, feature_group_count = (\d+)", text)
    assert sorted(counts) == sorted([("3", "1")] * layers + [("1", "3")] * (2 * layers - 1))

    def by_vmap(states, totals, replicas, given):
        return jax.vmap(chosen.step, (0, 0, 0, (None, 0)))(states, totals, replicas, given)

    assert "batch_group_count = 3" not in text_of(by_vmap, arguments)  # what the sum of the losses is for
