"""The folder of a trial: settings, metrics of each epoch, result, answers to the test images, trained network.

`result.json` comes last: a folder without it holds a trial that has not finished. The result carries digests of the
trial's settings, of the files beside it, and of itself. A result is read only for settings, and only if it goes with
them, whatever `config.json` says.

Example:
    >>> import tempfile
    >>> folder = TrialFolder(Path(tempfile.mkdtemp()))
    >>> settings = {"seed": 0}
    >>> folder.begin(settings, provenance={"host": "here"})
    >>> folder.finish(Outcome(Result("done", val_accuracy=0.5)), settings)
    >>> folder.result(settings).val_accuracy
    0.5
"""

import dataclasses
import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from cnn import files
from cnn.config import to_json
from cnn.errors import RequestError
from cnn.places import refuse_object_store
from cnn.trained.kept import JSON, WEIGHTS
from cnn.trained.network import Trained
from cnn.training import answers
from cnn.training.answers import Predictions
from cnn.training.checkpoints import Checkpoints
from cnn.training.metrics import Epoch, read_epochs, write_epochs

FORMAT = 7  # of the files in a work folder, of a trial or a study; a folder of another format is refused
PROVENANCE = "provenance"  # what produced the numbers; `config.json` has it and the format beside the settings
_FORMAT = "format"
FINISHED = ("done", "diverged")
NOTHING: Mapping[str, Any] = MappingProxyType({})
_CONFIG = "config.json"
_RESULT = "result.json"
_METRICS = "metrics.jsonl"
_TEST = "test_answers.npy"
_VAL_CORRECT = "val_correct.npy"
_ARRAYS = "measured.npz"
_FAILURE = "failure.txt"
_SETTINGS = "settings_digest"  # in `result.json`, as is the next one
_FILES = "files"


@dataclass(frozen=True)
class Result:
    """The result of a trial. Accuracies are fractions; a value that is unknown is None."""

    status: str  # done, diverged or failed
    bad_step: int | None = None  # the first step without a finite loss, of a trial that diverged
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    test_examples: int | None = None
    collapsed: bool | None = None  # whether it ended no better than always the commonest class; None where not tested
    parameters: int | None = None
    macs: int | None = None  # multiply-accumulates of one image forward
    epochs: int | None = None
    compile_seconds: float | None = None  # before the last start's first step; shared, as is the next one
    train_seconds: float | None = None  # of the training steps; trials that ran together share the time
    steps_per_second: float | None = None  # of the training steps
    images_per_second: float | None = None  # of the training steps
    share_of_matrix_product: float | None = None  # of the operations that all devices do in products of matrices
    devices: int | None = None  # that shared the work
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
    """What a trial leaves: its result, its answers to the images, and the arrays that an experiment measured."""

    result: Result
    correct: np.ndarray | None = None  # bool [test images]; None where the test set was not read
    val_correct: np.ndarray | None = None  # bool [validation images], in the order of the split; None likewise
    predictions: Predictions | None = None  # for the test images; None likewise, and where objects are located
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
    return Path("runs") / experiment / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', slug)}-{files.digest(settings)[:8]}"


def kept_settings(path: Path, flag: str = "workdir") -> dict[str, Any] | None:
    """The settings in a `config.json`, without format and provenance; None where there is no file.

    Raises:
        RequestError: the file cannot be read, or another version of this project wrote it; `flag` gave its folder.
    """
    config = files.read_json(path)
    if config is None:
        return None
    if config.get(_FORMAT) != FORMAT:
        raise RequestError(f"{flag}={str(path.parent)!r} was made by another version: choose another {flag}")
    return {name: value for name, value in config.items() if name not in (_FORMAT, PROVENANCE)}


def config_of(settings: dict[str, Any], provenance: dict[str, Any]) -> dict[str, Any]:
    """The content of a `config.json`: the format, the settings, and what made the numbers."""
    return {_FORMAT: FORMAT, **settings, PROVENANCE: provenance}


class TrialFolder:
    """One trial's folder; nothing is written before `begin`."""

    def __init__(self, path: Path) -> None:
        refuse_object_store("workdir", path)
        self.path = Path(path)

    def check(self, settings: dict[str, Any]) -> None:
        """Refuse the folder if its `config.json` has other settings. Provenance does not matter.

        Raises:
            RequestError: the folder holds another trial; the message names the settings that differ, with both values.
        """
        files.require_files(self.path)
        old = kept_settings(self.path / _CONFIG)
        if old is None:
            return
        if "experiment" in old:
            held = f"holds a run of {old['experiment']}"
            raise RequestError(f"workdir={str(self.path)!r} {held}: choose another workdir")
        changed = files.differences(old, settings)
        if changed:
            raise RequestError(f"{self.path} holds another run ({'; '.join(changed)}): choose another workdir")

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

    def result(self, settings: dict[str, Any]) -> Result | None:
        """The result of a finished trial of these settings, otherwise None; a trial that failed has not finished.

        Raises:
            RequestError: the folder holds a trial of other settings, or the file of the result is damaged.
        """
        kept = self._kept(settings)
        return None if kept is None else kept.result

    def outcome(self, settings: dict[str, Any]) -> Outcome | None:
        """What a finished trial of these settings left, otherwise None.

        Raises:
            RequestError: the folder holds a trial of other settings; or a file is damaged or missing, and the message
                names it and says how to run the trial again.
        """
        kept = self._kept(settings)
        if kept is None:
            return None
        self._network(kept, settings)  # is looked at, so that none that is missing or exchanged goes unnoticed
        test = self._beside(kept, _TEST)
        correct, predictions = (None, None) if test is None else answers.from_npy(test)
        return Outcome(kept.result, correct, self._val_correct(kept), predictions, self._arrays(kept))

    def trained(self, settings: dict[str, Any]) -> Trained | None:
        """The network of a finished trial of these settings; None where it has not finished, or kept no network.

        Raises:
            RequestError: the folder holds a trial of other settings, or a file is damaged or missing.
        """
        kept = self._kept(settings)
        return None if kept is None else self._network(kept, settings)

    def finish(self, outcome: Outcome, settings: dict[str, Any], network: Trained | None = None) -> None:
        """Write the answers, the arrays and the trained network, if it is given, and then the result."""
        beside: dict[str, bytes] = {}
        if outcome.arrays:
            beside[_ARRAYS] = answers.arrays_to_npz(outcome.arrays)
        if outcome.correct is not None:
            beside[_TEST] = answers.to_npy(outcome.correct, outcome.predictions)
        if outcome.val_correct is not None:
            beside[_VAL_CORRECT] = answers.array_to_npy(outcome.val_correct)
        named_network = {} if network is None else network.to_files()
        if network is not None:
            beside[WEIGHTS] = named_network[WEIGHTS]  # the JSON names these weights, and says what made them
        for name, content in {**beside, **named_network}.items():
            files.write(self.path / name, content)
        self._write_result(outcome.result, settings, beside)
        files.remove(self.path / _FAILURE)

    def _write_result(self, result: Result, settings: dict[str, Any], beside: Mapping[str, bytes]) -> None:
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in beside.items()}
        values = {**result.to_json(), _SETTINGS: files.digest(settings), _FILES: digests}
        files.write_json(self.path / _RESULT, files.seal(values))

    def _kept(self, settings: dict[str, Any]) -> "_Kept | None":
        """The content of `result.json`, if it is that of a finished trial of these settings."""
        self.check(settings)
        path = self.path / _RESULT
        values = files.read_json(path)
        if values is None:
            return None
        kept = files.unseal(values)
        if kept is None:
            raise self._damaged(path)
        if kept.pop(_SETTINGS) != files.digest(settings):
            raise RequestError(f"{path} is the result of another run: choose another workdir, or remove {self.path}")
        digests = kept.pop(_FILES)
        return _Kept(Result.from_json(kept), digests) if kept["status"] in FINISHED else None

    def fail(self, result: Result, settings: dict[str, Any], trace: str) -> None:
        """Write the trace of a trial that failed, and then its result. The next run tries the trial again."""
        files.write(self.path / _FAILURE, trace)
        self._write_result(result, settings, beside={})

    def leftovers(self, keep: bool) -> list[Path]:
        """Files that a finished trial does not need: an old trace, and what a killed or stopped process left.

        Args:
            keep: whether its checkpoints are to stay; else they are leftovers too.
        """
        named = [self.path / _FAILURE, self.path / files.HOLDER, *([] if keep else [self.checkpoints().path])]
        return [*files.temporary_files(self.path), *(path for path in named if os.path.lexists(path))]

    def remove_leftovers(self, keep: bool) -> None:
        """Delete the leftovers, but for the writer's name. Only the folder's one writer may call this."""
        files.remove_temporary(self.path)
        files.remove(self.path / _FAILURE)
        if not keep:
            self.checkpoints().remove()

    def has_settings(self) -> bool:
        """Whether `config.json` is there; a result goes without it too."""
        return (self.path / _CONFIG).exists()

    def keep_settings(self, settings: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Write the settings and the provenance, if someone has removed them."""
        if not self.has_settings():
            files.write_json(self.path / _CONFIG, config_of(settings, provenance))

    def checkpoints(self) -> Checkpoints:
        """The trial's checkpoints."""
        return Checkpoints(self.path / "checkpoints")

    def _network(self, kept: "_Kept", settings: dict[str, Any]) -> Trained | None:
        """The trained network that was kept with the result; None where none was."""
        if self._beside(kept, WEIGHTS) is None:
            return None
        try:
            trained = Trained.load(self.path)
        except RequestError as error:
            raise RequestError(f"{error}; {self._advice()}") from None
        own = {**to_json(trained.config), "dataset_fingerprint": trained.dataset_fingerprint}
        if own != {name: value for name, value in settings.items() if name in own}:
            raise RequestError(f"{self.path / JSON}: is of another training; {self._advice()}")
        return trained

    def _arrays(self, kept: "_Kept") -> Mapping[str, np.ndarray]:
        """What an experiment measured on the finished network; empty where it kept no arrays."""
        content = self._beside(kept, _ARRAYS)
        if content is None:
            return NOTHING
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return dict(stored)

    def _val_correct(self, kept: "_Kept") -> np.ndarray | None:
        """Which validation images were right; None where none were asked."""
        content = self._beside(kept, _VAL_CORRECT)
        return None if content is None else np.load(io.BytesIO(content), allow_pickle=False)

    def _beside(self, kept: "_Kept", name: str) -> bytes | None:
        """The content of a file beside the result, which was written with it; None where none was."""
        if name not in kept.files:
            return None
        path = self.path / name
        try:
            content = files.read_bytes(path)
        except FileNotFoundError:
            raise RequestError(f"{path}: is missing; {self._advice()}") from None
        if hashlib.sha256(content).hexdigest() != kept.files[name]:
            raise self._damaged(path)
        return content

    def _damaged(self, path: Path) -> RequestError:
        return RequestError(f"{path}: is damaged; {self._advice()}")

    def _advice(self) -> str:
        return f"remove {self.path}, and the command that made it runs that trial again"


class _Kept(NamedTuple):
    """A finished trial's result, and the digests of the files beside it, by name."""

    result: Result
    files: Mapping[str, str]
