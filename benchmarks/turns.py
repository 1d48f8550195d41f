"""Times sides in turn, each in a process of its own, so that the threads of one side do not slow down another.

Libraries keep pools of threads, which look for work for a while after the work has ended. In one process, the pools
would compete for the cores. Here every process but one waits at its pipe.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Call = Callable[[], object]
Name = TypeVar("Name")
SETTLE_SECONDS = 0.1  # until the threads of the previous side sleep


class Unavailable(Exception):
    """A side cannot run here; the message says why in one line."""


class Side:
    """A process that holds one side ready.

    Args:
        build: a module's function; given the arguments, it returns the function to time, which waits for its result.
        arguments: the arguments of `build`.

    Raises:
        Unavailable: `build` or the first call raised an error. The first call, which compiles, is not timed.
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
    """The seconds of each side's call in each round; in a round every side has one turn, in the given order."""
    seconds: dict[Name, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            time.sleep(SETTLE_SECONDS)
            seconds[name].append(side.seconds())
    return seconds
