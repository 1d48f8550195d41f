"""The folder of a trial: configuration, metrics, result, and which test images were right.

Every file is written under another name and renamed, so that it is there whole or not at all. `result.json` comes last:
a folder without it holds a trial that is not finished. Nothing is unpickled.

Example:
    >>> import tempfile
    >>> folder = TrialFolder(Path(tempfile.mkdtemp()))
    >>> folder.begin({"seed": 0})
    >>> folder.finish({"status": "done", "val_accuracy": 0.5})
    >>> folder.result()["status"]
    'done'
"""

import contextlib
import hashlib
import io
import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from cnn.config import RequestError
from cnn.training.checkpoints import Checkpoints

PROVENANCE = "provenance"  # what `config.json` holds beside the settings
FAILURE = "failure.txt"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: a temporary file in the same folder, flushed to disk, then renamed.

    Raises:
        OSError: it cannot be written; it names the file that was meant, which is as it was before.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def remove_temporary(folder: Path) -> None:
    """Delete what a process that was killed while it wrote has left in a folder; only its one writer may ask for it."""
    for path in _temporary(folder):
        path.unlink(missing_ok=True)


def _temporary(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".*") if _TEMPORARY.fullmatch(path.name)]


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, so that not even a power cut undoes it: checkpoints may be removed after a result.

    A number that is not finite is an error, since JSON has none.
    """
    write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
    with contextlib.suppress(OSError):  # not every system lets a folder be flushed; the file is there by then
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name; 2 ms, too long for the metrics of every epoch
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


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """What a `config.json` holds without its provenance."""
    return {name: value for name, value in config.items() if name != PROVENANCE}


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The settings in which two configurations differ, each as `name: old, now new`, nested ones by `outer.inner`.

    Example:
        >>> differences({"seed": 0, "network": {"width": 16}}, {"seed": 0, "network": {"width": 32}})
        ['network.width: 16, now 32']
    """
    found = []
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name}: {before!r}, now {after!r}")
    return found


def default_workdir(experiment: str, dataset: str, settings: dict[str, Any]) -> Path:
    """`runs/EXPERIMENT/DATASET-HASH`: the same settings give the same folder, so that the same command continues.

    Example:
        >>> default_workdir("train", "some folder/images.npz", {"seed": 0}).as_posix()
        'runs/train/images-de7d7744'
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    name = Path(dataset).stem if dataset.endswith(".npz") else dataset
    return Path("runs") / experiment / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}-{digest}"


class TrialFolder:
    """One trial's folder; nothing is written before `begin`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def check(self, config: dict[str, Any]) -> bool:
        """Whether the folder holds a trial of this configuration, whatever made it; False where it holds none.

        Raises:
            RequestError: it holds a trial of another; the message names the settings with both values.
        """
        old = self.config()
        if old is not None and (changed := differences(settings_of(old), settings_of(config))):
            raise RequestError(f"{self.path} holds another run ({'; '.join(changed)}): choose another workdir")
        return old is not None

    def config(self) -> dict[str, Any] | None:
        """The configuration, with its provenance, or None where the folder holds no trial."""
        return read_json(self.path / "config.json")

    def begin(self, config: dict[str, Any]) -> None:
        """Write the configuration and its provenance; of an earlier start nothing may be left but a result that failed.

        Raises:
            RequestError: the folder holds a trial of another configuration.
        """
        self.check(config)
        remove_temporary(self.path)
        write_json(self.path / "config.json", config)

    def result(self) -> dict[str, Any] | None:
        """The result of a finished trial, otherwise None; a trial that failed counts as not finished."""
        result = read_json(self.path / "result.json")
        return result if result is not None and result.get("status") in ("done", "diverged") else None

    def metrics(self) -> list[dict[str, Any]]:
        """The epochs so far, a dict for each."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def write_metrics(self, epochs: list[dict[str, Any]]) -> None:
        """All epochs so far; the file is small, and rewriting it keeps it whole."""
        write(self.path / "metrics.jsonl", "".join(json.dumps(epoch, allow_nan=False) + "\n" for epoch in epochs))

    def finish(self, result: dict[str, Any], right: np.ndarray | None = None) -> None:
        """Write the result last, after which test images were right (packed bits, in the data set's order)."""
        if right is not None:
            buffer = io.BytesIO()
            np.save(buffer, np.packbits(right), allow_pickle=False)
            write(self.path / "test_correct.npy", buffer.getvalue())
        write_json(self.path / "result.json", result)
        (self.path / FAILURE).unlink(missing_ok=True)

    def leftovers(self) -> list[Path]:
        """What a finished trial has no use for: checkpoints, and what a kill at its end did not let it remove."""
        named = [self.path / FAILURE, self.checkpoints().path]
        return [*_temporary(self.path), *(path for path in named if path.exists())]

    def remove_leftovers(self) -> None:
        """Delete these; only the folder's one writer may ask for it."""
        if self.leftovers():
            remove_temporary(self.path)
            (self.path / FAILURE).unlink(missing_ok=True)
            self.checkpoints().remove()

    def fail(self, result: dict[str, Any], trace: str) -> None:
        """Write the result of a trial that failed, after where in the code it did; the next run tries it again."""
        write(self.path / FAILURE, trace)
        write_json(self.path / "result.json", result)

    def write_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Keep what an experiment measured, before the result; the file appears whole or not at all."""
        buffer = io.BytesIO()
        named: dict[str, Any] = {**arrays}  # NumPy's own keywords are no names of ours
        np.savez_compressed(buffer, **named)
        write(self.path / "measured.npz", buffer.getvalue())

    def arrays(self) -> dict[str, np.ndarray]:
        """What an experiment measured on the finished network; empty where it kept no arrays."""
        path = self.path / "measured.npz"
        if not path.exists():
            return {}
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return dict(stored)
        except Exception as error:  # whatever NumPy, zipfile and its decoders raise for a damaged file
            raise self._damaged(path) from error

    def correct_images(self) -> np.ndarray | None:
        """Which test images were right, as booleans, or None where the test set was not read."""
        path, result = self.path / "test_correct.npy", self.result()
        if result is None or not path.exists():
            return None
        try:
            count = result["test_examples"]
            right = np.unpackbits(np.load(path, allow_pickle=False))[:count].astype(bool)
            if right.shape != (count,) or right.sum() != round(result["test_accuracy"] * count):
                raise ValueError("it does not go with the result")
            return right
        except Exception as error:  # as above
            raise self._damaged(path) from error

    def _damaged(self, path: Path) -> RequestError:
        return RequestError(f"{path}: is damaged; remove {self.path}, and the same command runs that trial again")

    def checkpoints(self) -> Checkpoints:
        """The trial's checkpoints."""
        return Checkpoints(self.path / "checkpoints")
