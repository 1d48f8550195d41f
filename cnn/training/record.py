"""What one trial has so far, and its folder, which is kept up to date.

Example:
    >>> from cnn.data import datasets
    >>> record = Record(TrialConfig("digits"), datasets.load("digits"), folder=None)
    >>> record.epochs, record.bad_step, record.outcome
    ([], None, None)
"""

from typing import Any

import flax.serialization

from cnn import files, machine
from cnn.config import TrialConfig, to_json
from cnn.data.content import Dataset
from cnn.machine import Machine
from cnn.progress import Progress
from cnn.training.fit import Snapshot
from cnn.training.folder import Outcome, TrialFolder
from cnn.training.metrics import Epoch


def settings(config: TrialConfig, dataset: Dataset) -> dict[str, Any]:
    """The plain values that a trial's folder keeps of its settings and its data."""
    return {**to_json(config), "dataset_fingerprint": dataset.fingerprint}


class Record:
    """What one trial has so far: epochs, first bad step and, at its end, the outcome. Keeps its folder up to date."""

    def __init__(self, config: TrialConfig, dataset: Dataset, folder: TrialFolder | None) -> None:
        self.config = config
        self.folder = folder
        self.settings = settings(config, dataset)
        self.epochs: list[Epoch] = []
        self.bad_step: int | None = None
        self.same_machine = True
        found = folder is not None and folder.check(self.settings)
        self.outcome: Outcome | None = folder.outcome() if folder is not None and found else None

    def begin(self, here: Machine) -> None:
        """Start at the first step; metrics of an earlier start are dropped."""
        if self.folder is not None:
            self.folder.begin(self.settings, machine.provenance(here))

    def resume(self, folder: TrialFolder, values: dict[str, Any], here: dict[str, Any], progress: Progress) -> None:
        """Continue from a checkpoint; metrics of later epochs are dropped."""
        self.epochs = [Epoch(**epoch) for epoch in values["epochs"]]
        self.bad_step = values["bad_step"]
        files.remove_temporary(folder.path)
        folder.write_metrics(self.epochs)
        changed = files.differences(values["machine"], here)
        self.same_machine = values["same_machine"] and not changed
        if changed:
            progress.line(f"{folder.path}: continued on another machine, so the bits may differ ({'; '.join(changed)})")

    def add(self, epoch: Epoch, bad_step: int | None) -> None:
        """One more epoch; after the epoch in which a trial diverged, no more are kept."""
        if self.bad_step is None:
            self.bad_step = bad_step
            self.epochs.append(epoch)
            if self.folder is not None:
                self.folder.write_metrics(self.epochs)

    def save(self, steps: int, snapshot: Snapshot, here: dict[str, Any]) -> None:
        """Write a checkpoint, unless there is one of this step already."""
        if self.folder is None or steps in self.folder.checkpoints().steps():
            return
        values = {
            "epochs": [epoch.to_json() for epoch in self.epochs],
            "bad_step": self.bad_step,
            "seconds": snapshot.seconds,
            "machine": here,
            "same_machine": self.same_machine,
        }
        self.folder.checkpoints().save(steps, flax.serialization.to_state_dict(kept(snapshot)), values)

    def finish(self, outcome: Outcome, keep: bool) -> None:
        """Write the outcome; then delete the checkpoints, unless `keep` is set."""
        self.outcome = outcome
        if self.folder is not None:
            self.folder.finish(outcome)
            if not keep:
                self.folder.checkpoints().remove()


def kept(snapshot: Snapshot) -> dict[str, Any]:
    """The arrays of a checkpoint: the state, and the sums of the epoch in progress."""
    return {"state": snapshot.state, "totals": snapshot.totals}
