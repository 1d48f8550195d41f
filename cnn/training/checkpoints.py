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

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn import files
from cnn.errors import RequestError
from cnn.processes import crew

KEPT = 2
_STATE = "state_digest"  # of the arrays; beside the values of the trial, as are the kinds of the arrays
_KINDS = "kinds"
_CONTENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL}  # what damaged files can cause


class DamagedError(Exception):
    """A checkpoint cannot be read, or does not hold what was written. The message names the checkpoint in one line."""


class Checkpoints:
    """States by the number of steps done; the last two are kept. Nothing is unpickled.

    A path that is a link holds no checkpoints: what it leads to belongs to someone else. `remove` deletes the link.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()

    def _manager(self) -> Any:
        import orbax.checkpoint as ocp  # loaded only where a checkpoint is written or read

        if crew() is None:
            options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
            return ocp.CheckpointManager(self.path, options=options)
        self.path.mkdir(parents=True, exist_ok=True)  # Orbax makes it only where all processes save
        alone = ocp.options.MultiprocessingOptions(0, active_processes={0}, barrier_sync_key_prefix="process 0")
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, create=False, multiprocessing_options=alone
        )
        return ocp.CheckpointManager(self.path, options=options)

    def save(self, steps: int, state: dict[str, Any], trial: dict[str, Any]) -> None:
        """Write a nested dict of arrays, and plain values beside it, as the state after `steps` steps.

        A checkpoint of as many steps is replaced.

        Raises:
            OSError: the checkpoint cannot be written; earlier checkpoints are unchanged.
        """
        import orbax.checkpoint as ocp

        state = _on_host(state)
        sealed = files.seal({**trial, _STATE: _digest(state), _KINDS: _kinds(state)})
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), trial=ocp.args.JsonSave(sealed))
        try:
            with _replacing(self.path / str(steps)), self._manager() as manager:
                manager.save(steps, args=arguments)
            for old in self.steps()[:-KEPT]:
                self._remove(self.path / str(old))
        except Exception as error:  # tensorstore has errors of its own for a full disk
            number = _number(error)
            reason = os.strerror(number) if number else _line(error)
            raise OSError(number or errno.EIO, reason, str(self.path)) from error

    def steps(self) -> list[int]:
        """The numbers of steps after which a state is kept, in ascending order, without half-written checkpoints."""
        if self.path.is_symlink():
            return []
        try:
            return sorted(int(entry.name) for entry in self.path.iterdir() if entry.name.isdecimal())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def newest(self) -> int:
        """How many steps the newest state has done; 0 where none is kept."""
        return max(self.steps(), default=0)

    def load(self, steps: int, like: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The state after `steps` steps, in the shapes and types of `like`, and the values beside it.

        Raises:
            RequestError: the checkpoint is sound, but its arrays have other shapes or types than `like`.
            DamagedError: a part of the checkpoint is missing, or is not what was written.
            OSError: the system refuses to read the checkpoint, or memory is short; the checkpoint may be sound.
        """
        import orbax.checkpoint as ocp

        with self._reading(steps), self._manager() as manager:
            beside = manager.restore(steps, args=ocp.args.Composite(trial=ocp.args.JsonRestore()))
            trial = files.unseal(dict(beside["trial"]))
            if trial is None:
                raise ValueError("its content was altered")
            self._check_kinds(steps, trial.pop(_KINDS), _kinds(like))  # first: arrays are restored as `like` says
            arguments = ocp.args.Composite(state=ocp.args.StandardRestore(_on_host(like)))
            state = _on_host(manager.restore(steps, args=arguments)["state"])
            if trial.pop(_STATE) != _digest(state):
                raise ValueError("its content was altered")
        return state, trial

    @contextlib.contextmanager
    def _reading(self, steps: int) -> Iterator[None]:
        """Raise what `load` says for the many kinds of errors that Orbax and tensorstore have for damaged files."""
        place = self.path / str(steps)
        odd = _never_ends(place)
        if odd is not None:
            raise DamagedError(f"{place}: the checkpoint is damaged ({odd} is not a regular file)")
        try:
            yield
        except RequestError:
            raise
        except Exception as error:
            number = _refusal(error) or _refusal_to_read(place)
            if number:
                raise OSError(number, os.strerror(number), str(place)) from error
            raise DamagedError(f"{place}: the checkpoint is damaged ({_line(error)})") from error

    def _check_kinds(self, steps: int, saved: dict[str, str], wanted: dict[str, str]) -> None:
        """Refuse the arrays of another kind of training, such as another network, or float64 instead of float32."""
        changed = files.differences(saved, wanted)
        if changed:
            place = self.path / str(steps)
            raise RequestError(f"{place} is a checkpoint of another kind ({changed[0]}): choose another workdir")

    def remove(self, after: int = 0) -> None:
        """Delete the checkpoints past step `after` (by default all), and what interrupted saves and removals left."""
        kept = {str(steps) for steps in self.steps() if 0 < steps <= after}
        if not kept:
            self._remove(self.path)
            return
        for entry in self.path.iterdir():
            if entry.name not in kept:
                self._remove(entry)

    def _remove(self, path: Path) -> None:
        if os.path.lexists(path):
            files.remove(files.set_aside(path))  # after a kill, no part of it has its old name


@contextlib.contextmanager
def _replacing(place: Path) -> Iterator[None]:
    """Set aside what is there for as long as the block runs; if the block fails, it is there again."""
    if not place.exists():
        yield
        return
    aside = files.set_aside(place)
    try:
        yield
    finally:
        if place.exists():
            files.remove(aside)
        else:
            aside.rename(place)


def _on_host(tree: dict[str, Any]) -> dict[str, Any]:
    return jax.tree.map(np.asarray, jax.device_get(tree))


def _kinds(state: dict[str, Any]) -> dict[str, str]:
    """The type and shape of each array, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _digest(state: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


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


def _never_ends(folder: Path) -> str | None:
    """The path in a folder of what may block its reader for ever, a pipe or a device; None where all are files."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(OSError):  # what the system refuses, or a link to nothing: the reader reports it
                if not stat.S_ISREG(path.stat().st_mode):
                    return str(path.relative_to(folder))
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
