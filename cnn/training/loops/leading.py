"""The loop of process 0 where a program has several processes: it tells the others each program before it runs it.

They run the same programs in the same order (`cnn.training.following`), as JAX asks of the processes of one program.
How many steps a piece has, and when to stop, is decided here alone. States go by the number of the message that made
them.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from cnn.config import TrialConfig, to_json
from cnn.errors import require
from cnn.machine import Machine
from cnn.processes import Crew, crew
from cnn.training.loops.loop import Loop, Pace, Stopped
from cnn.training.step import Answers, Replica, Totals, TrainState

T = TypeVar("T")


def begin(machine: Machine, fingerprint: str, streams: bool) -> None:
    """Tell the other processes, if there are any, that a session begins on a machine, with a data set of a fingerprint.

    Raises:
        RequestError: there are some, and the images stay on the host.
    """
    require(
        machine.processes == 1 or not streams, "num_processes", machine.processes, "1 where images stay on the host"
    )
    found = crew()
    if found is not None and found.leads:
        found.tell("session", {"machine": machine.to_json(), "fingerprint": fingerprint})


def led(loop: Loop, config: TrialConfig, data: Sequence[Any]) -> Loop:
    """A loop that the other processes run too; the loop itself where there are none, or this process is one of them.

    Args:
        loop: what runs here.
        config: what the loop's program is made of.
        data: the parts of the data set from which images are taken; each process has them.
    """
    found = crew()
    return Leading(loop, found, config, data) if found is not None and found.leads else loop


class Held:
    """States of a loop, and the number by which the other processes know theirs."""

    def __init__(self, number: int, states: Any, dropped: deque[int]) -> None:
        self.number = number
        self.states = states
        self._dropped = dropped

    def __del__(self) -> None:
        self._dropped.append(self.number)


class Leading:
    """A loop that the other processes of a crew run too; see `led`, and `Loop` for what each function does."""

    def __init__(self, loop: Loop, crew: Crew, config: TrialConfig, data: Sequence[Any]) -> None:
        self.loop = loop
        self.program = loop.program
        self.batch_size = loop.batch_size
        self._crew = crew
        self._data = tuple(data)
        self._told: dict[str, Any] = {}  # what the others have got last, by its name
        self._dropped: deque[int] = deque()  # states that nobody needs any more
        self._number = crew.tell("loop", {"config": to_json(config)})

    def sharing(self, replicas: int) -> int:
        return self.loop.sharing(replicas)

    def start(self, replicas: Sequence[Replica]) -> Held:
        self._tell_once("replicas", replicas)
        number = self._tell("start")
        return self._held(number, self._done(number, lambda: self.loop.start(replicas)))

    def warm_up(self, states: Held, replicas: Sequence[Replica], data: Any) -> None:
        self._tell_once("replicas", replicas)
        number = self._tell("warm_up", states=states.number, data=self._part(data))
        self._done(number, lambda: self.loop.warm_up(states.states, replicas, data))

    def epoch(
        self, states: Held, totals: list[Totals], replicas: Sequence[Replica], data: Any, epoch: int, pace: Pace
    ) -> tuple[Held, list[Totals]]:
        self._tell_once("replicas", replicas)
        self._tell_once("totals", totals)
        number = self._tell("epoch", states=states.number, data=self._part(data), epoch=epoch, first=pace.first)
        told = _Announced(pace, self._crew)
        run = self.loop.epoch
        after, sums = self._done(number, lambda: run(states.states, totals, replicas, data, epoch, told))
        return self._held(number, after), sums

    def evaluate(
        self,
        states: Held,
        replicas: Sequence[Replica],
        data: Any,
        parts: Sequence[np.ndarray],
        stop: Callable[[], bool],
    ) -> list[tuple[Totals, Answers]]:
        def told() -> bool:
            stopped = stop()
            self._crew.tell("batch", {"stop": stopped})
            return stopped

        self._tell_once("replicas", replicas)
        self._tell_once("parts", parts)
        number = self._tell("evaluate", states=states.number, data=self._part(data))
        run = self.loop.evaluate
        return self._done(number, lambda: run(states.states, replicas, data, parts, told))

    def unstack(self, states: Held, count: int) -> list[TrainState]:
        number = self._tell("unstack", states=states.number, count=count)
        return self._done(number, lambda: self.loop.unstack(states.states, count))

    def stack(self, states: Sequence[TrainState]) -> Held:
        self._tell_once("stacked", states)
        number = self._tell("stack")
        return self._held(number, self._done(number, lambda: self.loop.stack(states)))

    def _held(self, number: int, states: Any) -> Held:
        return Held(number, states, self._dropped)

    def _part(self, data: Any) -> int:
        """Which part of the data set this is."""
        return next(place for place, part in enumerate(self._data) if part is data)

    def _tell(self, kind: str, **values: Any) -> int:
        dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
        return self._crew.tell(kind, {**values, "loop": self._number, "dropped": dropped})

    def _tell_once(self, name: str, trees: Sequence[Any]) -> None:
        """Give the others what each replica has, unless they have got just that last."""
        if trees is not self._told.get(name):
            self._told[name] = trees
            rows = jax.device_get([jax.tree.leaves(tree) for tree in trees])
            arrays = [np.asarray(leaf) for row in rows for leaf in row]
            self._crew.tell("replica values", {"loop": self._number, "name": name, "count": len(rows)}, arrays)

    def _done(self, number: int, run: Callable[[], T]) -> T:
        """Run what the others were told to run. If that fails because one of them is gone, this process ends."""
        try:
            return run()
        except Stopped:
            raise
        except Exception:
            self._crew.require_all()
            self._crew.failed = number
            raise


class _Announced(Pace):
    """A pace of which the other processes learn how many steps begin."""

    def __init__(self, pace: Pace, crew: Crew) -> None:
        self.first = pace.first
        self._pace = pace
        self._crew = crew

    def begins(self, step: int, most: int = 1) -> int:
        count = self._pace.begins(step, most)
        self._crew.tell("steps", {"count": count})
        return count
