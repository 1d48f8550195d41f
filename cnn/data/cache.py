"""Decoded arrays kept on disk: written whole or not at all, checked when read, memory-mapped.

An entry is a folder with four `.npy` files and `manifest.json`, which holds the size and the CRC-32 of each file. The
folder is filled under a temporary name and then renamed. So no reader sees half an entry. One process writes at a time;
what a killed process left half-written is removed by the next one that writes or reads. Only regular files are opened,
since another kind of file, such as a named pipe, might never answer.

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
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnn import files
from cnn.data.content import Content, fingerprint
from cnn.data.records import Records, Reopen, has_room, never
from cnn.errors import RequestError
from cnn.progress import Progress

ARRAYS = Content._fields[:4]
IMAGES = ("train_images", "test_images")
FORMAT = 1  # of the entries and of the decoding: after a change of this number every data set is decoded again


class _Damaged(Exception):
    """An entry exists and cannot be trusted; the message says why."""


def default_folder() -> Path:
    """The folder of all entries: `$XDG_CACHE_HOME/conv-relu-pool`, or `~/.cache/conv-relu-pool` where that is not set.

    Raises:
        RequestError: neither is known.

    Source: XDG Base Directory Specification, https://specifications.freedesktop.org/basedir-spec/latest/
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conv-relu-pool"
    except RuntimeError:
        raise RequestError("XDG_CACHE_HOME and HOME are not set, and the user has no home: set one of them") from None


def load(
    root: Path, key: str, build: Callable[[], Content], progress: Progress = Progress(), reopen: Reopen = never
) -> tuple[Content, str]:
    """The content and the fingerprint of entry `key` under `root`; a missing or damaged entry is built and kept.

    Images are read-only memory maps. Where the folder cannot be written the arrays stay in memory, and a line says so.
    An error of `build` is passed on, and nothing is kept. What a killed process left half-written is removed.

    Of `Records` only the shape is kept, and `reopen` gives them again; where they have room now, all is built anew.
    """
    entry = root / key
    _remove_leftovers(root)
    try:
        cached = _read(entry, reopen)
    except _Damaged as damage:
        progress.line(f"the cache entry {entry} is damaged ({damage}): building it again")
        cached = None
    if cached is not None:
        return cached
    content = build()
    mark = fingerprint(content)
    try:
        return _keep(entry, content, mark, progress, reopen)
    except (OSError, _Damaged) as error:
        progress.line(f"the cache folder {root} cannot be used ({error}): the arrays stay in memory")
        return content, mark


def _read(entry: Path, reopen: Reopen) -> tuple[Content, str] | None:
    """The checked entry; None where there is none, or where its `Records` have room now."""
    if not os.path.lexists(entry):
        return None
    try:
        manifest = json.loads(_regular(entry / "manifest.json").read_bytes())
        if manifest.pop("crc32") != _json_crc32(manifest):
            raise _Damaged("manifest.json has another CRC-32")
        if manifest["format"] != FORMAT:
            raise _Damaged(f"format {manifest['format']}, now {FORMAT}")
        shapes = {name: tuple(shape) for name, shape in manifest.get("records", {}).items()}
        files = manifest["files"]
        sizes = [math.prod(shapes[name]) if name in shapes else files[name]["size"] for name in IMAGES]
        if shapes and has_room(entry.parent, sizes):
            return None
        arrays: dict[str, Any] = {name: reopen(name, shape) for name, shape in shapes.items()}
        for name in ARRAYS:
            if name not in shapes:
                arrays[name] = _read_array(entry / f"{name}.npy", **files[name])
        content = Content(**arrays, class_names=tuple(manifest["class_names"]), note=manifest.get("note", ""))
        return _checked(content), str(manifest["fingerprint"])
    except _Damaged:
        raise
    except Exception as error:  # the bytes may be any, and a reader may raise anything at them
        raise _Damaged(" ".join(f"{type(error).__name__}: {error}".split())) from error


def _regular(path: Path) -> Path:
    """The path, which is safe to open: the name of a pipe or of a device may block whoever opens it."""
    if not path.is_file():
        raise _Damaged(f"{path.name} is no regular file, or there is none")
    return path


def _read_array(path: Path, size: int, crc32: int) -> np.ndarray:
    """Images as a memory map, labels in memory, after a check of every byte of the file."""
    if _regular(path).stat().st_size != size or _file_crc32(path) != crc32:
        raise _Damaged(f"{path.name} has another size or CRC-32")
    array = np.lib.format.open_memmap(path, mode="r")
    return array if array.ndim > 1 else np.array(array)


def _checked(content: Content) -> Content:
    """The content, whose labels name classes; `Content` says which types and shapes its arrays have."""
    classes = len(content.class_names)
    if not classes or not all(isinstance(name, str) for name in content.class_names):
        raise _Damaged("class_names must be texts")
    if not isinstance(content.note, str):
        raise _Damaged("note must be a text")
    if content.train_images.shape[1:] != content.test_images.shape[1:]:
        raise _Damaged("the images of the two parts differ in shape")
    for images, labels in (content[:2], content[2:4]):
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
            raise _Damaged(
                f"images are {images.dtype} {list(images.shape)}, must be uint8 [n, height, width, channels]"
            )
        if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
            raise _Damaged(f"labels are {labels.dtype} {list(labels.shape)}, must be int32 [{len(images)}]")
        if labels.min() < 0 or labels.max() >= classes:
            raise _Damaged(f"labels go from {labels.min()} to {labels.max()}, must be from 0 to {classes - 1}")
    return content


def _remove_leftovers(root: Path) -> None:
    """Remove what killed processes left half-written. While another process writes, nothing is removed."""
    if not files.temporary_files(root):
        return
    import filelock

    with contextlib.suppress(OSError, NotImplementedError), filelock.FileLock(root / files.LOCK).acquire(timeout=0):
        files.remove_temporary(root)


def _keep(entry: Path, content: Content, mark: str, progress: Progress, reopen: Reopen) -> tuple[Content, str]:
    """Write the entry whole and read it back; where another process was first with a good one, that one serves."""
    failure: Exception = _Damaged("the entry vanished")
    waiting = f"waiting for another process that writes into {entry.parent}"
    with files.one_at_a_time(entry.parent, waiting, progress):
        try:
            with files.whole_folder(entry) as folder:
                _write(folder, content, mark)
                _remove_damaged(entry, reopen)
        except OSError as error:  # also where a good entry stands in the place
            failure = error
        kept = _read(entry, reopen)
    if kept is None:
        raise failure
    return kept


def _write(folder: Path, content: Content, mark: str) -> None:
    sizes = {}
    images = {"train_images": content.train_images, "test_images": content.test_images}
    records = {name: part.shape for name, part in images.items() if isinstance(part, Records)}
    for name in [each for each in ARRAYS if each not in records]:
        path = folder / f"{name}.npy"
        with path.open("wb") as file:
            np.save(file, getattr(content, name), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        sizes[name] = {"size": path.stat().st_size, "crc32": _file_crc32(path)}
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "files": sizes,
        **({"records": records} if records else {}),
        "class_names": list(content.class_names),
        **({"note": content.note} if content.note else {}),  # an entry of older versions has none
        "fingerprint": mark,
    }
    files.write_json(folder / "manifest.json", {**manifest, "crc32": _json_crc32(manifest)})


def _remove_damaged(entry: Path, reopen: Reopen) -> None:
    """Make room for a good entry: a damaged one is removed, unless another process has just done it.

    So is an entry that keeps no images, which have room now.
    """
    try:
        useless = _read(entry, reopen) is None
    except _Damaged:
        useless = True
    if useless:
        with contextlib.suppress(FileNotFoundError):
            files.remove(files.set_aside(entry))


def _file_crc32(path: Path) -> int:
    # A memory map costs no copy: CIFAR-10's 184 MB are checked in about 0.05 s.
    return zlib.crc32(np.memmap(path, np.uint8, mode="r").data)


def _json_crc32(manifest: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
