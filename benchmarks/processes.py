"""Runs whole processes, and measures how long one takes from start to end, and its peak memory."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# On Linux, a process that a large process starts counts the large one's memory in its own peak. So this small process
# stands between them: it starts the command, waits, and writes seconds, status and peak.
_BETWEEN = """
import os, sys, time
started = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ), 0)
seconds = time.perf_counter() - started
with open(sys.argv[1], "w") as file:
    print(seconds, os.waitstatus_to_exitcode(status), usage.ru_maxrss, file=file)
"""


class Finished(NamedTuple):
    """A process that ended well: wall-clock seconds, the peak of its resident memory, and what it printed."""

    seconds: float
    peak_mib: float
    output: str


def python(*arguments: str) -> Finished:
    """Run this interpreter with these arguments, and wait.

    Raises:
        RuntimeError: the process did not end with status 0; the message has the last line of its standard error.

    Example:
        >>> python("-c", "print('done')").output
        'done\\n'
    """
    command = [sys.executable, *arguments]
    # Without this variable, Python keeps compiled modules for the next start.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "measured"
        between = [sys.executable, "-I", "-S", "-c", _BETWEEN, str(measured), *command]
        done = subprocess.run(between, capture_output=True, text=True, check=True, env=environment)
        seconds, status, peak = map(float, measured.read_text().split())
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status:.0f}: {_last(done.stderr.splitlines())}")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kibibytes
    return Finished(seconds, peak / unit, done.stdout)


def _last(lines: Sequence[str]) -> str:
    return lines[-1].strip() if lines else "no message"
