"""Writes files whole or not at all, gives each folder one writer, and has the only function that deletes.

A file or a folder is written under a temporary name in the same folder, flushed to disk, and renamed. So after a kill,
or on a full disk, the old content or the new content is there, never a part of it. Sealed values carry a digest of
themselves, so that no damage and no edit goes unnoticed. Nothing is unpickled.

Example:
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_json(folder / "settings.json", {"seed": 0})
    >>> read_json(folder / "settings.json")
    {'seed': 0}
"""

import contextlib
import datetime
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cnn.errors import RequestError
from cnn.progress import Progress

LOCK = ".lock"
HOLDER = ".writer.json"
SUFFIXES = (  # of the files in a work folder
    *(".json", ".jsonl", ".csv", ".npy", ".npz", ".png", ".html", ".safetensors", ".txt"),
)
_SEAL = "seal"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")


class InUseError(RequestError):
    """Another run writes into a work folder."""


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: the file cannot be written; the error names it, and its old content is still there.
    """
    temporary = _temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON. The file's name is flushed to disk too, so that a power cut does not undo the write.

    Raises:
        OSError: the file cannot be written, see `write`.
        ValueError: a number is not finite; JSON has no such numbers.
    """
    write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
    with contextlib.suppress(OSError):  # not every system can flush a folder; the file itself is on disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # takes 2 ms: too long for the metrics of every epoch, which use `write`
        finally:
            os.close(folder)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A regular file, open to be read.

    Raises:
        OSError: it cannot be read, or is a folder, a pipe or a device, which could block.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # so that opening a pipe does not wait
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_bytes(path: Path) -> bytes:
    """The content of a regular file; errors are those of `opened`."""
    with opened(path) as file:
        return file.read()


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no file.

    Raises:
        RequestError: the file cannot be read, or is not a JSON object.
    """
    try:
        value = json.loads(read_bytes(path).decode())
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return value
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}); choose another workdir") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path}: is not JSON ({error}); remove it, or choose another workdir") from None


def digest(values: dict[str, Any]) -> str:
    """The SHA-256 of plain values, the same whether they come from memory or from a JSON file.

    Example:
        >>> digest({"seed": 0, "rates": (1, 2)}) == digest({"rates": [1, 2], "seed": 0})
        True
    """
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def seal(values: dict[str, Any]) -> dict[str, Any]:
    """The values, and the digest of them."""
    return {**values, _SEAL: digest(values)}


def unseal(values: dict[str, Any]) -> dict[str, Any] | None:
    """The values without their seal; None where they are not those that were sealed.

    Example:
        >>> sealed = seal({"seed": 0})
        >>> unseal(sealed), unseal({**sealed, "seed": 1})
        ({'seed': 0}, None)
    """
    kept = {name: value for name, value in values.items() if name != _SEAL}
    return kept if values.get(_SEAL) == digest(kept) else None


def require_files(folder: Path) -> None:
    """Refuse a folder that holds a folder in the place of a file, recognised by its suffix, which cannot be replaced.

    Raises:
        RequestError: the message names it.
    """
    for path in folder.glob("*.*"):
        if path.suffix in SUFFIXES and path.is_dir() and not path.is_symlink():
            raise RequestError(f"{path}: must be a file, not a folder; remove it, or choose another workdir")


@contextlib.contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """A temporary empty folder to fill. The end of the block renames it to `place`; if the block fails, it is removed.

    Raises:
        OSError: `place` exists and is not an empty folder, or the disk cannot be written.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "entry"
        >>> with whole_folder(place) as folder:
        ...     _ = (folder / "content").write_text("all of it")
        >>> [path.name for path in place.iterdir()]
        ['content']
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(place)
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(place)
    finally:
        with contextlib.suppress(OSError):
            remove(temporary)


def set_aside(path: Path) -> Path:
    """Give a file or folder a temporary name, and return it: an interrupted removal leaves nothing of the old name."""
    aside = _temporary_name(path)
    os.replace(path, aside)
    return aside


def remove(path: Path) -> None:
    """Delete a file, a link, or a folder with everything in it. A path that does not exist is no error.

    Of a link only the link is deleted, not its target.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def temporary_files(folder: Path) -> list[Path]:
    """The temporary files and folders in a folder, which a killed process has left there."""
    return [path for path in folder.glob(".*") if _TEMPORARY.fullmatch(path.name)]


def remove_temporary(folder: Path) -> None:
    """Delete the `temporary_files` of a folder. Only the folder's one writer may call this."""
    for path in temporary_files(folder):
        remove(path)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The settings that differ between two configurations, each as `name: old, now new`.

    A nested setting is named `outer.inner`.

    Example:
        >>> differences({"seed": 0, "network": {"width": 16}}, {"seed": 0, "network": {"width": 32}})
        ['network.width: 16, now 32']
    """
    lines: list[str] = []
    for name in [*old, *(name for name in new if name not in old)]:
        before = old.get(name)
        after = new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            lines.append(f"{prefix}{name}: {before!r}, now {after!r}")
    return lines


@contextlib.contextmanager
def one_writer(workdir: Path) -> Iterator[None]:
    """Keep other processes, and other runs of this process, from writing into a work folder.

    The lock belongs to the system, so a killed process releases it. It is `flock` where the system has that (also on
    NFS, between machines), and filelock's own method elsewhere. The folder itself is locked too, where the system can:
    if someone deletes the lock's file, a second writer is still kept out.

    Raises:
        InUseError: another run writes there; the message says which.
        RequestError: the folder cannot be created or written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with one_writer(folder):
        ...     try:
        ...         with one_writer(folder):
        ...             pass
        ...     except RequestError as error:
        ...         print("in use by process" in str(error))
        True
    """
    import filelock

    with contextlib.ExitStack() as stack:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(filelock.FileLock(workdir / LOCK).acquire(timeout=0))
            stack.enter_context(_folder_lock(workdir))
        except (filelock.Timeout, BlockingIOError):
            said = f"{_holder(workdir)}: wait, or choose another workdir"
            raise InUseError(f"workdir={str(workdir)!r}: {said}") from None
        except OSError as error:
            reason = f"{error.strerror}: {error.filename}"
            said = f"must be a folder that can be written ({reason}): choose another workdir"
            raise RequestError(f"workdir={str(workdir)!r}: {said}") from None
        remove_temporary(workdir)
        since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        write_json(workdir / HOLDER, {"process": os.getpid(), "host": platform.node(), "since": since})
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                remove(workdir / HOLDER)


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Lock the folder itself, where the system and its file system can lock a folder.

    Raises:
        BlockingIOError: another process, or another run of this process, has the lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows, where nobody can delete the lock's file while it is open
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # NFS cannot lock a folder; the lock's file remains
            pass
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def one_at_a_time(folder: Path, waiting: str, progress: Progress = Progress()) -> Iterator[None]:
    """Wait until no other process or thread is in such a block for this folder. While it waits, it shows `waiting`.

    Without a lock (the folder cannot be written, or its file system has no locks) the block runs all the same. So use
    this only for work that may be done twice, such as a download.

    Example:
        >>> import tempfile
        >>> with one_at_a_time(Path(tempfile.mkdtemp()), "waiting for another download"):
        ...     print("alone")
        alone
    """
    import filelock

    lock = filelock.FileLock(folder / LOCK)
    with contextlib.suppress(OSError, NotImplementedError):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            progress.line(waiting)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _holder(workdir: Path) -> str:
    holder = read_json(workdir / HOLDER) or {}
    who = "process {process} on {host} since {since}".format_map({"process": "?", "host": "?", "since": "?"} | holder)
    return f"in use by {who if holder else 'another process'}"
