"""The experiments, each a command: `python -m experiments` lists them, `python -m experiments.NAME` runs one."""

import os
import shlex
import signal
import sys
from types import FrameType


def leave_on_signals() -> None:
    """Let SIGINT and SIGTERM end the process at once, with one line and the status 130 or 143.

    A command calls this before it imports its libraries, which takes a second or two. An exception would not suffice
    there, since any import could catch it. Later, `experiments.command.leave` handles the signals.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, f"interrupted; this continues: {shlex.join(sys.orig_argv)}\n".encode(errors="surrogateescape"))
    os._exit(128 + number)


# Python sets sys.argv[0] to "-m" only until it has found the module that `python -m` names. So this is true for
# `python -m experiments.NAME`, and false for every program that imports this package.
if sys.argv[:1] == ["-m"]:
    leave_on_signals()
