"""One program in several processes: its flags, and what belongs to each process's command, its streams and its end.

JAX and its libraries write on the standard streams of a process, and end it by `abort` with a trace where they cannot
meet the others or have lost them. So the streams get other descriptors, and an abort becomes one line.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import experiments
from cnn import files, meeting, processes
from cnn.errors import RequestError, require
from cnn.meeting import Place
from cnn.processes import Crew, Events
from experiments.command import leave

AUTO = "auto"
MOST = 100_000  # processes
_PORTS = 65535
_MUCH = 2**20  # bytes
# Older versions of JAX end a process at once where process 0 is gone, and no code of the process runs any more. So a
# shell waits for the end of the process, and says the line unless the process has said one. $1: what libraries wrote.
_LAST_LINE = 'read -r said || { grep -q "distributed service" "$1" && printf "%s\\n" "$2" >&2; }; rm -f "$1"'
_kept: list[Any] = []  # what the system may call, as long as the process lives


def place(address: str | None, count: int | None, number: int | None) -> Place | None:
    """Where the processes meet, by the values of the flags; None where there is only one.

    Raises:
        RequestError: a value is missing or wrong, or nothing tells where to meet.

    Example:
        >>> place("localhost:1234", 2, 1)
        Place(address='localhost:1234', processes=2, number=1, devices=None)
    """
    numbers = {"num_processes": count, "process_id": number}
    given = {name: value for name, value in numbers.items() if value is not None}
    if address in (None, AUTO):
        for name, value in given.items():
            said = "must come with coordinator_address=HOST:PORT of process 0"
            raise RequestError(f"{name}={value!r}: {said}")
        return meeting.found() if address == AUTO else None
    host, _, port = address.rpartition(":")
    valid = bool(host) and port.isascii() and port.isdecimal() and 1 <= int(port) <= _PORTS and address.isprintable()
    require(valid, "coordinator_address", address, f"HOST:PORT of process 0, or {AUTO}")
    if count is None or number is None:
        missing = " and ".join(name for name in numbers if name not in given)
        raise RequestError(f"coordinator_address={address!r}: must come with {missing}, or be {AUTO}")
    require(1 <= count <= MOST, "num_processes", count, f"from 1 to {MOST}")
    require(0 <= number < count, "process_id", number, f"from 0 to {count - 1}, with num_processes={count}")
    return Place(address, count, number)


def join(place: Place) -> Crew | None:
    """Meet the other processes; None where there is only one.

    Where they do not meet, this process ends with one line and status 1.

    Raises:
        RequestError: the address cannot be found, or process 0 cannot listen there.
    """
    if place.processes == 1:
        return None
    _kept.append(_Aborts(place))
    crew = meeting.meet(place, Events(_lost, _ended, _stop))
    if crew is not None:
        experiments.share(None if crew.leads else crew.forward, crew.end)
    return crew


def _lost(text: str) -> NoReturn:
    _speak()
    experiments.end_with(_line(text), leave.FAILED)


def _speak() -> None:
    """This process says what there is to say when it ends, so that the shell says nothing."""
    for aborts in _kept:
        aborts.says_itself()


def _line(text: str) -> str:
    return f"error: {text}; this continues: {experiments.again()}"


def _ended(status: int, text: str) -> NoReturn:
    if text:
        _lost(text)
    _speak()
    experiments.end_with("", status)


def _stop(number: int) -> None:
    """Stop as the process that was asked: at once, or where `cnn.training.interrupt` asks next."""
    if experiments.leaves_at(number):
        experiments.leave(number)


class _Aborts:
    """Makes one line of an abort, from now on, and keeps what libraries write from the standard streams.

    Args:
        place: where the processes meet.

    Attributes:
        errors: the descriptor of standard error from now on.
    """

    def __init__(self, place: Place) -> None:
        self.address = place.address
        self._written, path = tempfile.mkstemp()
        sys.stdout, _ = _moved(sys.stdout, 1, self._written)
        sys.stderr, self.errors = _moved(sys.stderr, 2, self._written)
        experiments.move_errors(self.errors)
        self._shell: subprocess.Popen[bytes] | None = None
        if sys.platform == "win32":
            return
        self._called = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._aborted)
        self._at_abort(self._called)
        if place.number == 0:
            files.remove(Path(path))
            return
        line = _line(f"process 0 of {place.processes} has ended")
        shell = ["/bin/sh", "-c", _LAST_LINE, "sh", path, line]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": self.errors}
        self._shell = subprocess.Popen(shell, start_new_session=True, **pipes)

    def says_itself(self) -> None:
        """This process says why it ends, so that the shell need not."""
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError):
                os.write(self._shell.stdin.fileno(), b"\n")

    def _at_abort(self, called: Any) -> None:
        """Let the system call a function in the thread that aborts; None: end the process, as without this class."""
        system = ctypes.CDLL(None).signal
        system.argtypes = [ctypes.c_int, ctypes.c_void_p]
        system.restype = ctypes.c_void_p
        system(signal.SIGABRT, ctypes.cast(called, ctypes.c_void_p))

    def _aborted(self, number: int) -> None:
        written = os.pread(self._written, _MUCH, 0).decode(errors="replace")
        if "oordination" not in written and "distributed service" not in written:  # of something else
            os.write(self.errors, written.encode())
            self._at_abort(None)
            os.abort()
        crew = processes.crew()
        if crew is not None:
            crew.give_up()
            _lost(f"process 0 of {crew.count} has ended")
        said = f"the processes have not met there within {meeting.SECONDS} seconds"
        if "DEADLINE" not in written:
            said = f"the processes cannot meet there ({_reason(written)})"
        self.says_itself()
        experiments.end_with(f"error: coordinator_address={self.address!r}: {said}", leave.FAILED)


def _moved(stream: Any, number: int, instead: int) -> tuple[Any, int]:
    """A standard stream with a descriptor of its own, which is given too; the old one leads to `instead`."""
    if stream is not None:
        stream.flush()
    own = os.dup(number)
    os.dup2(instead, number)
    if stream is None:
        return None, own
    return open(own, "w", buffering=1, encoding=stream.encoding, errors=stream.errors, closefd=False), own


def _reason(written: str) -> str:
    """Why JAX ends the process, from the line that says so."""
    return " ".join(written.partition("absl::Status: ")[2].partition("***")[0].split())[:300]
