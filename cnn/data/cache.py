"""Decoded arrays kept on disk: written whole or not at all, checked when read, memory-mapped.

An entry is a folder with four `.npy` files and `manifest.json`, which holds the size and the CRC-32 of each file. It is
made under a temporary name and renamed, so that no reader sees a part of it and concurrent writers do not meet.

Example:
    >>> import tempfile
    >>> part = np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1], np.int32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for _ in range(2):  # the second time `build` is not called
    ...         content, mark = load(Path(folder), "tiny", lambda: Content(*part, *part, ("no", "yes")))
    >>> content.train_images.shape, content.class_names, len(mark)
    ((2, 4, 4, 1), ('no', 'yes'), 12)
"""

import hashlib
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn.progress import Progress


class Content(NamedTuple):
    """What a data set holds: uint8 images [n, height, width, channels], int32 labels [n], and the labels' names."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]


ARRAYS = Content._fields[:4]
FORMAT = 1  # of what is kept and how it is decoded; another number makes every set decode again


class _Damaged(Exception):
    """An entry that is there and cannot be trusted; the message says why."""


def default_folder() -> Path:
    """The folder of all entries: `$XDG_CACHE_HOME/conv-relu-pool`, or `~/.cache/conv-relu-pool` where that is not set.

    Source: XDG Base Directory Specification, https://specifications.freedesktop.org/basedir-spec/latest/
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conv-relu-pool"


def fingerprint(content: Content) -> str:
    """Twelve hexadecimal digits of the SHA-256 of the arrays, their shapes and the class names.

    Example:
        >>> part = np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1], np.int32)
        >>> fingerprint(Content(*part, *part, ("no", "yes")))
        '436dab9c3802'
    """
    digest = hashlib.sha256(json.dumps(content.class_names).encode())
    for array in content[:4]:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:12]


def load(root: Path, key: str, build: Callable[[], Content], progress: Progress = Progress()) -> tuple[Content, str]:
    """The content and the fingerprint of entry `key` under `root`; a missing or damaged entry is built and kept.

    Images are read-only memory maps. Where the folder cannot be written they stay in memory, and a line says so.
    Whatever `build` raises is passed on, and nothing is kept.
    """
    entry = root / key
    try:
        found = _read(entry)
    except _Damaged as damage:
        progress.line(f"the cache entry {entry} is damaged ({damage}): building it again")
        found = None
    if found is not None:
        return found
    content = build()
    mark = fingerprint(content)
    try:
        return _keep(entry, content, mark)
    except (OSError, _Damaged) as error:
        progress.line(f"the cache folder {root} cannot be used ({error}): the arrays stay in memory")
        return content, mark


def _read(entry: Path) -> tuple[Content, str] | None:
    """The checked entry; None where there is none."""
    try:
        if not entry.exists():
            return None
        manifest = json.loads((entry / "manifest.json").read_bytes())
        if manifest.pop("crc32") != _json_crc32(manifest):
            raise _Damaged("manifest.json has another CRC-32")
        if manifest["format"] != FORMAT:
            raise _Damaged(f"format {manifest['format']}, now {FORMAT}")
        parts = (_read_array(entry / f"{name}.npy", **manifest["files"][name]) for name in ARRAYS)
        train_images, train_labels, test_images, test_labels = parts
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Damaged(f"{type(error).__name__}: {error}") from error
    names = tuple(manifest["class_names"])
    return Content(train_images, train_labels, test_images, test_labels, names), manifest["fingerprint"]


def _read_array(path: Path, size: int, crc32: int) -> np.ndarray:
    """A memory map of images, or labels in memory, after a check of every byte of the file."""
    if path.stat().st_size != size or _file_crc32(path) != crc32:
        raise _Damaged(f"{path.name} has another size or CRC-32")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array if array.ndim > 1 else np.array(array)


def _keep(entry: Path, content: Content, mark: str) -> tuple[Content, str]:
    """Write the entry under a temporary name, rename it, and read it back."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    temporary = entry.with_name(f".{entry.name}-{uuid.uuid4().hex}")
    try:
        _write(temporary, content, mark)
        _rename(temporary, entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    kept = _read(entry)
    if kept is None:
        raise _Damaged("the entry vanished")
    return kept


def _write(folder: Path, content: Content, mark: str) -> None:
    folder.mkdir()
    files = {}
    for name in ARRAYS:
        path = folder / f"{name}.npy"
        with path.open("wb") as file:
            np.save(file, getattr(content, name), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        files[name] = {"size": path.stat().st_size, "crc32": _file_crc32(path)}
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "files": files,
        "class_names": list(content.class_names),
        "fingerprint": mark,
    }
    with (folder / "manifest.json").open("w") as file:
        json.dump({**manifest, "crc32": _json_crc32(manifest)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _rename(temporary: Path, entry: Path) -> None:
    """Give the finished folder its name; where another process was first with a good one, that one serves."""
    try:
        temporary.rename(entry)
    except OSError:
        try:
            _read(entry)
        except _Damaged:
            aside = temporary.with_name(f"{temporary.name}-damaged")
            entry.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
            temporary.rename(entry)


def _file_crc32(path: Path) -> int:
    # A memory map costs no copy: CIFAR-10's 184 MB are checked in about 0.05 s.
    return zlib.crc32(np.memmap(path, np.uint8, mode="r").data)


def _json_crc32(manifest: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
