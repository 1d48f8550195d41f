"""Ctrl-C and SIGTERM that wait for a good place: the step is finished and the state saved before they take effect.

Example:
    >>> steps = []
    >>> with contextlib.suppress(KeyboardInterrupt), Interrupt() as interrupt:
    ...     while not interrupt.asked:
    ...         steps.append(len(steps))
    ...         if len(steps) == 2:
    ...             signal.raise_signal(signal.SIGINT)
    ...     steps.append("saved")
    >>> steps
    [0, 1, 'saved']
"""

import contextlib
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

WAITING = (signal.SIGINT, signal.SIGTERM)


class Interrupt(contextlib.AbstractContextManager):
    """While it is open, the first SIGINT or SIGTERM only sets `asked`; it takes effect when this closes.

    A second one takes effect at once. Only the main thread can set signal handlers; in others nothing changes.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.previous: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether somebody wants the work to stop."""
        return self.number is not None

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._note) for number in WAITING}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.number = self.asked, number
        if again:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.previous = {}

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        waiting = self.number if self.previous and error is None else None
        self._restore()
        if waiting is not None:
            signal.raise_signal(waiting)
