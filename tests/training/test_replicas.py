import jax
import numpy as np
import pytest

from cnn.config import NetworkConfig, RequestError, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.training import replicas
from cnn.training.replicas import Fit, program
from cnn.training.strategies import OneProgram, PythonLoop

TINY = {"network": NetworkConfig(blocks=1, width=4, hidden=8), "validation_fraction": 0.1}


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def trial_config(seed=0, rate=3e-3, batch_size=256, **training):
    return TrialConfig(
        "digits", seed=seed, learning_rate=rate, training=TrainingConfig(2, batch_size, **training), **TINY
    )


def use(monkeypatch, kind):
    cached = {}
    monkeypatch.setattr(replicas, "strategy", lambda chosen: cached.setdefault(chosen, kind(chosen)))


def numbers(epochs):
    return [{name: value for name, value in epoch.metrics.items() if name != "seconds"} for epoch in epochs]


def test_both_strategies_do_the_same_steps(digits, monkeypatch):
    configs = [trial_config(0, flip=True, shift=1), trial_config(1, 1e-3, flip=True, shift=1)]
    seen = {}
    for kind in (PythonLoop, OneProgram):
        use(monkeypatch, kind)
        fit = Fit(configs, digits)
        epochs = [numbers(epoch) for epoch in fit.epochs()]
        seen[kind] = (epochs, fit.strategy.unstack(fit.states), fit.answers())
    for left, right in zip(*(seen[kind][0] for kind in seen)):
        for one, other in zip(left, right):
            assert one == pytest.approx(other, abs=2e-3)
    for one, other in zip(*(seen[kind][1] for kind in seen)):
        for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params)):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    for one, other in zip(*(seen[kind][2] for kind in seen)):
        assert one.right.shape == other.right.shape == (360,) and one.outputs.shape == other.outputs.shape == (360, 10)
        np.testing.assert_array_equal(one.targets, other.targets)
        assert one.right.mean() == pytest.approx(other.right.mean(), abs=0.006)


def test_together_equals_alone_to_the_bit(digits):
    configs = [trial_config(seed) for seed in (0, 1)]
    together = Fit(configs, digits)
    rows = list(zip(*(numbers(epochs) for epochs in together.epochs())))
    for config, row in zip(configs, rows):
        alone = Fit([config], digits)
        assert [numbers(epochs)[0] for epochs in alone.epochs()] == list(row)


@pytest.mark.parametrize("size", [1, 100, 360, 1000])
def test_the_test_set_counts_once_at_any_batch_size(digits, size, monkeypatch):
    fit = Fit([trial_config()], digits)
    monkeypatch.setattr(fit.strategy, "batch_size", size)
    right = fit.answers()[0].right
    accuracy = right.mean()
    monkeypatch.undo()
    assert len(right) == 360 and fit.answers()[0].right.mean() == accuracy


def test_a_batch_larger_than_the_training_part_is_refused(digits):
    with pytest.raises(RequestError, match="batch_size=1294: digits has 1293 training images, so at most 1293"):
        Fit([trial_config(batch_size=1294)], digits)


def test_steps_are_counted_in_32_bits(digits):
    with pytest.raises(RequestError, match=r"^epochs=500000: must be at most 429496, with 5000 steps in each$"):
        program(TrialConfig("digits", training=TrainingConfig(500_000, 1)), digits, 5000)


@pytest.mark.parametrize(
    "shape, width, batch_size, normalization, micro_batch",
    [
        ((8, 8, 1), 16, 64, "none", 64),  # all of it fits the cache
        ((28, 28, 1), 16, 64, "none", 16),
        ((32, 32, 3), 32, 64, "none", 16),
        ((28, 28, 1), 32, 256, "none", 16),
        ((32, 32, 3), 32, 64, "layer", 16),
        ((32, 32, 3), 32, 64, "batch", 64),  # needs the statistics of the whole batch
    ],
)
def test_micro_batches_are_for_what_leaves_the_cache(shape, width, batch_size, normalization, micro_batch):
    images, labels = np.zeros((2, *shape), np.uint8), np.array([0, 1], np.int32)
    dataset = datasets.Dataset("two", images, labels, images, labels, ("a", "b"), "")
    network = NetworkConfig(blocks=2, width=width, normalization=normalization)
    config = TrialConfig(network=network, training=TrainingConfig(batch_size=batch_size))
    assert program(config, dataset, examples=1000).micro_batch == micro_batch
