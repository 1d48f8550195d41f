"""Delays a stop (Ctrl-C, SIGTERM or SIGHUP) until the current step is finished and its state is saved.

Example:
    >>> steps = []
    >>> with contextlib.suppress(KeyboardInterrupt), Interrupt() as interrupt:
    ...     while not interrupt.is_asked():
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
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from cnn.processes import stop_asked

WAITING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt(contextlib.AbstractContextManager):
    """While this context is open, the first stop only waits; it takes effect at the end.

    What the effect is, the handlers say that were there before: in a notebook Python's own, which raises
    KeyboardInterrupt; in a command that of `experiments`. A second signal takes effect at once. A signal that is
    ignored stays ignored. Only the main thread can set signal handlers; other threads ignore this class. A stop of
    another process of this program counts too, and never as a second one.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.previous: dict[int, Any] = {}

    def is_asked(self) -> bool:
        """Whether a signal has asked the work to stop."""
        return self._asked() is not None

    def _asked(self) -> int | None:
        return stop_asked() if self.number is None else self.number

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in WAITING:
                handler = signal.getsignal(number)
                if handler != signal.SIG_IGN:
                    self.previous[number] = handler
                    signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.number is not None
        self.number = number
        if again:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.previous = {}

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """While this context is open, a stop takes effect at once, also one that waits already."""
        self.__exit__(None, None, None)
        self.number = None
        yield
        self.__enter__()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let a stop take effect, also one that comes now. An OSError passes first: the state may not be saved."""
        here = bool(self.previous)  # else a second signal has taken effect already
        self._restore()
        number = self._asked()
        if here and number is not None and not isinstance(error, OSError):
            signal.raise_signal(number)
