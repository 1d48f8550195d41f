"""Decoded arrays kept on disk: written whole or not at all, checked when read, memory-mapped.

An entry is a folder with four `.npy` files and `manifest.json`, which holds the size and the CRC-32 of each file. The
folder is filled under a temporary name and then renamed. So no reader sees half an entry, and several processes may
write the same one.

Example:
    >>> import tempfile
    >>> part = (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1], np.int32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for _ in range(2):  # the second call reads the entry, and does not call `build`
    ...         content, mark = load(Path(folder), "tiny", lambda: Content(*part, *part, ("no", "yes")))
    >>> content.train_images.shape, content.class_names, mark
    ((2, 4, 4, 1), ('no', 'yes'), '436dab9c3802')
"""

import contextlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnn import files
from cnn.data.content import Content, fingerprint
from cnn.progress import Progress

ARRAYS = Content._fields[:4]
FORMAT = 1  # of the entries and of the decoding: after a change of this number every data set is decoded again


class _Damaged(Exception):
    """An entry exists and cannot be trusted; the message says why."""


def default_folder() -> Path:
    """The folder of all entries: `$XDG_CACHE_HOME/conv-relu-pool`, or `~/.cache/conv-relu-pool` where that is not set.

    Source: XDG Base Directory Specification, https://specifications.freedesktop.org/basedir-spec/latest/
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conv-relu-pool"


def load(root: Path, key: str, build: Callable[[], Content], progress: Progress = Progress()) -> tuple[Content, str]:
    """The content and the fingerprint of entry `key` under `root`; a missing or damaged entry is built and kept.

    Images are read-only memory maps. Where the folder cannot be written the arrays stay in memory, and a line says so.
    An error of `build` is passed on, and nothing is kept.
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
        arrays = {name: _read_array(entry / f"{name}.npy", **manifest["files"][name]) for name in ARRAYS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Damaged(f"{type(error).__name__}: {error}") from error
    return Content(**arrays, class_names=tuple(manifest["class_names"])), manifest["fingerprint"]


def _read_array(path: Path, size: int, crc32: int) -> np.ndarray:
    """Images as a memory map, labels in memory, after a check of every byte of the file."""
    if path.stat().st_size != size or _file_crc32(path) != crc32:
        raise _Damaged(f"{path.name} has another size or CRC-32")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array if array.ndim > 1 else np.array(array)


def _keep(entry: Path, content: Content, mark: str) -> tuple[Content, str]:
    """Write the entry whole and read it back; where another process was first with a good one, that one serves."""
    failure: Exception = _Damaged("the entry vanished")
    try:
        with files.whole_folder(entry) as folder:
            _write(folder, content, mark)
            _remove_damaged(entry)
    except OSError as error:  # also where a good entry stands in the place
        failure = error
    kept = _read(entry)
    if kept is None:
        raise failure
    return kept


def _write(folder: Path, content: Content, mark: str) -> None:
    sizes = {}
    for name in ARRAYS:
        path = folder / f"{name}.npy"
        with path.open("wb") as file:
            np.save(file, getattr(content, name), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        sizes[name] = {"size": path.stat().st_size, "crc32": _file_crc32(path)}
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "files": sizes,
        "class_names": list(content.class_names),
        "fingerprint": mark,
    }
    files.write_json(folder / "manifest.json", {**manifest, "crc32": _json_crc32(manifest)})


def _remove_damaged(entry: Path) -> None:
    """Make room for a good entry: a damaged one is removed, unless another process has just done it."""
    try:
        _read(entry)
    except _Damaged:
        with contextlib.suppress(FileNotFoundError):
            files.remove(files.set_aside(entry))


def _file_crc32(path: Path) -> int:
    # A memory map costs no copy: CIFAR-10's 184 MB are checked in about 0.05 s.
    return zlib.crc32(np.memmap(path, np.uint8, mode="r").data)


def _json_crc32(manifest: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
