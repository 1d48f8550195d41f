"""The experiments, each a command: `python -m experiments.NAME`.

As a command this comes before all other imports, which take a second or two: a stop meanwhile is already one line.
"""

import os
import shlex
import signal
import sys
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, f"interrupted; this continues: {shlex.join(sys.orig_argv)}\n".encode(errors="surrogateescape"))
    os._exit(128 + number)  # an exception could end up in any import


if sys.argv[:1] == ["-m"]:  # Python has yet to find the command; whoever imports this as a library has another
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, _leave)  # until `flags.run` has its own
