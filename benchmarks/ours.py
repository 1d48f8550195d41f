"""This project's training step as the benchmarks time it, beside the peers of `benchmarks.peers`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.problems import CLASSES, LEARNING_RATE, MOMENTUM, Problem
from cnn import machine
from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data.batches import Images
from cnn.data.content import Dataset
from cnn.training import fit
from cnn.training.loops import choice
from cnn.training.loops.loop import Loop, Pace
from cnn.training.optimizer import Optimizer
from cnn.training.prepared import prepare_trials
from cnn.training.step import Program, Replica, Totals
from experiments.command import memory


def momentum(learning_rate: float | jax.Array) -> optax.GradientTransformation:
    """The optimiser of every side: stochastic gradient descent with momentum, at a constant learning rate."""
    return optax.sgd(learning_rate, MOMENTUM)


def train(problem: Problem, precision: str, steps: int) -> Callable[[], float]:
    """A function that does `steps` steps of the training loop on random images, and returns their mean loss."""
    training = TrainingConfig(batch_size=problem.batch_size, precision=precision)
    program = random_program(problem.image_shape, problem.network, training, steps, momentum)
    here = machine.here()
    loop = choice.loop(program, here, machine.all_devices(), ThreadPoolExecutor(here.cores))
    one_epoch = epoch(loop, problem.image_shape)

    def run() -> float:
        (totals,) = one_epoch()
        return float(totals.loss) / int(totals.count)

    return run


def random_program(
    image_shape: tuple[int, int, int],
    network: NetworkConfig,
    training: TrainingConfig,
    steps: int,
    optimizer: Optimizer | None = None,
) -> Program:
    """The program for random images: an epoch has `steps` steps, and takes each image once."""
    memory.keep()  # as each command does
    images = np.zeros((training.batch_size * steps, *image_shape), np.uint8)
    labels = np.zeros(len(images), np.int32)
    names = tuple(map(str, range(CLASSES)))
    dataset = Dataset("random", images, labels, images[:1], labels[:1], names, "random", "random")
    config = TrialConfig("random", network=network, training=training)
    return fit.program(prepare_trials(config, dataset), machine.here(), optimizer)


def epoch(loop: Loop, image_shape: tuple[int, int, int], replicas: int = 1) -> Callable[[], list[Totals]]:
    """A function that trains replicas for an epoch on random images; each call continues where the last one ended."""
    random = np.random.default_rng(0)
    batches = loop.program.batches
    count = batches.size * batches.steps_per_epoch
    data = Images(
        jnp.asarray(random.integers(0, 256, (count, *image_shape), dtype=np.uint8)),
        jnp.asarray(random.integers(0, CLASSES, count, dtype=np.int32)),
    )
    mean, deviation = (jnp.full(image_shape[2], value) for value in (127.5, 73.9))  # of uniform random bytes
    order = jnp.arange(count, dtype=jnp.int32)
    members = [Replica(jnp.int32(seed), jnp.float32(LEARNING_RATE), order, mean, deviation) for seed in range(replicas)]
    states = loop.start(members)

    def run() -> list[Totals]:
        nonlocal states
        pace = Pace(0, batches.steps_per_epoch, lambda: False)
        states, totals = loop.epoch(states, [Totals.zero() for _ in members], members, data, 0, pace)
        jax.block_until_ready(states)
        return totals

    return run
