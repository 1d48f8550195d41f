"""What a worker process of Ray does for a study: it runs groups of trials, and tells the driver how far they are.

A worker makes its session once: for all groups that follow, the data set lies on its device, and programs are compiled.
"""

import contextlib
import functools
import itertools
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from cnn import machine
from cnn.errors import RequestError
from cnn.machine import Machine
from cnn.study.executors import Here
from cnn.study.folder import StudyFolder
from cnn.study.outlook import Watch
from cnn.study.plan import Plan, Trial
from cnn.training.fit import Session
from cnn.training.folder import Outcome
from cnn.training.trial import Options

LONGEST = 20.0  # seconds to wait while another process holds the folder of a trial; then other trials come first


class Begun(NamedTuple):
    """Trials begin together, in an attempt of that name, as a group of that number."""

    attempt: str
    number: int
    trials: tuple[Trial, ...]


class Reached(NamedTuple):
    """Each trial of such a group has begun so many steps."""

    attempt: str
    number: int
    steps: int


class Line(NamedTuple):
    """A line that is to be shown."""

    text: str


Message = Begun | Reached | Line


class Board:
    """Keeps what workers tell until the driver asks: an actor."""

    def __init__(self) -> None:
        self.told: list[Message] = []

    def tell(self, message: Message) -> None:
        """Add a message."""
        self.told.append(message)

    def take(self) -> list[Message]:
        """The messages since the last call."""
        told = self.told
        self.told = []
        return told


class Work(NamedTuple):
    """What the groups of a study have in common; it goes to each machine once.

    Attributes:
        plan: the study, with its data set. Its grid may grow later, which changes nothing for a group.
        stream: leave the images on the host; see `Session`.
        around: gives what surrounds all work of a process, such as where compiled programs are kept.
        command: the command line of the driver, which the folders of trials name.
    """

    plan: Plan
    stream: bool
    around: Callable[[], AbstractContextManager[None]]
    command: Sequence[str]


class Order(NamedTuple):
    """One task: a group of trials.

    Attributes:
        work: a reference to the `Work`.
        board: the actor that is told how far the trials are.
        folder: of the study.
        trials: the group; where a process has fewer cores, it runs them one after another.
        options: how they run.
    """

    work: Any
    board: Any
    folder: Path
    trials: tuple[Trial, ...]
    options: Options


class OfDriver(Watch):
    """The progress of an attempt, told to the driver."""

    def __init__(self, board: Any) -> None:
        self.board = board
        self.attempt = uuid.uuid4().hex
        self.numbers = itertools.count()

    def line(self, text: str) -> None:
        self._tell(Line(text))

    def begin(self, trials: Sequence[Trial]) -> Callable[[int], None]:
        number = next(self.numbers)
        self._tell(Begun(self.attempt, number, tuple(trials)))
        return lambda steps: self._tell(Reached(self.attempt, number, steps))

    def _tell(self, message: Message) -> None:
        self.board.tell.remote(message)


class _Worker:
    """What one process keeps between its tasks."""

    def __init__(self, work: Work) -> None:
        sys.orig_argv[:] = work.command
        self.plan = work.plan
        self.around = contextlib.ExitStack()
        self.around.enter_context(work.around())
        self.here = Here(Session(work.plan.study.dataset, stream=work.stream))


@functools.lru_cache(maxsize=1)  # a process works for one driver, and so for one study after another
def _worker(work: Any) -> _Worker:
    import ray

    return _Worker(ray.get(work))


def runs_on(around: Callable[[], AbstractContextManager[None]]) -> Machine:
    """The machine of this process."""
    with around():
        return machine.here()


def run_group(order: Order) -> Mapping[Trial, Outcome] | RequestError | OSError:
    """Run a group of trials as soon as nobody else does: their outcomes, or an error.

    The error is `InUseError` where somebody else still does, otherwise one for which no trial can go on. What another
    attempt has finished is only read.
    """
    try:
        worker = _worker(order.work)
        folder = StudyFolder(order.folder)
        told = OfDriver(order.board)
        with contextlib.ExitStack() as held:
            for trial in sorted(order.trials, key=lambda trial: trial.name):  # so that no two attempts wait in a ring
                held.enter_context(folder.held(trial, LONGEST))
            outcomes: dict[Trial, Outcome] = {}
            for ended in worker.here.run(worker.plan, folder, order.trials, order.options, told):
                outcomes |= ended
            return outcomes
    except (RequestError, OSError) as error:
        return error
