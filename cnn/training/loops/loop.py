"""The interface of the training loops, `Pace`: how far an epoch runs before it returns, and how a profiler names steps.

All loops do the same steps on the same random numbers. They differ in how much of the work is one compiled program, and
in where it runs.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from cnn.training.step import Answers, Program, Replica, Totals, TrainState

STEP = "training step"  # what a profiler calls the steps that Python starts together


class Stopped(Exception):
    """An evaluation was given up, because a stop was asked for."""


def never() -> bool:
    """False: nothing asks to pause or to stop."""
    return False


def after_one() -> Callable[[], bool]:
    """A function that stops an evaluation after its first batch.

    Example:
        >>> stop = after_one()
        >>> stop(), stop(), stop()
        (False, True, True)
    """
    return functools.partial(next, iter([False]), True)


class Pace:
    """How far an epoch runs before it returns: to its end, or to the step before which `pause` asks for a stop.

    Replicas that run in threads all do the same steps: after a request, each thread ends with the last step that any
    thread has begun. At least one step is done, so that a run makes progress even if it is stopped again and again.

    Args:
        first: the first step to do, counted from the start of the epoch.
        end: the number of steps of the epoch; after a stop, the number of steps that are done.
        pause: called between two steps; returns whether to stop.
        together: how many steps begin together at most, where one program has many of them.
    """

    def __init__(self, first: int, end: int, pause: Callable[[], bool], together: int = sys.maxsize) -> None:
        self.first = first
        self.end = end
        self._pause = pause
        self._together = together
        self._begun = first
        self._lock = Lock()

    @property
    def begun(self) -> int:
        """How many steps of the epoch a thread has begun."""
        return self._begun

    def begins(self, step: int, most: int = 1) -> int:
        """How many steps to do from this step of the epoch on, at most so many; 0 at the end."""
        with self._lock:
            if self.first < self._begun < self.end and self._pause():
                self.end = self._begun
            count = max(min(most, self._together, self.end - step), 0)
            self._begun = max(self._begun, step + count)
            return count


def named(step: int) -> jax.profiler.StepTraceAnnotation:
    """A block that starts a step, or several from this one on, and that a profiler shows as `STEP` with its number.

    While nothing is traced, a block costs a thousandth of a millisecond.
    """
    return jax.profiler.StepTraceAnnotation(STEP, step_num=step)


@runtime_checkable
class Loop(Protocol):
    """How replicas of one program run.

    `states` is whatever the loop keeps their states in, and `data` whatever the program's `batches` take images from.
    """

    program: Program
    batch_size: int  # of an evaluation

    def sharing(self, replicas: int) -> int:
        """How many devices share the work of so many replicas; others do what these do too."""

    def start(self, replicas: Sequence[Replica]) -> Any:
        """The states before the first step."""

    def warm_up(self, states: Any, replicas: Sequence[Replica], data: Any) -> None:
        """Compile the training step, so that no epoch's seconds include it."""

    def epoch(
        self, states: Any, totals: list[Totals], replicas: Sequence[Replica], data: Any, epoch: int, pace: Pace
    ) -> tuple[Any, list[Totals]]:
        """The states after an epoch, or after its steps up to `pace.end`, and its sums so far.

        The caller must not use the old states and sums again. A replica that diverged in an earlier epoch may be left
        as it is.
        """

    def evaluate(
        self,
        states: Any,
        replicas: Sequence[Replica],
        data: Any,
        parts: Sequence[np.ndarray],
        stop: Callable[[], bool],
    ) -> list[tuple[Totals, Answers]]:
        """For each replica the sums over its part of the data, and the answer to each image in it.

        Raises:
            Stopped: `stop`, which is called before each batch or piece of some batches, returned True.
        """

    def unstack(self, states: Any, count: int) -> list[TrainState]:
        """The state of each of so many replicas."""

    def stack(self, states: Sequence[TrainState]) -> Any:
        """The inverse of `unstack`."""
