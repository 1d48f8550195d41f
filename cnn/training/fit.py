"""Trains one or more replicas (seeds, learning rates) of one network, on any device.

A `Session` holds what the fits of a process share; a `Fit` trains what `cnn.training.prepared` has checked.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn import machine
from cnn.config import TrialConfig
from cnn.data import stream as streaming
from cnn.data.batches import Images, Resident
from cnn.data.content import Dataset
from cnn.data.records import Records
from cnn.data.splits import channel_statistics, split
from cnn.machine import Machine
from cnn.network import forms
from cnn.progress import Progress
from cnn.trained.network import Trained
from cnn.training.loops import choice, leading
from cnn.training.loops.loop import Loop, Pace, Stopped, after_one, never
from cnn.training.loops.mesh import on_all
from cnn.training.metrics import Epoch
from cnn.training.optimizer import Optimizer, adamw
from cnn.training.prepared import Prepared
from cnn.training.step import Answers, Program, Replica, Totals, TrainState


class Session:
    """What the trials of one process share: the data on the device, threads, and what is compiled.

    Args:
        dataset: what the trials learn from.
        here: the machine they run on, by default this one.
        stream: leave the images on the host, as where they would take more than half of a device's memory.

    Raises:
        RequestError: the images stay on the host, and Grain is not installed, or there are several processes.
    """

    def __init__(self, dataset: Dataset, here: Machine | None = None, stream: bool = False) -> None:
        self.dataset = dataset
        self.machine = here or machine.here()
        self._too_large = streaming.too_large(dataset, machine.device_memory())
        self.streams = stream or bool(self._too_large)
        if self.streams:
            streaming.require_installed(self._too_large or "stream=True")
        leading.begin(self.machine, dataset.fingerprint, self.streams)
        self.devices = machine.all_devices()[: 1 if self.streams else self.machine.devices]
        self.train = self._placed(dataset.train_images, dataset.train_labels)
        self.test = self._placed(dataset.test_images, dataset.test_labels)
        self._pool = ThreadPoolExecutor(self.machine.cores)
        self._loops: dict[TrialConfig, Loop] = {}
        self._said: set[int] = set()  # numbers of devices that a line has named
        self.traced: set[Loop] = set()  # those whose steps `cnn.training.profile` has traced

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()

    def _placed(self, images: np.ndarray | Records, labels: np.ndarray) -> Images | streaming.HostImages:
        """A part of the data set where its images stay."""
        return streaming.HostImages(images, labels) if self.streams else Images(*on_all(self.devices, (images, labels)))

    @property
    def largest_group(self) -> int:
        """How many trials are best run together."""
        return choice.largest_group(self.machine, self.streams)

    def advise(self, precision: str, progress: Progress) -> None:
        """Say in a line where another precision is faster on this machine, and where the images stay on the host."""
        why = f"{self._too_large}; so the host reads those of each step ahead" if self._too_large else ""
        for line in filter(None, (choice.advice(precision, self.machine), why)):
            progress.line(line)

    def say_sharing(self, loop: Loop, replicas: int, progress: Progress) -> None:
        """Say in a line, once for each number, where only some of the devices share the work."""
        sharing = loop.sharing(replicas)
        if sharing not in (self.machine.devices, *self._said):
            self._said.add(sharing)
            why = f"trials together: {replicas}, batch_size={loop.program.batches.size}"
            progress.line(f"{sharing} of {self.machine.devices} devices share the work ({why})")

    def loop(self, prepared: Prepared) -> Loop:
        """The loop of a program, which compiles once for all seeds and learning rates."""
        shared = replace(prepared.config, seed=0, learning_rate=1.0)
        if shared not in self._loops:
            own = program(prepared, self.machine, stream=self.streams)
            loop = choice.loop(own, self.machine, self.devices, self._pool)
            self._loops[shared] = leading.led(loop, shared, (self.train, self.test))
        return self._loops[shared]


def program(prepared: Prepared, here: Machine, optimizer: Optimizer | None = None, stream: bool = False) -> Program:
    """What is compiled for a trial on a machine.

    Args:
        prepared: the settings.
        here: the machine.
        optimizer: by default AdamW as the settings say.
        stream: whether the images stay on the host.
    """
    config = prepared.config
    training = config.training
    batches = streaming.Stream if stream else Resident
    return Program(
        network=prepared.network,
        task=prepared.task,
        batches=batches(training.batch_size, prepared.steps_per_epoch, prepared.task.objects),
        optimizer=optimizer or adamw(training, training.epochs * prepared.steps_per_epoch),
        forms=forms.fast(here.backend),
        micro_batch=choice.micro_batch(config, prepared.network, prepared.task.image_shape, here),
        precision=training.precision,
        label_smoothing=training.label_smoothing,
    )


class Snapshot(NamedTuple):
    """Where one replica stands: its state, the sums of the epoch in progress, and the seconds of that epoch's steps."""

    state: TrainState
    totals: Totals
    seconds: float


class Fit:
    """Replicas of one network on one data set.

    Args:
        session: what the trials of this process share.
        prepared: what the replicas have in common.
        configs: trials that differ from `prepared.config` in seed and learning rate alone.
        test: whether to compile the evaluation of the test images too. Without it they stay unread until `answers`.

    Attributes:
        compile_seconds: each replica's share of the time to make the states and to compile step and evaluation.
    """

    def __init__(
        self, session: Session, prepared: Prepared, configs: Sequence[TrialConfig], test: bool = False
    ) -> None:
        self.session = session
        self.prepared = prepared
        self.configs = list(configs)
        self.loop = session.loop(prepared)
        splits = [split(session.dataset.train_labels, config.validation_fraction, config.seed) for config in configs]
        trains, self._validation = zip(*splits, strict=True)
        self.replicas = [_replica(*pair, session.dataset) for pair in zip(configs, trains, strict=True)]
        started = time.perf_counter()
        self._states = self.loop.start(self.replicas)
        self.loop.warm_up(self._states, self.replicas, session.train)
        evaluations: list[Callable[..., Any]] = [self._validated, *([self.answers] if test else [])]
        for evaluate in evaluations:
            with contextlib.suppress(Stopped):
                evaluate(after_one())  # to compile
        self.compile_seconds = (time.perf_counter() - started) / len(self.configs)  # each replica's share
        self.steps = 0  # done so far
        self._totals = [Totals.zero() for _ in configs]  # of the epoch in progress, as are the seconds below
        self._seconds = 0.0
        self._pace: Pace | None = None  # of the epoch in progress

    def epochs(
        self, pause: Callable[[], bool] = never, stop: Callable[[], bool] = never
    ) -> Iterator[list[tuple[Epoch, int | None]]]:
        """Train to the end, epoch by epoch.

        Args:
            pause: called between steps. Where it returns True, the epoch pauses there and yields an empty list.
            stop: called between the batches of an evaluation. Where it returns True, the evaluation is given up, and
                the epoch yields an empty list; the next call of this function, also after a restore, evaluates anew.

        Yields:
            For each replica its metrics of the epoch, and the first step without a finite loss, or None.
        """
        while self.steps < self.total or self._unevaluated:
            if not self._unevaluated:
                self._train_on(pause)
            yield self._end_epoch(stop) if self._unevaluated else []

    @property
    def total(self) -> int:
        """How many steps the whole training has."""
        return self.prepared.steps_per_epoch * self.prepared.config.training.epochs

    @property
    def begun(self) -> int:
        """How many steps each replica has begun: as `steps`, but up to date within an epoch too."""
        return self.steps + (self._pace.begun - self._pace.first if self._pace is not None else 0)

    @property
    def _unevaluated(self) -> bool:
        """Whether the sums are those of a whole epoch."""
        counts = [int(totals.count) for totals in self._totals]
        return max(counts) == self.prepared.images_per_epoch  # a diverged replica counts no more images

    def _train_on(self, pause: Callable[[], bool]) -> None:
        """Train to the end of the epoch, or until `pause` returns True."""
        steps = self.prepared.steps_per_epoch
        number, first = divmod(self.steps, steps)
        pace = Pace(first, steps, pause)
        self._pace = pace
        started = time.perf_counter()
        self._states, self._totals = self.loop.epoch(
            self._states, self._totals, self.replicas, self.session.train, number, pace
        )
        self._seconds += time.perf_counter() - started
        self.steps = number * steps + pace.end
        self._pace = None

    def _end_epoch(self, stop: Callable[[], bool]) -> list[tuple[Epoch, int | None]]:
        sums = self._totals
        number = self.steps // self.prepared.steps_per_epoch
        due = self.prepared.validates(number, self.validation_images)
        try:
            held_out = [totals for totals, _ in self._validated(stop)] if due else [Totals.zero()] * len(sums)
        except Stopped:
            return []
        shares = self._shares()
        self._totals = [Totals.zero().replace(bad_step=jnp.int32(totals.bad_step)) for totals in sums]
        self._seconds = 0.0
        return [
            (Epoch.of(number, train, validation, seconds), _bad_step(train))
            for train, validation, seconds in zip(sums, held_out, shares, strict=True)
        ]

    def snapshot(self) -> list[Snapshot]:
        """Where each replica stands after `steps` steps."""
        states = self.loop.unstack(self._states, len(self.configs))
        parts = zip(states, self._totals, self._shares(), strict=True)
        return [Snapshot(state, totals, seconds) for state, totals, seconds in parts]

    def _shares(self) -> list[float]:
        """The seconds of the epoch so far that each replica has; one that diverged before, and only waits, has none."""
        trained = [int(totals.count) > 0 for totals in self._totals]
        each = self._seconds / max(sum(trained), 1)
        return [each if trains else 0.0 for trains in trained]

    def restore(self, steps: int, snapshots: Sequence[Snapshot]) -> None:
        """Continue from snapshots taken after `steps` steps; the replicas may have run in other groups then."""
        self._states = self.loop.stack([snapshot.state for snapshot in snapshots])
        self._totals = [snapshot.totals for snapshot in snapshots]
        self._seconds = sum(snapshot.seconds for snapshot in snapshots)
        self.steps = steps

    def answers(self, stop: Callable[[], bool] = never) -> list[Answers]:
        """For each replica the answers to the test images, in the order of the images.

        Raises:
            Stopped: `stop`, which is called between batches, returned True.
        """
        data = self.session.test
        parts = [np.arange(len(data.labels), dtype=np.int32)] * len(self.replicas)
        return [answers for _, answers in self.loop.evaluate(self._states, self.replicas, data, parts, stop)]

    @property
    def validation_images(self) -> int:
        """How many images each replica holds out."""
        return len(self._validation[0])

    def validation_answers(self, stop: Callable[[], bool] = never) -> Sequence[Answers | None]:
        """For each replica the answers to its validation images, in the order of its split; None where it has none.

        Raises:
            Stopped: `stop`, which is called between batches, returned True.
        """
        return [answers for _, answers in self._validated(stop)]

    def _validated(self, stop: Callable[[], bool]) -> Sequence[tuple[Totals, Answers | None]]:
        if not self.validation_images:
            return [(Totals.zero(), None)] * len(self.replicas)
        return self.loop.evaluate(self._states, self.replicas, self.session.train, self._validation, stop)

    def trained(self) -> list[Trained]:
        """Each replica's network as it is now."""
        dataset = self.session.dataset
        states = self.loop.unstack(self._states, len(self.configs))
        return [
            Trained(
                config=config,
                variables={"params": state.params, **state.statistics},
                mean=np.asarray(replica.mean),
                deviation=np.asarray(replica.deviation),
                image_shape=self.prepared.task.image_shape,
                class_names=dataset.class_names,
                output_size=self.prepared.task.outputs,
                largest_pixel=dataset.largest_pixel,
                forms=self.loop.program.forms,
                dataset_fingerprint=dataset.fingerprint,
                provenance=machine.provenance(self.session.machine),
            )
            for state, replica, config in zip(states, self.replicas, self.configs, strict=True)
        ]


def _bad_step(totals: Totals) -> int | None:
    return int(totals.bad_step) if totals.bad_step >= 0 else None


def _replica(config: TrialConfig, train: np.ndarray, dataset: Dataset) -> Replica:
    mean, deviation = channel_statistics(dataset.train_images, train)
    own = np.int32(config.seed), np.float32(config.learning_rate), train, mean, deviation
    return Replica(*jax.device_put(own, may_alias=False))  # `jnp.asarray` would compile a small program for each shape
