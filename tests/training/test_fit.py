import dataclasses
import io

import jax
import numpy as np
import pytest

from cnn import machine
from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data.content import Dataset
from cnn.progress import Lines
from cnn.training import fit
from cnn.training.fit import Fit, Session
from cnn.training.loops import pieces
from cnn.training.loops.scan import ScanLoop
from cnn.training.loops.threads import ThreadsLoop
from cnn.training.prepared import prepare_trials

pytestmark = pytest.mark.thorough

TINY = {"network": NetworkConfig(blocks=1, width=4, hidden=8), "validation_fraction": 0.1}
HERE = machine.here()
ACCELERATOR = dataclasses.replace(HERE, backend="gpu")  # its choices, on whatever device there is


def trial_config(seed=0, rate=3e-3, batch_size=256, **training):
    return TrialConfig(
        "digits", seed=seed, learning_rate=rate, training=TrainingConfig(2, batch_size, **training), **TINY
    )


def start(session, *configs):
    return Fit(session, prepare_trials(configs[0], session.dataset), configs)


def numbers(epochs):
    return [dataclasses.replace(epoch, seconds=0.0) for epoch, _ in epochs]


@pytest.fixture(scope="module")
def both(digits):
    """The same two replicas trained by each loop."""
    configs = [trial_config(0, flip=True, shift=1), trial_config(1, 1e-3, flip=True, shift=1)]
    seen = {}
    for here, kind in ((HERE, ThreadsLoop), (ACCELERATOR, ScanLoop)):
        with Session(digits, here) as session:
            own = start(session, *configs)
            assert type(own.loop) is kind
            epochs = [numbers(epoch) for epoch in own.epochs()]
            seen[kind] = (epochs, own.snapshot(), own.answers())
    return seen


@pytest.mark.slow
@pytest.mark.thorough
def test_both_loops_do_the_same_steps(both):
    threads, scan = both.values()
    for left, right in zip(threads[0], scan[0], strict=True):
        for one, other in zip(left, right, strict=True):
            assert one.to_json() == pytest.approx(other.to_json(), abs=2e-3)
    for one, other in zip(threads[1], scan[1], strict=True):
        for a, b in zip(jax.tree.leaves(one.state.params), jax.tree.leaves(other.state.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    for one, other in zip(threads[2], scan[2], strict=True):
        assert one.right.shape == other.right.shape == (360,) and one.outputs.shape == other.outputs.shape == (360, 10)
        np.testing.assert_array_equal(one.targets, other.targets)
        assert one.right.mean() == pytest.approx(other.right.mean(), abs=0.006)


def test_together_equals_alone_to_the_bit(session):
    configs = [trial_config(seed) for seed in (0, 1)]
    rows = list(zip(*(numbers(epochs) for epochs in start(session, *configs).epochs()), strict=True))
    for config, row in zip(configs, rows, strict=True):
        assert [numbers(epochs)[0] for epochs in start(session, config).epochs()] == list(row)


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["batch", "ghost"])
def test_a_normalised_network_continues_to_the_bit_in_micro_batches(session, normalization):
    network = NetworkConfig(blocks=1, width=32, hidden=8, normalization=normalization)
    config = dataclasses.replace(trial_config(), network=network)
    whole = start(session, config)
    assert whole.loop.program.micro_batch < 256
    list(whole.epochs())
    stopped = start(session, config)
    next(stopped.epochs(pause=lambda: True))  # after its first step
    continued = start(session, config)
    continued.restore(stopped.steps, stopped.snapshot())
    list(continued.epochs())
    states = (jax.tree.leaves(fit.snapshot()[0].state) for fit in (whole, continued))
    for left, right in zip(*states, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.slow
@pytest.mark.parametrize("backend, blocks", [("gpu", 1), ("tpu", 1), ("cpu", 0)])
def test_a_training_in_pieces_stops_within_an_epoch_and_continues_to_the_bit(digits, backend, blocks, monkeypatch):
    config = dataclasses.replace(trial_config(batch_size=32, flip=True), network=NetworkConfig(blocks=blocks, width=4))
    configs = [config, dataclasses.replace(config, seed=1)]
    with Session(digits, dataclasses.replace(HERE, backend=backend)) as session:
        whole = start(session, *configs)
        expected = [numbers(epochs) for epochs in whole.epochs()]
    monkeypatch.setattr(pieces, "SECONDS", 0.0)  # a piece has one step
    with Session(digits, dataclasses.replace(HERE, backend=backend)) as session:
        stopped = start(session, *configs)
        assert next(stopped.epochs(pause=lambda: True)) == []
        assert 0 < stopped.steps < stopped.prepared.steps_per_epoch
        continued = start(session, *configs)
        continued.restore(stopped.steps, stopped.snapshot())
        assert [numbers(epochs) for epochs in continued.epochs()] == expected
        states = (jax.tree.leaves([own.state for own in fit.snapshot()]) for fit in (whole, continued))
        for left, right in zip(*states, strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_snapshot_restores_whatever_ran_together(session):
    """The first step by two replicas, the rest by one: as one alone does it."""
    configs = [trial_config(seed) for seed in (0, 1)]
    together = start(session, *configs)
    assert next(together.epochs(lambda: True)) == [] and together.steps == 1  # however the threads take turns
    alone = start(session, configs[1])
    whole = [numbers(epochs)[0] for epochs in start(session, configs[1]).epochs()]
    alone.restore(together.steps, [together.snapshot()[1]])
    assert [numbers(epochs)[0] for epochs in alone.epochs()] == whole


def test_a_replica_that_waits_since_it_diverged_has_no_share_of_the_seconds(session):
    fit = start(session, trial_config(0), trial_config(1, 1e36))
    first, *later = [[epoch.seconds for epoch, _ in epochs] for epochs in fit.epochs()]
    assert min(first) > 0 and later
    assert all(trains > 0 and waits == 0 for trains, waits in later)


def test_a_large_validation_part_is_evaluated_seldom_and_at_the_end(session):
    training = TrainingConfig(epochs=10, batch_size=64)
    config = dataclasses.replace(trial_config(), training=training, validation_fraction=0.8)
    own = start(session, config)
    metrics = [epoch for ((epoch, _),) in own.epochs()]
    assert [epoch.epoch for epoch in metrics if epoch.val_accuracy is not None] == [5, 9, 10]
    assert all(epoch.train_accuracy is not None for epoch in metrics)
    (answers,) = own.validation_answers()
    assert metrics[-1].val_accuracy == answers.right.mean()


@pytest.mark.parametrize("size", [1, 100, 360, 1000])
def test_the_test_set_counts_once_at_any_batch_size(session, size, monkeypatch):
    own = start(session, trial_config())
    accuracy = own.answers()[0].right.mean()
    monkeypatch.setattr(own.loop, "batch_size", size)
    right = own.answers()[0].right
    assert len(right) == 360 and right.mean() == accuracy


@pytest.mark.parametrize("mirror", [False, True])
def test_a_trained_network_gives_the_answers_of_the_fit(session, mirror):
    own = start(session, trial_config(mirror=mirror), trial_config(1, mirror=mirror))
    for _ in own.epochs():
        pass
    images = session.dataset.test_images
    for trained, answers, seed in zip(own.trained(), own.answers(), (0, 1), strict=True):
        np.testing.assert_allclose(trained.outputs(images), answers.outputs, rtol=1e-5, atol=1e-5)
        assert trained.mirror == mirror
        assert trained.config.seed == seed and trained.class_names == session.dataset.class_names


@pytest.mark.parametrize(
    "precision, backend, instructions, said",
    [
        ("bfloat16", "cpu", ("avx2",), True),
        ("bfloat16", "cpu", ("avx2", "avx512f", "avx512_bf16"), True),
        ("bfloat16", "cpu", ("avx2", "amx_bf16"), False),  # not measured
        ("bfloat16", "gpu", ("avx2",), False),
        ("float32", "cpu", ("avx2",), False),
        ("tensorfloat32", "cpu", ("avx2", "amx_bf16"), True),
        ("tensorfloat32", "gpu", ("avx2",), False),
    ],
)
def test_a_processor_that_gains_nothing_from_a_precision_says_so(digits, precision, backend, instructions, said):
    here = dataclasses.replace(HERE, backend=backend, instructions=instructions, cpu="A processor")
    stream = io.StringIO()
    with fit.Session(digits, here) as session:
        session.advise(precision, Lines(stream))
    compared = {"bfloat16": "float32 is faster", "tensorfloat32": "float32 takes as long"}.get(precision)
    line = f"precision={precision!r}: {compared} on this processor (A processor)\n"
    assert stream.getvalue() == (line if said else "")


@pytest.mark.parametrize(
    "shape, width, batch_size, normalization, micro_batch",
    [
        ((8, 8, 1), 16, 64, "none", 64),  # all of it fits the cache
        ((28, 28, 1), 16, 64, "none", 16),
        ((32, 32, 3), 32, 64, "none", 16),
        ((28, 28, 1), 32, 256, "none", 16),
        ((32, 32, 3), 32, 64, "layer", 16),
        ((32, 32, 3), 32, 64, "batch", 16),  # sums over the whole batch join the micro-batches
        ((32, 32, 3), 32, 64, "ghost", 32),  # whole parts of 32 images
    ],
)
def test_micro_batches_are_for_what_leaves_the_cache(shape, width, batch_size, normalization, micro_batch):
    images = np.zeros((256, *shape), np.uint8)
    labels = np.arange(256, dtype=np.int32) % 2
    dataset = Dataset("two", images, labels, images, labels, ("a", "b"), "", "two")
    network = NetworkConfig(blocks=2, width=width, normalization=normalization, ghost_batch=32)
    config = TrialConfig("two", network=network, training=TrainingConfig(batch_size=batch_size))
    cpu = dataclasses.replace(HERE, backend="cpu")
    assert fit.program(prepare_trials(config, dataset), cpu).micro_batch == micro_batch
    assert fit.program(prepare_trials(config, dataset), ACCELERATOR).micro_batch == batch_size
