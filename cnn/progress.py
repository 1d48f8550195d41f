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


class Lines(Progress):
    """Plain lines on a stream, for log files and pipes.

    A task writes at most one line every `seconds`, and one at its end. A task that ends within a second writes nothing.
    """

    def __init__(self, stream: TextIOBase, seconds: float = 10.0) -> None:
        self.stream = stream
        self.seconds = seconds

    def task(self, label: str, total: int, done: int = 0) -> Work:
        return _LineWork(label, total, done, self)

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


class Bars(Progress):
    """Bars drawn by rich, on a terminal or in a notebook; they are shown as long as a task is open."""

    def __init__(self, stream: TextIOBase) -> None:
        from rich import console, progress

        label, note = (
            progress.TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}")
        )
        columns = (label, progress.BarColumn(), progress.MofNCompleteColumn())
        times = (progress.TimeElapsedColumn(), progress.TimeRemainingColumn(), note)
        file: Any = _Unfailing(stream)  # rich declares a file
        self.display = progress.Progress(*columns, *times, console=console.Console(file=file), transient=True)
        self.open = 0

    def task(self, label: str, total: int, done: int = 0) -> Work:
        return _BarWork(label, total, done, self)

    def line(self, text: str) -> None:
        self.display.console.print(text, markup=False, highlight=False)


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
        self.bars.open += 1
        self.bars.display.start()
        self.id = self.bars.display.add_task(self.label, total=self.total, completed=self.done, note="")
        return self

    def advance(self, amount: int = 1, note: str = "") -> None:
        super().advance(amount, note)
        self.bars.display.update(self.id, advance=amount, note=note)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.display.remove_task(self.id)
        self.bars.open -= 1
        if self.bars.open == 0:
            self.bars.display.stop()
            self.bars.display.live.ipy_widget = None  # stop() has closed this widget; the next display needs another


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
