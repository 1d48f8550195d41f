"""The checkpoints of a trial, written by Orbax: states by the number of steps done, each with a digest of its content.

Example:
    >>> import tempfile
    >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp()) / "checkpoints")
    >>> checkpoints.save(7, {"kernel": np.ones(3)}, {"epochs": []})
    >>> checkpoints.steps()
    [7]
    >>> checkpoints.load(7, {"kernel": np.zeros(3)})
    ({'kernel': array([1., 1., 1.])}, {'epochs': []})
"""

import errno
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn import files

KEPT = 2
_CONTENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL}  # what damaged files can cause


class DamagedError(Exception):
    """A checkpoint cannot be read, or does not hold what was written. The message names the checkpoint in one line."""


class Checkpoints:
    """States by the number of steps done; the last two are kept. Nothing is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()

    def _manager(self) -> Any:
        import orbax.checkpoint as ocp  # loaded only where a checkpoint is written or read

        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
        return ocp.CheckpointManager(self.path, options=options)

    def save(self, steps: int, state: dict[str, Any], trial: dict[str, Any]) -> None:
        """Write a nested dict of arrays, and plain values beside it, as the state after `steps` steps.

        Raises:
            OSError: the checkpoint cannot be written; earlier checkpoints are unchanged.
        """
        import orbax.checkpoint as ocp

        state = _on_host(state)
        trial = {**trial, "digest": _digest(state, trial)}
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), trial=ocp.args.JsonSave(trial))
        try:
            with self._manager() as manager:
                manager.save(steps, args=arguments)
        except Exception as error:  # tensorstore has errors of its own for a full disk
            number = _number(error)
            reason = os.strerror(number) if number else _line(error)
            raise OSError(number or errno.EIO, reason, str(self.path)) from error

    def steps(self) -> list[int]:
        """The numbers of steps after which a state is kept, in ascending order, without half-written checkpoints."""
        try:
            return sorted(int(entry.name) for entry in self.path.iterdir() if entry.name.isdecimal())
        except FileNotFoundError:
            return []

    def load(self, steps: int, like: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The state after `steps` steps, in the shapes and dtypes of `like`, and the values beside it.

        Raises:
            DamagedError: a part of the checkpoint is missing, or is not what was written.
            OSError: the system refuses to read the checkpoint, or memory is short; the checkpoint may be sound.
        """
        import orbax.checkpoint as ocp

        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(_on_host(like)), trial=ocp.args.JsonRestore())
        try:
            with self._manager() as manager:
                found = manager.restore(steps, args=arguments)
            state = _on_host(found["state"])
            trial = dict(found["trial"])
            if trial.pop("digest") != _digest(state, trial):
                raise ValueError("its content was altered")
            jax.tree.map(_same_kind, state, like)
        except Exception as error:  # Orbax and tensorstore raise many kinds for damaged files
            number = _refusal(error) or _refusal_to_read(self.path / str(steps))
            if number:
                raise OSError(number, os.strerror(number), str(self.path / str(steps))) from error
            raise DamagedError(f"{self.path / str(steps)}: the checkpoint is damaged ({_line(error)})") from error
        return state, trial

    def remove(self, after: int = 0) -> None:
        """Delete the checkpoints past step `after` (by default all), and what interrupted saves and removals left."""
        if not self.path.exists():
            return
        kept = {str(steps) for steps in self.steps() if 0 < steps <= after}
        for entry in self.path.iterdir():
            if entry.name not in kept:
                files.remove(files.set_aside(entry))  # after a kill, no part of it has its old name
        if not kept:
            files.remove(self.path)


def _on_host(tree: dict[str, Any]) -> dict[str, Any]:
    return jax.tree.map(np.asarray, jax.device_get(tree))


def _same_kind(found: np.ndarray, wanted: Any) -> None:
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        raise ValueError(f"it holds {found.dtype}{found.shape} where {wanted.dtype}{wanted.shape} is wanted")


def _digest(state: dict[str, Any], trial: dict[str, Any]) -> str:
    found = hashlib.sha256(json.dumps(trial, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        found.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def _number(error: BaseException) -> int | None:
    """The system's number for an error; tensorstore writes the number into its message."""
    stated = re.search(r"os_error_code='(\d+)'", str(error))
    return int(stated[1]) if stated else getattr(error, "errno", None)


def _refusal(error: BaseException | None) -> int | None:
    """The number of a refusal by the system, from an error or its causes; None where damage can be the cause."""
    while error is not None:
        number = errno.ENOMEM if isinstance(error, MemoryError) else _number(error)
        if number and number not in _CONTENT:
            return number
        error = error.__cause__ or error.__context__
    return None


def _refusal_to_read(folder: Path) -> int | None:
    """The number of the error with which the system refuses to read a folder; Orbax reports such files as missing."""

    def fail(error: OSError) -> None:
        raise error

    try:
        for parent, _, names in os.walk(folder, onerror=fail):
            for name in names:
                with open(os.path.join(parent, name), "rb") as file:
                    hashlib.file_digest(file, "sha256")  # each byte, in pieces
    except OSError as error:
        return _refusal(error)
    return None


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
