"""Shows how long work still takes: bars on a terminal or in a notebook, plain lines elsewhere, nothing by default.

Library functions take a `Progress` and never print. `Progress()` is silent; `automatic()` picks what suits a stream.
What a stream cannot show, since its disk is full or its reader has left, is dropped: the work goes on.

Example:
    >>> with Progress().task("training", total=3) as task:
    ...     for epoch in range(3):
    ...         task.advance(note=f"epoch {epoch}")
"""

import contextlib
import sys
import threading
import time
from io import TextIOBase
from types import TracebackType
from typing import Any

_BROKEN = (OSError, ValueError)  # of a stream: it cannot be written, or is closed, or lacks a character


class Progress:
    """The silent progress, and the interface of the others."""

    def task(self, label: str, total: int, done: int = 0) -> "Work":
        """Start a task of `total` units, of which `done` are finished already; use it as a context manager."""
        return Work(label, total, done)

    def share(self, label: str) -> "Share":
        """Start a work of many unequal parts, whose owner says how far it is; use it as a context manager."""
        return Share(label)

    def line(self, text: str) -> None:
        """Show one line of text."""


class Work:
    """One piece of work. This class shows nothing; the other displays extend it."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label = label
        self.total = total
        self.done = done

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count units as done; the note says what was done last."""
        self.done += amount

    def __enter__(self) -> "Work":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing to close."""


class Share:
    """A work whose owner says which share of it is done, and how long the rest takes. This class shows nothing.

    Example:
        >>> with Progress().share("all networks") as shown:
        ...     shown.show(0.25, seconds_left=30.0, note="the second of four")
    """

    def __init__(self, label: str) -> None:
        self.label = label

    def show(self, done: float, seconds_left: float | None, note: str) -> None:
        """Say how far the work is.

        Args:
            done: the share that is done, from 0 to 1.
            seconds_left: how long the rest takes; None as long as nobody knows.
            note: where the work is.
        """

    def __enter__(self) -> "Share":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing to close."""


class Lines(Progress):
    """Plain lines on a stream, for log files and pipes.

    A task writes at most one line every `seconds`, and one at its end. A task that ends within a second writes nothing.
    """

    def __init__(self, stream: TextIOBase, seconds: float = 10.0) -> None:
        self.stream = stream
        self.seconds = seconds

    def task(self, label: str, total: int, done: int = 0) -> Work:
        return _LineWork(label, total, done, self)

    def share(self, label: str) -> Share:
        return _LineShare(label, self)

    def line(self, text: str) -> None:
        with contextlib.suppress(*_BROKEN):
            print(text, file=self.stream, flush=True)


class _LineWork(Work):
    def __init__(self, label: str, total: int, done: int, lines: Lines) -> None:
        super().__init__(label, total, done)
        self.lines = lines
        self.started = time.monotonic()
        self.before = done
        self.next = self.started + lines.seconds

    def advance(self, amount: int = 1, note: str = "") -> None:
        super().advance(amount, note)
        now = time.monotonic()
        if now >= self.next or (self.done == self.total and now - self.started >= 1.0):
            self.next = now + self.lines.seconds
            seconds = now - self.started
            left = seconds / (self.done - self.before) * (self.total - self.done) if self.done > self.before else 0.0
            text = f"{self.label} {self.done}/{self.total}, {seconds:.0f} s, about {left:.0f} s left"
            self.lines.line(f"{text}: {note}" if note else text)


class _LineShare(Share):
    def __init__(self, label: str, lines: Lines) -> None:
        super().__init__(label)
        self.lines = lines
        self.started = time.monotonic()
        self.next = self.started + lines.seconds

    def show(self, done: float, seconds_left: float | None, note: str) -> None:
        now = time.monotonic()
        seconds = now - self.started
        if now >= self.next or (done >= 1 and seconds >= 1.0):
            self.next = now + self.lines.seconds
            left = "" if seconds_left is None or done >= 1 else f", about {duration(seconds_left)} left"
            self.lines.line(f"{self.label} {int(100 * done)} % after {duration(seconds)}{left}: {note}")


class Bars(Progress):
    """Bars drawn by rich, on a terminal or in a notebook; they are shown as long as a task is open."""

    def __init__(self, stream: TextIOBase) -> None:
        from cnn import bars

        self.display = bars.Display(_Unfailing(stream))
        self.open = 0
        self.lock = threading.Lock()  # work in several threads opens and closes bars

    def task(self, label: str, total: int, done: int = 0) -> Work:
        return _BarWork(label, total, done, self)

    def share(self, label: str) -> Share:
        return _BarShare(label, self)

    def line(self, text: str) -> None:
        self.display.console.print(text, markup=False, highlight=False)

    def add(self, label: str, **fields: Any) -> Any:
        """Show one bar more; the number by which rich knows it."""
        with self.lock:
            self.open += 1
            self.display.start()
            return self.display.add_task(label, **fields)

    def remove(self, number: Any) -> None:
        """Show a bar no more; without any, the display leaves."""
        with self.lock:
            self.display.remove_task(number)
            self.open -= 1
            if self.open == 0:
                self.display.stop()
                self.display.live.ipy_widget = None  # stop() has closed this widget; the next display needs another


class _Unfailing:
    """A stream that drops what it cannot write. rich would end the process, or fail in a thread of its own."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(*_BROKEN):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(*_BROKEN):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _BarWork(Work):
    def __init__(self, label: str, total: int, done: int, bars: Bars) -> None:
        super().__init__(label, total, done)
        self.bars = bars

    def __enter__(self) -> "Work":
        self.id = self.bars.add(self.label, total=self.total, completed=self.done, note="")
        return self

    def advance(self, amount: int = 1, note: str = "") -> None:
        super().advance(amount, note)
        self.bars.display.update(self.id, advance=amount, note=note)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.remove(self.id)


class _BarShare(Share):
    def __init__(self, label: str, bars: Bars) -> None:
        super().__init__(label)
        self.bars = bars

    def __enter__(self) -> "Share":
        self.id = self.bars.add(self.label, total=1, note="", below="", ends=None)
        return self

    def show(self, done: float, seconds_left: float | None, note: str) -> None:
        ends = None if seconds_left is None else time.monotonic() + seconds_left
        self.bars.display.update(self.id, completed=done, ends=ends, below=note)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.remove(self.id)


def automatic(stream: TextIOBase | None = None) -> Progress:
    """Bars where the stream (standard error by default) is a terminal or a notebook, lines elsewhere.

    Silence where standard error is closed.
    """
    from rich.console import Console

    chosen: Any = stream or sys.stderr
    if chosen is None:
        return Progress()
    console = Console(file=chosen)
    return Bars(chosen) if console.is_terminal or console.is_jupyter else Lines(chosen)


def duration(seconds: float) -> str:
    """A duration in words, in whole seconds, minutes or hours.

    >>> [duration(seconds) for seconds in (0.6, 3.4, 119, 5400, 200_000)]
    ['a second', '3 seconds', '119 seconds', '90 minutes', '56 hours']
    """
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return "a second" if seconds < 1.5 else f"{seconds:.0f} seconds"
