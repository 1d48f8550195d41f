"""The places that settings name: folders and files of a local or shared file system.

Example:
    >>> user_path("workdir", "runs/mine")
    PosixPath('runs/mine')
    >>> try:
    ...     user_path("workdir", "gs://bucket/runs")
    ... except RequestError as error:
    ...     print(str(error)[:76])
    workdir='gs://bucket/runs': must be on a local or shared file system (NFS, L
"""

import os
import re
from pathlib import Path

from cnn.errors import RequestError

OBJECT_STORE = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a `Path` has one slash; a drive has one letter


def user_path(name: str, value: str | os.PathLike[str]) -> Path:
    """The path that a setting names, with `~` and `~user` expanded.

    Raises:
        RequestError: no such user exists, or the setting names an object store, which can neither rename nor lock.
    """
    refuse_object_store(name, value)
    try:
        return Path(value).expanduser() if str(value).startswith("~") else Path(value)
    except RuntimeError:
        raise RequestError(f"{name}={str(value)!r}: must name a user of this machine after ~, or be ./~...") from None


def nearest(path: Path) -> Path | None:
    """The path itself or the nearest above it that exists, absolute; None where the system does not say.

    That is so where a name is too long, or where a folder may not be searched.

    Example:
        >>> nearest(Path("/proc/nowhere/below"))
        PosixPath('/proc')
    """
    try:
        whole = path.absolute()
        return next(each for each in (whole, *whole.parents) if each.exists())
    except OSError:
        return None


def refuse_object_store(name: str, value: str | os.PathLike[str]) -> None:
    """Refuse the address of an object store, also as a `Path` has it, with one slash.

    Raises:
        RequestError: the setting names one.

    Example:
        >>> refuse_object_store("workdir", Path("S3://bucket"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cnn.errors.RequestError: workdir='S3:/bucket': must be on a local or shared file system (NFS, Lustre); copy ...
    """
    if OBJECT_STORE.match(str(value)):
        where = "on a local or shared file system (NFS, Lustre); copy it to or from an object store around the run"
        raise RequestError(f"{name}={str(value)!r}: must be {where}")
