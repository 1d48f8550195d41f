"""What one trial has so far, and its folder, which is kept up to date.

Example:
    >>> from cnn.data import datasets
    >>> record = Record(TrialConfig("digits"), datasets.load("digits"), folder=None)
    >>> record.epochs, record.bad_step, record.outcome
    ([], None, None)
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import flax.serialization

from cnn import files, machine
from cnn.config import TrialConfig, to_json
from cnn.data.content import Dataset
from cnn.errors import RequestError
from cnn.machine import Machine
from cnn.progress import Progress
from cnn.trained.network import Trained
from cnn.training.fit import Snapshot
from cnn.training.folder import Outcome, TrialFolder
from cnn.training.metrics import Epoch
from cnn.training.tensorboard import Events, Picture


def settings(config: TrialConfig, dataset: Dataset, measured_by: str = "") -> dict[str, Any]:
    """The plain values that a trial's folder keeps of its settings, its data, and the experiment that measures it."""
    measured = {"measured_by": measured_by} if measured_by else {}
    return {**to_json(config), "dataset_fingerprint": dataset.fingerprint, **measured}


@dataclass(frozen=True)
class Position:
    """What a checkpoint keeps beside its arrays: where the trial stood, for which settings, and on which machine."""

    settings: str  # their digest
    epochs: tuple[Epoch, ...]  # the finished ones
    bad_step: int | None
    seconds: float  # of the steps of the epoch in progress
    machine: Machine  # of the start that saved
    same_machine: bool  # whether every start before ran there

    def to_json(self) -> dict[str, Any]:
        """The plain values that a file keeps."""
        epochs = [epoch.to_json() for epoch in self.epochs]
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**named, "epochs": epochs, "machine": self.machine.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Position":
        """The position whose plain values these are."""
        epochs = tuple(Epoch(**epoch) for epoch in values["epochs"])
        return cls(**{**values, "epochs": epochs, "machine": Machine.from_json(values["machine"])})


class Record:
    """What one trial has so far: epochs, first bad step and, at its end, the outcome. Keeps its folder up to date."""

    def __init__(
        self,
        config: TrialConfig,
        dataset: Dataset,
        folder: TrialFolder | None,
        measured_by: str = "",
        tensorboard: bool = False,
    ) -> None:
        self.config = config
        self.folder = folder
        self.settings = settings(config, dataset, measured_by)
        self.epochs: list[Epoch] = []
        self.bad_step: int | None = None
        self.same_machine = True
        self._saved = (0, 0)  # steps and epochs of the last checkpoint
        self._tensorboard = tensorboard
        self.events: Events | None = None  # for TensorBoard, from the start on
        self.outcome: Outcome | None = None if folder is None else folder.outcome(self.settings)

    def begin(self, here: Machine) -> None:
        """Start at the first step; metrics of an earlier start are dropped."""
        if self.folder is not None:
            self.folder.begin(self.settings, machine.provenance(here))
            self._open_events(self.folder)

    def show(self, filters: Picture | None) -> None:
        """The first layer's filters before the first step, where TensorBoard is to show them."""
        if self.events is not None:
            self.events.begin(filters)

    def _open_events(self, folder: TrialFolder) -> None:
        if self._tensorboard:
            self.events = Events(folder.path, self.config, self.epochs)

    def close(self) -> None:
        """Close the file of the events, if there is one."""
        if self.events is not None:
            self.events.close()

    def load(self, folder: TrialFolder, steps: int, like: dict[str, Any]) -> tuple[dict[str, Any], Position]:
        """The arrays of a checkpoint, in the shapes and types of `like`, and where the trial stood.

        Raises:
            RequestError: the checkpoint is one of other settings, or its arrays have other shapes or types.
            DamagedError: the checkpoint is damaged.
            OSError: the system refuses to read the checkpoint.
        """
        checkpoints = folder.checkpoints()
        state, values = checkpoints.load(steps, like)
        position = Position.from_json(values)
        if position.settings != files.digest(self.settings):
            place = checkpoints.path
            raise RequestError(f"{place / str(steps)} is of another run: choose another workdir, or remove {place}")
        return state, position

    def resume(self, folder: TrialFolder, steps: int, position: Position, here: Machine, progress: Progress) -> None:
        """Continue from a checkpoint; metrics of later epochs are dropped."""
        self.epochs = list(position.epochs)
        self.bad_step = position.bad_step
        self._saved = (steps, len(self.epochs))
        files.remove_temporary(folder.path)
        folder.keep_settings(self.settings, machine.provenance(here))
        folder.write_metrics(self.epochs)
        self._open_events(folder)
        changed = here.differences(position.machine)
        self.same_machine = position.same_machine and not changed
        if changed:
            progress.line(machine.elsewhere(folder.path, changed))

    def add(self, epoch: Epoch, bad_step: int | None, filters: Picture | None = None) -> None:
        """One more epoch, and the filters at its end; after the epoch in which a trial diverged, no more are kept."""
        if self.bad_step is None:
            self.bad_step = bad_step
            self.epochs.append(epoch)
            if self.folder is not None:
                self.folder.write_metrics(self.epochs)
            if self.events is not None:
                self.events.add(epoch, filters)

    def save(self, steps: int, snapshot: Snapshot, here: Machine) -> None:
        """Write a checkpoint, unless it is the last one; it replaces one of the same step, before its evaluation."""
        if self.folder is None or self._saved == (steps, len(self.epochs)):
            return
        self._saved = (steps, len(self.epochs))
        position = Position(
            settings=files.digest(self.settings),
            epochs=tuple(self.epochs),
            bad_step=self.bad_step,
            seconds=snapshot.seconds,
            machine=here,
            same_machine=self.same_machine,
        )
        state = flax.serialization.to_state_dict(kept(snapshot))
        self.folder.checkpoints().save(steps, state, position.to_json())

    def finish(self, outcome: Outcome, keep: bool, network: Trained | None, stays: bool) -> None:
        """Write the outcome, and the network if it stays; then delete the checkpoints, unless `keep` is set."""
        self.outcome = outcome
        if self.events is not None:  # before the result: a trial that has one is not started again
            self.events.finish(outcome.result)
        if self.folder is not None:
            self.folder.finish(outcome, self.settings, network if stays else None)
            if not keep:
                self.folder.checkpoints().remove()

    def tidy(self, here: Machine, keep: bool) -> None:
        """Bring the folder of a finished trial into order: its settings are there, leftovers are not."""
        if self.folder is not None:
            self.folder.keep_settings(self.settings, machine.provenance(here))
            self.folder.remove_leftovers(keep)


def kept(snapshot: Snapshot) -> dict[str, Any]:
    """The arrays of a checkpoint: the state, and the sums of the epoch in progress."""
    return {"state": snapshot.state, "totals": snapshot.totals}
