"""One writer for each work folder: the lock is the system's, so that a process that is killed gives it back.

Example:
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with writer(folder):
    ...     try:
    ...         with writer(folder):
    ...             pass
    ...     except RequestError as error:
    ...         print("in use by process" in str(error))
    True
"""

import contextlib
import datetime
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from cnn.config import RequestError
from cnn.training.runs import read_json, remove_temporary, write_json

LOCK, HOLDER = ".lock", ".writer.json"


@contextlib.contextmanager
def writer(workdir: Path) -> Iterator[None]:
    """Keep other processes, and this one's other runs, from writing into a work folder.

    The lock is `flock`'s where there is one (on NFS too, between machines), and what filelock has for other systems.
    The file stays behind: to delete it would let two processes lock two files of one name.

    Raises:
        RequestError: somebody else writes there; the message says who. Or the folder cannot be made or written.
    """
    import filelock

    lock = filelock.FileLock(workdir / LOCK)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RequestError(f"workdir={str(workdir)!r}: {_holder(workdir)}: wait, or choose another workdir") from None
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}"
        raise RequestError(f"workdir={str(workdir)!r}: must be a folder that can be written ({reason})") from None
    try:
        remove_temporary(workdir)
        since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        write_json(workdir / HOLDER, {"process": os.getpid(), "host": platform.node(), "since": since})
        yield
    finally:
        with contextlib.suppress(OSError):
            (workdir / HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(workdir: Path) -> str:
    found = read_json(workdir / HOLDER) or {}
    who = "process {process} on {host} since {since}".format_map({"process": "?", "host": "?", "since": "?"} | found)
    return f"in use by {who if found else 'another process'}"
