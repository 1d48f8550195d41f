"""Sides that are timed in turn, each in a process of its own: no side's threads are there while another works.

Libraries keep pools of threads that look for work for a while after it has ended. In one process they would fight
over the cores; here every process but one waits at its pipe.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Call = Callable[[], object]
Name = TypeVar("Name")
SETTLE_SECONDS = 0.1  # for the pool of the side before to fall asleep


class Unavailable(Exception):
    """A side cannot run here; the message says why in one line."""


class Side:
    """A process that holds one side ready.

    Args:
        build: a function of a module; given the arguments, it returns what is timed. A call must wait for its end.
        arguments: of `build`.

    Raises:
        Unavailable: what `build` or the first call raised. That call, which compiles, is not timed.
    """

    def __init__(self, build: Callable[..., Call], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share the parent's threads and locks
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, build, arguments), daemon=True)
        self.process.start()
        theirs.close()
        reason = self._receive()
        if reason is not None:
            self.close()
            raise Unavailable(reason)

    def seconds(self) -> float:
        """How long one call takes.

        Raises:
            Unavailable: the process ended.
        """
        self.pipe.send(True)
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join()

    def _receive(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            raise Unavailable(f"its process ended with status {self.process.exitcode}") from None


def _serve(pipe: Connection, build: Callable[..., Call], arguments: tuple) -> None:
    try:
        call = build(*arguments)
        call()
    except Exception as error:
        pipe.send(_reason(error))
        return
    pipe.send(None)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is done
        while pipe.recv():
            started = time.perf_counter()
            call()
            pipe.send(time.perf_counter() - started)


def _reason(error: Exception) -> str:
    if isinstance(error, Unavailable):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def take_turns(sides: Mapping[Name, Side], rounds: int) -> dict[Name, list[float]]:
    """The seconds of each side's call in each round; in a round every side has one turn, in their order."""
    seconds: dict[Name, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            time.sleep(SETTLE_SECONDS)
            seconds[name].append(side.seconds())
    return seconds
