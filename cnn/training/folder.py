"""The folder of a trial: its settings, the metrics of each epoch, its result, and which test images were right.

`result.json` comes last: a folder without it holds a trial that has not finished.

Example:
    >>> import tempfile
    >>> folder = TrialFolder(Path(tempfile.mkdtemp()))
    >>> folder.begin({"seed": 0}, provenance={"host": "here"})
    >>> folder.finish(Outcome(Result("done", val_accuracy=0.5)))
    >>> folder.result().val_accuracy
    0.5
"""

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from cnn import files
from cnn.errors import RequestError
from cnn.trained.network import Trained
from cnn.training.checkpoints import Checkpoints
from cnn.training.metrics import Epoch, read_epochs, write_epochs

FORMAT = 3  # of the files in a work folder, of a trial or a study; a folder of another format is refused
PROVENANCE = "provenance"  # what produced the numbers; `config.json` has it and the format beside the settings
_FORMAT = "format"
FINISHED = ("done", "diverged")
NOTHING: Mapping[str, Any] = MappingProxyType({})
_CONFIG = "config.json"
_RESULT = "result.json"
_METRICS = "metrics.jsonl"
_CORRECT = "test_correct.npy"
_ARRAYS = "measured.npz"
_FAILURE = "failure.txt"


@dataclass(frozen=True)
class Result:
    """The result of a trial. Accuracies are fractions; a value that is unknown is None."""

    status: str  # done, diverged or failed
    bad_step: int | None = None  # the first step without a finite loss, of a trial that diverged
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    test_examples: int | None = None
    parameters: int | None = None
    macs: int | None = None  # multiply-accumulates of one image forward
    epochs: int | None = None
    train_seconds: float | None = None  # of the training steps; trials that ran together share the time
    dataset_fingerprint: str | None = None
    jax: str | None = None  # its version
    device: str | None = None
    machine: str | None = None  # its digest
    same_machine: bool | None = None  # whether every start ran on this machine
    reason: str | None = None  # why a trial failed
    measured: Mapping[str, float | None] = dataclasses.field(default_factory=dict)  # by the experiment

    def value(self, name: str) -> float | None:
        """The number of that name: a field's, or what an experiment measured; None where it is unknown."""
        numbers = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        number = self.measured.get(name, numbers.get(name))
        return number if isinstance(number, (int, float)) else None

    def to_json(self) -> dict[str, Any]:
        """The plain values of `result.json`, measurements beside the fields; a failed trial has only known fields."""
        fields = [field.name for field in dataclasses.fields(self) if field.name not in ("measured", "reason")]
        values = {name: getattr(self, name) for name in fields}
        if self.reason is not None:
            values = {name: value for name, value in values.items() if value is not None} | {"reason": self.reason}
        return {**values, **self.measured}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Result":
        """The result whose plain values these are."""
        names = {field.name for field in dataclasses.fields(cls)} - {"measured"}
        known = {name: value for name, value in values.items() if name in names}
        return cls(**known, measured={name: value for name, value in values.items() if name not in names})


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a trial leaves: its result, which test images were right, and the arrays that an experiment measured."""

    result: Result
    correct: np.ndarray | None = None  # bool [test images]; None where the test set was not read
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    trained: Trained | None = None  # the network, where it was asked for and the trial ran in this process


def default_workdir(experiment: str, slug: str, settings: dict[str, Any]) -> Path:
    """`runs/EXPERIMENT/DATASET-HASH`: the same settings give the same folder, so that the same command continues.

    Args:
        experiment: its name.
        slug: the data set's name, fit for a file.
        settings: the plain values that the hash is made of.

    Example:
        >>> default_workdir("train", "images", {"seed": 0}).as_posix()
        'runs/train/images-de7d7744'
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return Path("runs") / experiment / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', slug)}-{digest}"


def kept_settings(path: Path) -> dict[str, Any] | None:
    """The settings in a `config.json`, without format and provenance; None where there is no file.

    Raises:
        RequestError: the file cannot be read, or another version of this project wrote it.
    """
    config = files.read_json(path)
    if config is None:
        return None
    if config.get(_FORMAT) != FORMAT:
        raise RequestError(f"workdir={str(path.parent)!r} was made by an older version: choose another workdir")
    return {name: value for name, value in config.items() if name not in (_FORMAT, PROVENANCE)}


def config_of(settings: dict[str, Any], provenance: dict[str, Any]) -> dict[str, Any]:
    """The content of a `config.json`: the format, the settings, and what made the numbers."""
    return {_FORMAT: FORMAT, **settings, PROVENANCE: provenance}


class TrialFolder:
    """One trial's folder; nothing is written before `begin`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def check(self, settings: dict[str, Any]) -> bool:
        """Whether the folder holds a trial of these settings; False where it holds none. Provenance does not matter.

        Raises:
            RequestError: the folder holds another trial; the message names the settings that differ, with both values.
        """
        old = kept_settings(self.path / _CONFIG)
        if old is None:
            return False
        if "experiment" in old:
            held = f"holds a run of {old['experiment']}"
            raise RequestError(f"workdir={str(self.path)!r} {held}: choose another workdir")
        changed = files.differences(old, settings)
        if changed:
            raise RequestError(f"{self.path} holds another run ({'; '.join(changed)}): choose another workdir")
        return True

    def begin(self, settings: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Write the settings and the provenance; delete what an earlier start has left half-written.

        Raises:
            RequestError: the folder holds a trial of other settings.
        """
        self.check(settings)
        files.remove_temporary(self.path)
        files.write_json(self.path / _CONFIG, config_of(settings, provenance))
        self.write_metrics([])

    def metrics(self) -> list[Epoch]:
        """The epochs so far."""
        return read_epochs(self.path / _METRICS)

    def write_metrics(self, epochs: Sequence[Epoch]) -> None:
        """Write all epochs so far."""
        write_epochs(self.path / _METRICS, epochs)

    def result(self) -> Result | None:
        """The result of a finished trial, otherwise None; a trial that failed counts as not finished.

        Raises:
            RequestError: the file of the result is damaged.
        """
        values = files.read_json(self.path / _RESULT)
        return Result.from_json(values) if values is not None and values.get("status") in FINISHED else None

    def outcome(self) -> Outcome | None:
        """What a finished trial left, otherwise None.

        Raises:
            RequestError: a file is damaged; the message names it and says how to run the trial again.
        """
        result = self.result()
        return None if result is None else Outcome(result, self._correct(result), self._arrays())

    def finish(self, outcome: Outcome) -> None:
        """Write the arrays and which test images were right, and then the result."""
        if outcome.arrays:
            buffer = io.BytesIO()
            named: dict[str, Any] = {**outcome.arrays}  # no array has the name of a keyword of NumPy's
            np.savez_compressed(buffer, **named)
            files.write(self.path / _ARRAYS, buffer.getvalue())
        if outcome.correct is not None:
            buffer = io.BytesIO()
            np.save(buffer, np.packbits(outcome.correct), allow_pickle=False)
            files.write(self.path / _CORRECT, buffer.getvalue())
        files.write_json(self.path / _RESULT, outcome.result.to_json())
        files.remove(self.path / _FAILURE)

    def fail(self, result: Result, trace: str) -> None:
        """Write the trace of a trial that failed, and then its result. The next run tries the trial again."""
        files.write(self.path / _FAILURE, trace)
        files.write_json(self.path / _RESULT, result.to_json())

    def leftovers(self) -> list[Path]:
        """Files that a finished trial does not need: checkpoints, an old trace, and what a killed process left."""
        named = [self.path / _FAILURE, self.checkpoints().path]
        return [*files.temporary_files(self.path), *(path for path in named if path.exists())]

    def remove_leftovers(self) -> None:
        """Delete the leftovers. Only the folder's one writer may call this."""
        files.remove_temporary(self.path)
        files.remove(self.path / _FAILURE)
        self.checkpoints().remove()

    def checkpoints(self) -> Checkpoints:
        """The trial's checkpoints."""
        return Checkpoints(self.path / "checkpoints")

    def _arrays(self) -> Mapping[str, np.ndarray]:
        """What an experiment measured on the finished network; empty where it kept no arrays."""
        path = self.path / _ARRAYS
        if not path.exists():
            return NOTHING
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return dict(stored)
        except Exception as error:  # NumPy, zipfile and its decoders raise many kinds for a damaged file
            raise self._damaged(path) from error

    def _correct(self, result: Result) -> np.ndarray | None:
        """Which test images were right, or None where the test set was not read."""
        path = self.path / _CORRECT
        count = result.test_examples
        if count is None or result.test_accuracy is None or not path.exists():
            return None
        try:
            right = np.unpackbits(np.load(path, allow_pickle=False))[:count].astype(bool)
            if right.shape != (count,) or right.sum() != round(result.test_accuracy * count):
                raise ValueError("it does not go with the result")
            return right
        except Exception as error:  # as above
            raise self._damaged(path) from error

    def _damaged(self, path: Path) -> RequestError:
        return RequestError(f"{path}: is damaged; remove {self.path}, and the same command runs that trial again")
