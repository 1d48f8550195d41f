"""How a command ends: its exit status, one line for each error, and the line that says how to continue.

0: done. 1: something failed while running. 2: the request cannot be met. 130 or 143: interrupted.
"""

import contextlib
import errno
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType

from absl import flags

from cnn.errors import RequestError

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
        with _stops():
            return main()
    except (flags.Error, RequestError) as error:
        return _failed(REFUSED, str(error))
    except OSError as error:
        said = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else str(error)
        mendable = error.errno in _MENDABLE
        return _failed(FAILED, said, f"; when that is mended, this continues: {again()}" if mendable else "")
    except KeyboardInterrupt as error:
        print(f"interrupted; this continues: {again()}", file=sys.stderr)
        return error.args[0] if error.args else 128 + signal.SIGINT
    except Exception as error:
        if _NO_MEMORY.search(str(error)):
            return _failed(FAILED, f"the memory is not enough: {error}; a smaller network or batch may fit")
        traceback.print_exc()
        return FAILED


def again() -> str:
    """The command line of this process, as a shell takes it."""
    return shlex.join(sys.orig_argv)


@contextlib.contextmanager
def _stops() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt with the exit status, as long as the block runs."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(128 + number)


def _failed(code: int, message: str, advice: str = "") -> int:
    line = " ".join(part.strip() for part in message.strip().splitlines())
    # A name may hold characters that move a terminal's cursor. They are shown, not obeyed.
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)
    print(f"error: {shown}{advice}", file=sys.stderr)  # the advice unchanged: a name in it may have two blanks
    return code
