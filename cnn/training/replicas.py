"""The only fit: one or more replicas (seeds, learning rates) of one network, on whatever device there is.

How the loop runs is decided here and nowhere else, see `strategy`. Both strategies do the same steps on the same random
numbers; they differ in what the compiler sees.
"""

import dataclasses
import functools
import math
import operator
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cnn.config import RequestError, TrialConfig
from cnn.data.datasets import Dataset, channel_statistics, split
from cnn.network import models, summary
from cnn.network.layers import Sequence, Shape
from cnn.network.lenet1998 import LeNet5_1998
from cnn.training.step import Answers, Program, Replica, Totals, TrainState, members, padded
from cnn.training.tasks import Images, task


class Epoch(NamedTuple):
    """What an epoch leaves for one replica: its line of `metrics.jsonl`, and the first step without a finite loss."""

    metrics: dict[str, Any]
    bad_step: int | None


@runtime_checkable
class Strategy(Protocol):
    """How replicas run: `states` is whatever the strategy keeps them in."""

    batch_size: int  # of an evaluation

    def start(self, replicas: list[Replica]) -> Any:
        """The states before the first step."""

    def warm_up(self, states: Any, replicas: list[Replica], data: Images) -> None:
        """Compile the training step, so that no epoch's seconds include it."""

    def epoch(self, states: Any, replicas: list[Replica], data: Images, epoch: int) -> tuple[Any, list[Totals]]:
        """The states after an epoch, and its sums; the old states must not be used again."""

    def evaluate(
        self, states: Any, replicas: list[Replica], data: Images, parts: list[np.ndarray]
    ) -> list[tuple[Totals, Answers]]:
        """For each replica the sums over its part of the data, and the answer to each image in it."""

    def unstack(self, states: Any) -> list[TrainState]:
        """One state for each replica."""

    def stack(self, states: list[TrainState]) -> Any:
        """The inverse of `unstack`."""


class PythonLoop:
    """A compiled step dispatched from Python, each replica in a thread of its own: for CPUs.

    XLA runs a convolution inside a compiled loop on one core and without its fast kernels, 2 to 100 times slower;
    outside, dispatch costs little. Two trainings in threads take 0.65 (digits) and 0.64 (28x28, width 16) of the time
    that they take one after another on two cores, since a step alone does not keep both busy (benchmarks/lowerings.py).
    """

    batch_size = 128  # larger batches leave the cache and are slower

    def __init__(self, program: Program) -> None:
        self.program = program
        self.init = jax.jit(program.init)
        self.shuffle = jax.jit(program.shuffle)
        self.step = jax.jit(program.step, donate_argnums=(0, 1))
        self.evaluate_batch = jax.jit(program.evaluate)
        self.take = jax.jit(Images.take)

    def start(self, replicas: list[Replica]) -> list[TrainState]:
        return [self.init(replica) for replica in replicas]

    def warm_up(self, states: list[TrainState], replicas: list[Replica], data: Images) -> None:
        spare = jax.tree.map(jnp.copy, states[0])  # the step takes its state away
        jax.block_until_ready(self.step(spare, Totals.zero(), replicas[0], data, self.shuffle(replicas[0], 0)))

    def epoch(
        self, states: list[TrainState], replicas: list[Replica], data: Images, epoch: int
    ) -> tuple[list[TrainState], list[Totals]]:
        def one(stop: Event, state: TrainState, replica: Replica) -> tuple[TrainState, Totals]:
            totals, order = Totals.zero(), self.shuffle(replica, epoch)
            for _ in range(self.program.steps_per_epoch):
                if stop.is_set():
                    break
                state, totals = self.step(state, totals, replica, data, order)
            return state, jax.device_get(totals)

        states, totals = zip(*_in_threads(one, states, replicas))
        return list(states), list(totals)

    def evaluate(
        self, states: list[TrainState], replicas: list[Replica], data: Images, parts: list[np.ndarray]
    ) -> list[tuple[Totals, Answers]]:
        def one(stop: Event, state: TrainState, replica: Replica, part: np.ndarray) -> tuple[Totals, Answers]:
            totals, batches = Totals.zero(), []
            for indices, mask in zip(*padded(members(part, self.program.task.objects), self.batch_size)):
                if stop.is_set():
                    break
                batch = self.take(data, indices)
                totals, answers = self.evaluate_batch(state, totals, replica, indices, batch, mask)
                batches.append(answers)
            gathered = jax.tree.map(lambda *parts: np.concatenate(parts)[: len(part)], *jax.device_get(batches))
            return jax.device_get(totals), gathered

        return _in_threads(one, states, replicas, parts)

    def unstack(self, states: list[TrainState]) -> list[TrainState]:
        return states

    def stack(self, states: list[TrainState]) -> list[TrainState]:
        return states


class OneProgram:
    """All replicas in one program, `vmap` of a `lax.scan` over the steps of an epoch: for accelerators."""

    batch_size = 1000

    def __init__(self, program: Program) -> None:
        self.objects = program.task.objects
        self.init = jax.jit(jax.vmap(program.init))

        def epoch(state: TrainState, replica: Replica, data: Images, number: int | Array) -> tuple[TrainState, Totals]:
            order = program.shuffle(replica, number)

            def step(carry: tuple[TrainState, Totals], _: None) -> tuple[tuple[TrainState, Totals], None]:
                return program.step(*carry, replica, data, order), None

            return lax.scan(step, (state, Totals.zero()), length=program.steps_per_epoch)[0]

        def evaluate(state: TrainState, replica: Replica, data: Images, indices: Any, mask: Any) -> tuple[Totals, Any]:
            def batch(sums: Totals, batch: tuple) -> tuple[Totals, Answers]:
                return program.evaluate(state, sums, replica, batch[0], data.take(batch[0]), batch[1])

            return lax.scan(batch, Totals.zero(), (indices, mask))

        self.run_epoch = jax.jit(jax.vmap(epoch, in_axes=(0, 0, None, None)), donate_argnums=0)
        self.run_evaluate = jax.jit(jax.vmap(evaluate, in_axes=(0, 0, None, 0, None)))

    def start(self, replicas: list[Replica]) -> TrainState:
        return self.init(_stack(replicas))

    def warm_up(self, states: TrainState, replicas: list[Replica], data: Images) -> None:
        """Nothing: a spare epoch costs more than it tells, so the first one's seconds include compilation."""

    def epoch(
        self, states: TrainState, replicas: list[Replica], data: Images, epoch: int
    ) -> tuple[TrainState, list[Totals]]:
        states, totals = self.run_epoch(states, _stack(replicas), data, epoch)
        return states, jax.device_get(_unstack(totals, len(replicas)))

    def evaluate(
        self, states: TrainState, replicas: list[Replica], data: Images, parts: list[np.ndarray]
    ) -> list[tuple[Totals, Answers]]:
        batches = [padded(members(part, self.objects), self.batch_size) for part in parts]
        indices, mask = jnp.stack([batch[0] for batch in batches]), batches[0][1]
        found = self.run_evaluate(states, _stack(replicas), data, indices, mask)
        totals, answers = (jax.device_get(_unstack(tree, len(parts))) for tree in found)
        rows = [
            jax.tree.map(lambda leaf, n=len(part): leaf.reshape(-1, *leaf.shape[2:])[:n], one)
            for one, part in zip(answers, parts)
        ]
        return list(zip(totals, rows))

    def unstack(self, states: TrainState) -> list[TrainState]:
        return _unstack(states, len(states.step))

    def stack(self, states: list[TrainState]) -> TrainState:
        return _stack(states)


def _in_threads(function: Callable[..., Any], *lists: list[Any]) -> list[Any]:
    """`function(stop, ...)` on each row, a thread each; where this thread is interrupted, `stop` tells the others."""
    stop = Event()
    with ThreadPoolExecutor(max_workers=len(lists[0])) as threads:
        try:
            return list(threads.map(functools.partial(function, stop), *lists))
        except BaseException:
            stop.set()
            raise


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unstack(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(operator.itemgetter(index), tree) for index in range(count)]


@functools.lru_cache(maxsize=16)
def strategy(program: Program) -> Strategy:
    """How the loop runs on this machine's device. Kept, so that a network compiles once for all its seeds and rates."""
    return PythonLoop(program) if jax.default_backend() == "cpu" else OneProgram(program)


def largest_group() -> int:
    """How many replicas are best run together: on a CPU one for each core, up to 4; more was not measured."""
    if jax.default_backend() != "cpu":
        return 16
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4)


@functools.lru_cache(maxsize=1)
def _on_device(dataset: Dataset) -> tuple[Images, Images]:
    train = Images(jnp.asarray(dataset.train_images), jnp.asarray(dataset.train_labels))
    return train, Images(jnp.asarray(dataset.test_images), jnp.asarray(dataset.test_labels))


class Fit:
    """Replicas of one network on one data set. Iterate over `epochs()`; read `states` and `answers()` when you like.

    Args:
        configs: trials that differ in seed and learning rate alone.
        dataset: what they learn from.

    Raises:
        RequestError: a network that does not fit the images, or a batch larger than the training part.
    """

    def __init__(self, configs: list[TrialConfig], dataset: Dataset) -> None:
        self.configs, self.config, self.dataset = configs, configs[0], dataset
        splits = [split(dataset.train_labels, config.validation_fraction, config.seed) for config in configs]
        self.validation = [validation for _, validation in splits]
        self.program = program(self.config, dataset, len(splits[0][0]))
        self.strategy = strategy(self.program)
        self.data, self.test_data = _on_device(dataset)
        self.replicas = [_replica(config, dataset, train) for config, (train, _) in zip(configs, splits)]
        self.states = self.strategy.start(self.replicas)
        self.strategy.warm_up(self.states, self.replicas, self.data)

    def epochs(self, start: int = 0) -> Iterator[list[Epoch]]:
        """Train, epoch by epoch, from the given one on; yields a list with an entry for each replica."""
        for number in range(start, self.config.training.epochs):
            started = time.perf_counter()
            self.states, sums = self.strategy.epoch(self.states, self.replicas, self.data, number)
            seconds = time.perf_counter() - started
            if len(self.validation[0]):
                checks = self.strategy.evaluate(self.states, self.replicas, self.data, self.validation)
                held_out = [totals for totals, _ in checks]
            else:
                held_out = [Totals.zero()] * len(sums)
            yield [self._epoch(number, *pair, seconds / len(sums)) for pair in zip(sums, held_out)]

    def _epoch(self, number: int, train: Totals, validation: Totals, seconds: float) -> Epoch:
        metrics = {"epoch": number + 1, **_means("train", train), **_means("val", validation), "seconds": seconds}
        return Epoch(metrics, int(train.bad_step) if train.bad_step >= 0 else None)

    def answers(self, data: Images | None = None) -> list[Answers]:
        """For each replica its answer to each of these images, in their order; without any, to the whole test set."""
        data = self.test_data if data is None else data
        parts = [np.arange(len(data.labels), dtype=np.int32)] * len(self.replicas)
        return [answers for _, answers in self.strategy.evaluate(self.states, self.replicas, data, parts)]


def program(config: TrialConfig, dataset: Dataset, examples: int) -> Program:
    """What is compiled for a trial, given how many training images are left after the split."""
    size = config.training.batch_size
    if size > examples:
        raise RequestError(f"batch_size={size}: {dataset.name} has {examples} training images, so at most {examples}")
    asked = task(config, dataset.image_shape, dataset.classes)
    network = models.build(config.network, asked.image_shape, asked.outputs)
    if isinstance(network, LeNet5_1998):
        if config.scene.objects:
            raise RequestError(f"objects={config.scene.objects}: lenet5_1998 only classifies, so must be 0")
        asked = dataclasses.replace(asked, rejection_logit=network.rejection_logit)
    micro_batch = _micro_batch(config, network, asked.image_shape)
    return Program(network, asked, config.training, examples // size, micro_batch)


def _micro_batch(config: TrialConfig, network: Sequence, image_shape: Shape) -> int:
    """How many examples a step takes at once: on a CPU so few that the widest layer's output stays in the cache.

    With batch 64 and micro-batches of 16 a step takes 0.85 of the time at 28x28 with width 16, 0.69 at 32x32 with width
    32 (benchmarks/lowerings.py). Each adds its gradient to the sum, so its output should be no smaller than that: with
    one block at 32x32, a million parameters, micro-batches of 16 take 1.26 times as long as 32. At
    most 8 of them, since each is compiled on its own. Batch normalisation needs the whole batch.
    """
    size = config.training.batch_size
    rows = summary.rows(network, image_shape)
    largest = max(math.prod(row.output_shape) for row in rows)
    if jax.default_backend() != "cpu" or config.network.normalization == "batch" or size * largest * 4 < 2 * 2**20:
        return size
    balanced = 2 ** round(math.log2(size * largest / sum(row.parameters for row in rows)))
    return -(-size // max(min(balanced, size // 16, 8), 1))


def _replica(config: TrialConfig, dataset: Dataset, train: np.ndarray) -> Replica:
    mean, deviation = channel_statistics(dataset.train_images, train)
    numbers = (jnp.int32(config.seed), jnp.float32(config.learning_rate), jnp.asarray(train))
    return Replica(*numbers, jnp.asarray(mean), jnp.asarray(deviation))


def _means(part: str, totals: Totals) -> dict[str, float | None]:
    count = int(totals.count)
    loss = float(totals.loss) / count if count else None
    return {
        f"{part}_loss": loss if loss is not None and math.isfinite(loss) else None,
        f"{part}_accuracy": int(totals.correct) / count if count else None,
    }
