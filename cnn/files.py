"""Files that appear whole or not at all, one writer for each folder, and the only function that deletes.

A file or a folder is made under a temporary name beside its place, flushed to disk, and renamed. So a process that is
killed, or a full disk, leaves the old content or the new one, never a part. Nothing is unpickled.

Example:
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_json(folder / "settings.json", {"seed": 0})
    >>> read_json(folder / "settings.json")
    {'seed': 0}
"""

import contextlib
import datetime
import json
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnn.errors import RequestError

LOCK = ".lock"
HOLDER = ".writer.json"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")


def user_path(name: str, value: str | os.PathLike[str]) -> Path:
    """The path that a setting names, `~` and `~user` expanded.

    Raises:
        RequestError: there is no such user.

    Example:
        >>> user_path("cache_dir", "folder/x").as_posix()
        'folder/x'
    """
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise RequestError(f"{name}={str(value)!r}: must name a user of this machine after ~, or be ./~...") from None


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
    """Write a value as JSON, and flush the file's name to disk: not even a power cut undoes it.

    A number that is not finite is an error, since JSON has none.
    """
    write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
    with contextlib.suppress(OSError):  # not every system lets a folder be flushed; the file is there by then
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # takes 2 ms, too long for the metrics of every epoch
        finally:
            os.close(folder)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no file.

    Raises:
        RequestError: the file cannot be read, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return value
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}); choose another workdir") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path}: is not JSON ({error}); remove it, or choose another workdir") from None


@contextlib.contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """A new empty folder to fill; at the end of the block it takes its place. Where the block fails, it is removed.

    Raises:
        OSError: something that is not an empty folder stands at the place, or the disk refuses.

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
    """Give a file or folder a temporary name, so that no half of it can be taken for the whole while it is removed."""
    aside = _temporary_name(path)
    os.replace(path, aside)
    return aside


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all that is in it; what is not there is no error.

    A link is deleted itself; what it points to stays.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def temporary_files(folder: Path) -> list[Path]:
    """What a process that was killed while it wrote has left in a folder under temporary names."""
    return [path for path in folder.glob(".*") if _TEMPORARY.fullmatch(path.name)]


def remove_temporary(folder: Path) -> None:
    """Delete `temporary_files`; only the folder's one writer may ask for it."""
    for path in temporary_files(folder):
        remove(path)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The settings in which two configurations differ, each as `name: old, now new`, nested ones by `outer.inner`.

    Example:
        >>> differences({"seed": 0, "network": {"width": 16}}, {"seed": 0, "network": {"width": 32}})
        ['network.width: 16, now 32']
    """
    found: list[str] = []
    for name in [*old, *(name for name in new if name not in old)]:
        before = old.get(name)
        after = new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name}: {before!r}, now {after!r}")
    return found


@contextlib.contextmanager
def one_writer(workdir: Path) -> Iterator[None]:
    """Keep other processes, and this one's other runs, from writing into a work folder.

    The lock is the system's, so that a process that is killed gives it back: `flock` where there is one (on NFS too,
    between machines), and what filelock has for other systems. The lock's file stays behind: to delete it would let two
    processes lock two files of one name.

    Raises:
        RequestError: somebody else writes there; the message says who. Or the folder cannot be made or written.

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
            remove(workdir / HOLDER)
        lock.release()


def _holder(workdir: Path) -> str:
    found = read_json(workdir / HOLDER) or {}
    who = "process {process} on {host} since {since}".format_map({"process": "?", "host": "?", "since": "?"} | found)
    return f"in use by {who if found else 'another process'}"
