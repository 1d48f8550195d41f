"""What a command says last: its output, one line for each error, and the exit status.

0: done. 1: something failed while running, or the output cannot be printed. 2: the request cannot be met. After a stop
the status is 128 and the signal's number, see `experiments.own_process`.
"""

import errno
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from absl import flags

import experiments
from cnn.errors import RequestError, printable

DONE = 0
FAILED = 1
REFUSED = 2
_NO_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|[Oo]ut of memory|Unable to allocate")
# Errors that the owner of the machine can mend, after which the same command continues.
_MENDABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT),
}


def status(main: Callable[[], int]) -> int:
    """Run `main`, and return the exit status of the process; an error becomes one line on standard error.

    Only an unforeseen error prints its trace, which a report of the defect needs.
    """
    try:
        return main()
    except (flags.Error, RequestError) as error:
        return _failed(REFUSED, str(error))
    except OSError as error:
        said = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else str(error)
        mendable = error.errno in _MENDABLE
        advice = f"; when that is mended, this continues: {experiments.again()}" if mendable else ""
        return _failed(FAILED, said, advice)
    except Exception as error:
        variable = experiments.refused_variable(error)
        if variable:
            return _failed(REFUSED, f"{variable}: {error}")
        if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
            said = str(error) or "no more is free"
            return _failed(FAILED, f"the memory is not enough: {said}; a smaller network or batch may fit")
        tell(traceback.format_exc().rstrip("\n"))
        return FAILED


def say(text: str) -> int:
    """Print text on standard output; returns the exit status: `DONE`, or `FAILED` where it cannot be printed.

    The work goes on in either case. A reader that has left, as `head` does, wants no line about it.
    """
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        _print(text, sys.stdout)
        return DONE
    except BrokenPipeError:
        return FAILED
    except (OSError, ValueError) as error:
        return _failed(FAILED, f"standard output cannot be written: {getattr(error, 'strerror', None) or error}")


def tell(text: str) -> None:
    """Print text on standard error, where that can be written."""
    try:
        if sys.stderr is not None:
            _print(text, sys.stderr)
    except (OSError, ValueError):
        return


def _print(text: str, stream: Any) -> None:  # a notebook's stream has a type of its own
    """Print text at once; characters that the stream's encoding lacks are escaped."""
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def tell_error(message: str, advice: str = "") -> None:
    """Print an error as one line on standard error."""
    line = " ".join(part.strip() for part in message.strip().splitlines())
    tell(f"error: {printable(line)}{advice}")  # the advice unchanged: a name in it may have two blanks


def _failed(code: int, message: str, advice: str = "") -> int:
    tell_error(message, advice)
    return code
