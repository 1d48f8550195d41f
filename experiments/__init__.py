"""The experiments, each a command: `python -m experiments` lists them, `python -m experiments.NAME` runs one.

This file owns what belongs to a command's process alone: its signals, its standard streams, and how it ends. It begins
when `python -m` imports this package, because the libraries that each command imports next take seconds, in which a
stop must take one line too. No other program that imports this package is changed: Python's documentation of `-m` says
that `sys.argv[0]` is "-m" only while the module is being located.
"""

import contextlib
import errno
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

_STOPS = {"SIGINT": "interrupted", "SIGTERM": "interrupted", "SIGHUP": "the terminal was closed"}
_WORDS = {getattr(signal, name): words for name, words in _STOPS.items() if hasattr(signal, name)}
_stops: int | None = None  # the end of a pipe where the numbers of signals are written, in a command's process
_errors = 2  # the descriptor of standard error
_forward: Callable[[int], None] | None = None  # is told of the first stop, where another process decides what follows
_before_end: Callable[[int], None] | None = None  # is told the status
_ending = threading.Lock()  # whoever has it ends the process


def own_process() -> None:
    """Make this process a command's: a stop (SIGINT, SIGTERM, SIGHUP) ends it at once, with one line and its status.

    A thread does that, so that no stop waits for the main thread, which may compile for seconds. Nothing raises an
    exception, which an import or a destructor could swallow. Where work would be lost, `cnn.training.interrupt` puts
    its own handler in the place of ours for a while; then only a second stop ends the process at once. A signal that
    is ignored from the start, as `nohup` does with SIGHUP, stays ignored.
    """
    global _stops
    if _stops is not None:
        return
    sys.excepthook = _uncaught
    for number in (0, 1, 2):
        with contextlib.suppress(OSError):  # where it is closed, no file that is opened later may take its number
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8")  # libraries write there, some while they are imported
    reading, _stops = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(_stops, False)
    threading.Thread(target=_leave_when_asked, args=(reading,), daemon=True).start()
    signal.set_wakeup_fd(_stops, warn_on_full_buffer=False)
    for number in _WORDS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _wait_for_the_end)


def _wait_for_the_end(number: int, frame: FrameType | None) -> NoReturn:
    """Keep the main thread from going on: the thread below ends the process."""
    assert _stops is not None
    os.write(_stops, bytes([number]))  # once more, since an event loop may have set another wakeup descriptor
    while True:
        time.sleep(1)


def _leave_when_asked(reading: int) -> None:
    """End the process at the first stop that our handler stands for, or at the second of any."""
    seen = 0
    while True:
        number = os.read(reading, 1)[0]
        if number in _WORDS:
            seen += 1
            if _forward is not None and seen == 1:
                _forward(number)
            elif seen > 1 or leaves_at(number):
                leave(number)


def leaves_at(number: int) -> bool:
    """Whether the signal of this number ends the process at once, since no work would be lost."""
    return signal.getsignal(number) == _wait_for_the_end


def leave(number: int) -> NoReturn:
    """End the process as the signal of this number does, with one line and its status."""
    end_with(f"{_WORDS[signal.Signals(number)]}; this continues: {again()}", 128 + number)


def end_with(text: str, status: int) -> NoReturn:
    """End the process from any thread, with a status and one line on standard error; "": with none."""
    if not _ending.acquire(blocking=False):
        threading.Event().wait()  # another thread ends the process
    # A progress bar has hidden the cursor, and stands on the line where it is.
    begin = "\x1b[?25h\n" if os.isatty(_errors) else ""
    line = os.fsencode(f"{begin}{text}\n")
    if text:
        _try(1.0, lambda: _say(line))  # a pipe that nobody reads may be full
    _exit(status)


def _exit(status: int) -> NoReturn:
    if _before_end is not None:
        told = _before_end
        _try(10.0, lambda: told(status))
    os._exit(status)


def _try(seconds: float, function: Callable[[], None]) -> None:
    """Call a function, and go on after so many seconds if it has not returned."""
    thread = threading.Thread(target=function, daemon=True)
    with contextlib.suppress(RuntimeError):  # the system starts no more threads
        thread.start()
        thread.join(timeout=seconds)


def move_errors(descriptor: int) -> None:
    """Let the lines that end this process go to another descriptor than that of standard error."""
    global _errors
    _errors = descriptor


def share(forward: Callable[[int], None] | None, before_end: Callable[[int], None]) -> None:
    """Make this command's process one of several of one program.

    Args:
        forward: is told of the first stop, which then has no other effect here; None: stops work as before.
        before_end: is called with the status before the process ends.
    """
    global _forward, _before_end
    _forward = forward
    _before_end = before_end
    if forward is not None:
        for number in _WORDS:
            if leaves_at(number):
                signal.signal(number, _leave_it_to_the_thread)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Nothing: `_leave_when_asked` learns of the signal too."""


def _say(line: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(_errors, line)


def again() -> str:
    """The command line of this process, as a shell takes it."""
    return shlex.join(sys.orig_argv)


def end(status: int) -> NoReturn:
    """End the process with a status.

    A command's process ends here and now. Python's own end takes a while, in which a stop would be lost and libraries
    may print.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, or None
            stream.flush()
    if _stops is not None:
        _exit(status)
    sys.exit(status)


def refused_variable(error: BaseException) -> str | None:
    """The variable of the environment that JAX refuses with this error, as `NAME='value'`; None for other errors."""
    said = str(error).upper().replace(".", "_")  # JAX names some variables by their settings, as jax.default_device
    named = [name for name in os.environ if name.startswith("JAX_") and name in said]
    return f"{named[0]}={os.environ[named[0]]!r}" if named else None


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One line where the environment lets no library be imported; any other error as Python shows it."""
    variable = refused_variable(error)
    too_many = os.strerror(errno.EMFILE)
    if variable is None and too_many not in str(error):
        sys.__excepthook__(kind, error, trace)
        return
    reason = " ".join(f"{variable}: {error}".split()) if variable else f"{too_many}: ulimit -n must be higher"
    _say(os.fsencode(f"error: {reason}\n"))
    end(2 if variable else 1)


if sys.argv[:1] == ["-m"]:
    own_process()
