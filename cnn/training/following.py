"""What the other processes of a program do: each program that process 0 runs, in the same order.

They load the same data set, and make the same sessions and loops. They decide nothing, write nothing and print nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from cnn.config import TrialConfig, from_json
from cnn.data.content import Dataset
from cnn.errors import require
from cnn.machine import Machine
from cnn.processes import PATIENCE, Crew, Message
from cnn.training.fit import Session
from cnn.training.loops.loop import Loop, Pace, Stopped
from cnn.training.prepared import prepare_trials
from cnn.training.step import Replica, Totals


def follow(crew: Crew, dataset: Dataset) -> NoReturn:
    """Do what process 0 does, until it ends this process.

    Args:
        crew: the processes.
        dataset: the one that process 0 has.

    Raises:
        RequestError: it is another one.
        Exception: something has failed here that has not failed in process 0.
    """
    _Follower(crew, dataset).run()


# From arrays to what a replica has, by the name that `Leading` gives; that of states depends on the program.
_MADE: dict[str, Callable[[Sequence[np.ndarray]], Any]] = {
    "replicas": lambda leaves: Replica(*map(jnp.asarray, leaves)),
    "totals": lambda leaves: Totals(*leaves),
    "parts": lambda leaves: leaves[0],
}


class _Abandoned(Exception):
    """Process 0 has given up what it did."""


class _Failure(NamedTuple):
    """What failed here, and with which message."""

    number: int
    error: Exception


class _Led:
    """A loop of process 0, and what it was told last."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.told: dict[str, Sequence[Any]] = {}

    @property
    def replicas(self) -> Sequence[Replica]:
        return self.told["replicas"]


class _Follower:
    """This process, and what it has: a session, its loops, and their states by the numbers that process 0 gave."""

    def __init__(self, crew: Crew, dataset: Dataset) -> None:
        self.crew = crew
        self.dataset = dataset
        self.session: Session | None = None
        self.loops: dict[int, _Led] = {}
        self.states: dict[int, Any] = {}
        self.failure: _Failure | None = None
        self.work: dict[str, Callable[[int, Message], None]] = {
            "session": self._session,
            "loop": self._loop,
            "replica values": self._values,
            "start": self._start,
            "warm_up": self._warm_up,
            "epoch": self._epoch,
            "evaluate": self._evaluate,
            "unstack": self._unstack,
            "stack": self._stack,
        }

    def run(self) -> NoReturn:
        while True:
            message = self._next()
            number = self.crew.heard
            for dropped in message.values.get("dropped", ()):
                self.states.pop(dropped, None)
            try:
                self.work[message.kind](number, message)
            except (_Abandoned, Stopped):
                continue
            except Exception as error:
                self.failure = _Failure(number, error)

    def _next(self) -> Message:
        """The next message. What failed here must have failed in process 0 too, which then says what comes next."""
        failure = self.failure
        self.failure = None
        if failure is None:
            return self.crew.hear()
        try:
            message = self.crew.hear(PATIENCE)
        except TimeoutError:
            raise failure.error from None
        if message.values["failed"] < failure.number:
            raise failure.error
        return message

    def _session(self, number: int, message: Message) -> None:
        same = message.values["fingerprint"] == self.dataset.fingerprint
        accepted = "the data set that process 0 has; this process has other images or labels"
        require(same, "dataset", self.dataset.name, accepted)
        self.loops.clear()
        self.states.clear()
        self.session = Session(self.dataset, Machine.from_json(message.values["machine"]))

    def _loop(self, number: int, message: Message) -> None:
        assert self.session is not None, "the message before"
        prepared = prepare_trials(from_json(TrialConfig, message.values["config"]), self.dataset)
        self.loops[number] = _Led(self.session.loop(prepared))

    def _values(self, number: int, message: Message) -> None:
        """What each replica has, as `Leading` tells it."""
        led = self._of(message)
        name = message.values["name"]
        made = _MADE[name] if name in _MADE else self._state_maker(led)
        size = len(message.arrays) // message.values["count"]
        rows = [message.arrays[row * size : (row + 1) * size] for row in range(message.values["count"])]
        led.told[name] = [made(row) for row in rows]

    def _state_maker(self, led: "_Led") -> Callable[[Sequence[np.ndarray]], Any]:
        structure = jax.tree.structure(jax.eval_shape(led.loop.program.init, led.replicas[0]))
        return lambda leaves: jax.tree.unflatten(structure, leaves)

    def _start(self, number: int, message: Message) -> None:
        led = self._of(message)
        self.states[number] = led.loop.start(led.replicas)

    def _warm_up(self, number: int, message: Message) -> None:
        led = self._of(message)
        led.loop.warm_up(self._states(message), led.replicas, self._part(message))

    def _epoch(self, number: int, message: Message) -> None:
        led = self._of(message)
        values = message.values
        totals = list(led.told["totals"])
        pace = _Heard(values["first"], self.crew)
        before = self.states.pop(values["states"])  # which the loop takes
        after, _ = led.loop.epoch(before, totals, led.replicas, self._part(message), values["epoch"], pace)
        self.states[number] = after

    def _evaluate(self, number: int, message: Message) -> None:
        led = self._of(message)
        parts = led.told["parts"]
        led.loop.evaluate(self._states(message), led.replicas, self._part(message), parts, self._stopped)

    def _stopped(self) -> bool:
        """Whether process 0 gives an evaluation up."""
        stopped: bool = _heard(self.crew, "batch")["stop"]
        return stopped

    def _unstack(self, number: int, message: Message) -> None:
        self._of(message).loop.unstack(self._states(message), message.values["count"])

    def _stack(self, number: int, message: Message) -> None:
        led = self._of(message)
        self.states[number] = led.loop.stack(led.told.pop("stacked"))

    def _of(self, message: Message) -> "_Led":
        return self.loops[message.values["loop"]]

    def _states(self, message: Message) -> Any:
        return self.states[message.values["states"]]

    def _part(self, message: Message) -> Any:
        """The part of the data set that a message means."""
        assert self.session is not None, "the first message"
        return (self.session.train, self.session.test)[message.values["data"]]


class _Heard(Pace):
    """A pace that process 0 sets."""

    def __init__(self, first: int, crew: Crew) -> None:
        self.first = first
        self._crew = crew

    def begins(self, step: int, most: int = 1) -> int:
        count: int = _heard(self._crew, "steps")["count"]
        return count


def _heard(crew: Crew, kind: str) -> dict[str, Any]:
    """What process 0 tells while work runs; where it tells something else, it has given the work up."""
    message = crew.hear()
    if message.kind != kind:
        crew.hear_again(message)
        raise _Abandoned
    return message.values
