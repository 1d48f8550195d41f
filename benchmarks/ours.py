"""This project's training step as the benchmarks time it, beside the peers of `benchmarks.peers`."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.problems import CLASSES, LEARNING_RATE, MOMENTUM, Problem
from cnn.config import TrainingConfig, TrialConfig
from cnn.data.datasets import Dataset
from cnn.training import replicas
from cnn.training.step import Program, Replica, Totals
from cnn.training.strategies import Pace, strategy
from cnn.training.tasks import Images


class MomentumProgram(Program):
    """A program whose optimiser is that of every side, not AdamW."""

    def optimizer(self, learning_rate: float | jax.Array) -> optax.GradientTransformation:
        """Stochastic gradient descent with momentum, at one rate."""
        return optax.sgd(learning_rate, MOMENTUM)


def train(problem: Problem, precision: str, steps: int) -> Callable[[], float]:
    """Steps of the training loop, an epoch of them, on random images; calling what it returns gives their mean loss."""
    dataset = _random_dataset(problem, steps)
    count = len(dataset.train_labels)
    config = TrialConfig(
        network=problem.network, training=TrainingConfig(batch_size=problem.batch_size, precision=precision)
    )
    program = replicas.program(config, dataset, count)
    settings = {field.name: getattr(program, field.name) for field in dataclasses.fields(program)}
    loop = strategy(MomentumProgram(**settings))
    data = Images(jnp.asarray(dataset.train_images), jnp.asarray(dataset.train_labels))
    mean, deviation = (jnp.full(problem.image_shape[2], value) for value in (127.5, 73.9))  # of even random bytes
    replica = Replica(jnp.int32(0), jnp.float32(LEARNING_RATE), jnp.arange(count, dtype=jnp.int32), mean, deviation)
    states = loop.start([replica])

    def run() -> float:
        nonlocal states
        pace = Pace(0, steps, lambda: False)
        states, (totals,) = loop.epoch(states, [Totals.zero()], [replica], data, 0, pace)
        jax.block_until_ready(states)
        return float(totals.loss) / int(totals.count)

    return run


def _random_dataset(problem: Problem, steps: int) -> Dataset:
    """As many images as the steps of an epoch take."""
    random, count = np.random.default_rng(0), problem.batch_size * steps
    images = random.integers(0, 256, (count, *problem.image_shape), dtype=np.uint8)
    labels = random.integers(0, CLASSES, count, dtype=np.int32)
    return Dataset("random", images, labels, images[:1], labels[:1], tuple(map(str, range(CLASSES))), "random")
