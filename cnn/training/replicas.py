"""The only fit: one or more replicas (seeds, learning rates) of one network, on whatever device there is."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn.config import RequestError, TrialConfig, require
from cnn.data.datasets import Dataset, channel_statistics, split
from cnn.network import models, summary
from cnn.network.layers import Sequence, Shape
from cnn.network.lenet1998 import LeNet5_1998
from cnn.training.step import Answers, Program, Replica, Totals
from cnn.training.strategies import Pace, strategy
from cnn.training.tasks import Classification, Images, Task, task


class Epoch(NamedTuple):
    """What an epoch leaves for one replica: its line of `metrics.jsonl`, and the first step without a finite loss."""

    metrics: dict[str, Any]
    bad_step: int | None


@functools.lru_cache(maxsize=1)
def _on_device(dataset: Dataset) -> tuple[Images, Images]:
    train, test = (dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)
    return Images(*_copied(train)), Images(*_copied(test))


class Fit:
    """Replicas of one network on one data set. Iterate over `epochs()`; read `states` and `answers()` when you like.

    Where a training stands is in `states`, `steps` (done so far), and for the epoch in progress its `totals` and
    `seconds`; given those of another, this one continues it.

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
        self.steps, self.totals, self.seconds = 0, [Totals.zero() for _ in configs], 0.0

    def epochs(self, pause: Callable[[], bool] = lambda: False) -> Iterator[list[Epoch]]:
        """Train to the end, epoch by epoch; yields a list with an entry for each replica.

        Args:
            pause: asked between steps; where it says yes, an empty list is yielded in the middle of the epoch.
        """
        steps = self.program.steps_per_epoch
        while self.steps < steps * self.config.training.epochs:
            number, first = divmod(self.steps, steps)
            pace, started = Pace(first, steps, pause), time.perf_counter()
            self.states, self.totals = self.strategy.epoch(
                self.states, self.totals, self.replicas, self.data, number, pace
            )
            self.steps, self.seconds = number * steps + pace.end, self.seconds + time.perf_counter() - started
            yield self._end_epoch(number) if pace.end == steps else []

    def _end_epoch(self, number: int) -> list[Epoch]:
        sums, seconds = self.totals, self.seconds / len(self.totals)
        self.totals = [Totals.zero().replace(bad_step=jnp.int32(totals.bad_step)) for totals in sums]
        self.seconds = 0.0
        if len(self.validation[0]):
            checks = self.strategy.evaluate(self.states, self.replicas, self.data, self.validation)
            held_out = [totals for totals, _ in checks]
        else:
            held_out = [Totals.zero()] * len(sums)
        return [self._epoch(number, *pair, seconds) for pair in zip(sums, held_out)]

    def _epoch(self, number: int, train: Totals, validation: Totals, seconds: float) -> Epoch:
        metrics = {"epoch": number + 1, **_means("train", train), **_means("val", validation), "seconds": seconds}
        return Epoch(metrics, int(train.bad_step) if train.bad_step >= 0 else None)

    def answers(self, data: Images | None = None) -> list[Answers]:
        """For each replica its answer to each of these images, in their order; without any, to the whole test set."""
        data = self.test_data if data is None else data
        parts = [np.arange(len(data.labels), dtype=np.int32)] * len(self.replicas)
        return [answers for _, answers in self.strategy.evaluate(self.states, self.replicas, data, parts)]


def program(config: TrialConfig, dataset: Dataset, examples: int) -> Program:
    """What is compiled for a trial, given how many training images are left after the split.

    Raises:
        RequestError: settings that do not suit the images, or more steps than 32 bits count.
    """
    size, shift, epochs = config.training.batch_size, config.training.shift, config.training.epochs
    if size > examples:
        raise RequestError(f"batch_size={size}: {dataset.name} has {examples} training images, so at most {examples}")
    side, steps = min(dataset.image_shape[:2]), examples // size
    require(shift < side, "shift", shift, f"at most {side - 1}, or nothing of an image is left")
    require(epochs * steps < 2**31, "epochs", epochs, f"at most {(2**31 - 1) // steps}, with {steps} steps in each")
    if config.network.model == "lenet5_1998" and config.scene.objects:
        raise RequestError(f"objects={config.scene.objects}: lenet5_1998 only classifies, so must be 0")
    asked: Task = task(config, dataset.image_shape, dataset.classes)
    network = models.build(config.network, asked.image_shape, asked.outputs)
    if isinstance(network, LeNet5_1998) and isinstance(asked, Classification):
        asked = dataclasses.replace(asked, rejection_logit=network.rejection_logit)
    micro_batch = _micro_batch(config, network, asked.image_shape)
    return Program(network, asked, config.training, steps, micro_batch)


def _micro_batch(config: TrialConfig, network: Sequence, image_shape: Shape) -> int:
    """How many examples a core takes at once: so few that the widest layer's output stays in its cache.

    Measured in benchmarks/lowerings.py. Each micro-batch adds its gradient to the sum, so its output should be no
    smaller than that: with one block at 32x32, a million parameters, 16 at once take longer than 32. What is small as a
    whole is not divided. Batch normalisation needs the whole batch.
    """
    size = config.training.batch_size
    rows = summary.rows(network, image_shape)
    largest = max(math.prod(row.output_shape) for row in rows)
    if jax.default_backend() != "cpu" or config.network.normalization == "batch" or size * largest * 4 < 2 * 2**20:
        return size
    balanced = 2 ** round(math.log2(2 * size * largest / sum(row.parameters for row in rows)))
    return -(-size // max(min(balanced, size // 16), 1))


def _replica(config: TrialConfig, dataset: Dataset, train: np.ndarray) -> Replica:
    mean, deviation = channel_statistics(dataset.train_images, train)
    numbers = (np.int32(config.seed), np.float32(config.learning_rate))
    return Replica(*_copied((*numbers, train, mean, deviation)))


def _copied(arrays: Any) -> Any:
    """Arrays on the device; `jnp.asarray` would compile a small program for each shape."""
    return jax.device_put(arrays, may_alias=False)


def _means(part: str, totals: Totals) -> dict[str, float | None]:
    count = int(totals.count)
    loss = float(totals.loss) / count if count else None
    return {
        f"{part}_loss": loss if loss is not None and math.isfinite(loss) else None,
        f"{part}_accuracy": int(totals.correct) / count if count else None,
    }
