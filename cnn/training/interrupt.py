"""Delays Ctrl-C and SIGTERM until the current step is finished and its state is saved.

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
    """While this context is open, the first SIGINT or SIGTERM only sets `asked`; it takes effect at the end.

    A second signal takes effect at once. Only the main thread can set signal handlers; other threads ignore this class.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.previous: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has asked the work to stop."""
        return self.number is not None

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._note) for number in WAITING}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.asked
        self.number = number
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
