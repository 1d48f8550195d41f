"""Whole processes: how long one takes from its start to its end, and the most memory that it holds."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple


class Finished(NamedTuple):
    """A process that ended well: wall-clock seconds, the peak of its resident memory, and what it printed."""

    seconds: float
    peak_mib: float
    output: str


def python(*arguments: str) -> Finished:
    """Run this interpreter with these arguments, and wait.

    Raises:
        RuntimeError: it did not end with status 0; the message has the last line of its standard error.

    Example:
        >>> python("-c", "print('done')").output
        'done\\n'
    """
    command = [sys.executable, *arguments]
    # The second start of a program finds its modules compiled, unless the environment forbids to keep them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)  # its own peak; RUSAGE_CHILDREN has the largest of all so far
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{_text(command)} ended with status {process.returncode}: {_last(errors.readlines())}")
        unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kibibytes
        return Finished(seconds, usage.ru_maxrss / unit, output.read())


def _text(command: Sequence[str]) -> str:
    return " ".join(command)


def _last(lines: list[str]) -> str:
    return lines[-1].strip() if lines else "no message"
