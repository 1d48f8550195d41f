"""How bars look on a terminal and in a notebook: rich's columns, and a line below a bar that has much to say.

Only `cnn.progress` uses this file, and only where bars are shown: rich takes a while to import.
"""

import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Display(Progress):
    """All open bars, of two kinds that differ in the fields of their tasks.

    A bar that counts units has a `note` behind it, and rich estimates its time from the last half minute. A bar of a
    share is in percent, and has the note `below`; its owner says when it `ends`: a moment of `time.monotonic`, or None
    as long as nobody knows.
    """

    def __init__(self, stream: Any) -> None:
        label, note = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
        columns = (label, BarColumn(), _Count(), TimeElapsedColumn(), _Left(), note)
        super().__init__(*columns, console=Console(file=stream), transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The table of bars, and below it the notes of those that have a line for theirs."""
        yield from super().get_renderables()
        for task in self.tasks:
            if task.fields.get("below"):
                yield Text(task.fields["below"])


class _Count(MofNCompleteColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{int(task.percentage)} %", "progress.download") if "ends" in task.fields else super().render(task)


class _Left(TimeRemainingColumn):
    def render(self, task: Task) -> Text:
        if "ends" not in task.fields:
            return super().render(task)
        ends = task.fields["ends"]
        left = -1 if ends is None else round(ends - time.monotonic())
        if left < 0:  # what takes longer than was said, nobody knows
            return Text("-:--:--", "progress.remaining")
        minutes, seconds = divmod(left, 60)
        return Text(f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}", "progress.remaining")
