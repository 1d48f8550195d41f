"""A trial from its settings to its result: data, network, fit and folder joined. Scripts and notebooks call this.

Example:
    >>> from cnn.config import NetworkConfig, TrainingConfig
    >>> from cnn.data import datasets
    >>> config = TrialConfig("digits", network=NetworkConfig(blocks=1, width=8), training=TrainingConfig(epochs=1))
    >>> result = run(config, datasets.load("digits"))
    >>> result["status"], result["test_examples"]
    ('done', 360)
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from cnn.config import TrialConfig, to_json
from cnn.data.datasets import Dataset
from cnn.network import summary
from cnn.progress import Progress
from cnn.training.replicas import Epoch, Fit
from cnn.training.runs import TrialFolder
from cnn.training.step import Answers, TrainState


class Measured(NamedTuple):
    """What an experiment measured on one trained network: numbers for its result, arrays for a file beside it."""

    values: dict[str, float]
    arrays: dict[str, np.ndarray]


# Given each replica's answers to the test set, or None for one that diverged, which has nothing to measure.
Measure = Callable[[Fit, list[Answers | None]], list[Measured | None]]
CHECKPOINT_SECONDS = 30.0  # between two checkpoints; a shorter trial is sooner done again than saved


def run(
    config: TrialConfig,
    dataset: Dataset,
    folder: Path | None = None,
    *,
    test: bool = True,
    keep: bool = False,
    measure: Measure | None = None,
    progress: Progress = Progress(),
) -> dict[str, Any]:
    """One trial; see `run_together`."""
    folders = None if folder is None else [TrialFolder(folder)]
    return run_together([config], dataset, folders, test=test, keep=keep, measure=measure, progress=progress)[0]


def run_together(
    configs: list[TrialConfig],
    dataset: Dataset,
    folders: list[TrialFolder] | None = None,
    *,
    test: bool = True,
    keep: bool = False,
    measure: Measure | None = None,
    progress: Progress = Progress(),
) -> list[dict[str, Any]]:
    """Run trials that share a program; each continues from its last checkpoint, and a finished one is only read.

    Args:
        configs: trials that differ in seed and learning rate alone.
        dataset: what they learn from.
        folders: where each leaves its files; without folders nothing is written.
        test: read the test set, once, at the end.
        keep: leave a checkpoint of the finished state.
        measure: what else to measure once the test set has been read; its values join the results.
        progress: shows the epochs.

    Returns:
        A result for each: `status` (`done`, or `diverged` with the step), accuracies as fractions of the validation and
        the test images (None where unknown), parameters, multiply-accumulates, and the seconds of its training steps
        (compilation on a CPU and evaluation apart; trials that ran together share the time).

    Raises:
        RequestError: settings that do not suit the data, or a folder that holds another trial.
    """
    records = [_Record(config, dataset, folder) for config, folder in zip(configs, folders or [None] * len(configs))]
    missing = [record for record in records if record.result is None]
    if missing:
        _train(missing, dataset, test, keep, measure, progress)
    return [record.result for record in records]


class _Record:
    """What one trial has so far: its epochs, its first bad step, and its folder, kept up to date."""

    def __init__(self, config: TrialConfig, dataset: Dataset, folder: TrialFolder | None) -> None:
        self.config, self.folder = config, folder
        self.settings = {**to_json(config), "dataset_fingerprint": dataset.fingerprint}
        self.epochs: list[dict[str, Any]] = []
        self.bad_step: int | None = None
        self.result = folder.result() if folder is not None and folder.check(self.settings) else None

    def add(self, epoch: Epoch) -> None:
        if self.bad_step is None:
            self.bad_step = epoch.bad_step
            self.epochs.append(epoch.metrics)
            if self.folder is not None:
                self.folder.write_metrics(self.epochs)

    def finish(self, fit: Fit, answers: Answers | None, measured: Measured | None, keep: bool) -> None:
        self.result = _result(self, fit, answers) | (measured.values if measured else {})
        if self.folder is not None:
            if measured is not None and measured.arrays:
                self.folder.write_arrays(measured.arrays)
            self.folder.finish(self.result, answers.right if answers else None)
            if not keep:
                self.folder.checkpoints().remove()


def _train(
    records: list[_Record], dataset: Dataset, test: bool, keep: bool, measure: Measure | None, progress: Progress
) -> None:
    """Run trials together from their newest common checkpoint to their results."""
    config, folders = records[0].config, [record.folder for record in records if record.folder is not None]
    fit = Fit([record.config for record in records], dataset)
    for record in records:
        if record.folder is not None:
            record.folder.begin(record.settings)  # not before the fit has accepted the settings
    done = _restore(fit, records)
    saved = time.monotonic()
    label = f"{config.network.model}, {len(records)} replicas" if len(records) > 1 else config.network.model
    with progress.task(label, config.training.epochs, done) as task:
        for epochs in fit.epochs():
            done += 1
            for record, epoch in zip(records, epochs):
                record.add(epoch)
            due = keep if done == config.training.epochs else time.monotonic() - saved >= CHECKPOINT_SECONDS
            if folders and due:
                _save(fit, records, done)
                saved = time.monotonic()
            task.advance(note=_note(epochs))
            if all(record.bad_step is not None for record in records):
                break
    read = test and any(record.bad_step is None for record in records)
    answers = fit.answers() if read else [None] * len(records)
    answers = [own if record.bad_step is None else None for record, own in zip(records, answers)]
    measured = measure(fit, answers) if measure and read else [None] * len(records)
    for record, *found in zip(records, answers, measured):
        record.finish(fit, *found, keep)


def _restore(fit: Fit, records: list[_Record]) -> int:
    """Load the newest epoch that every trial has a checkpoint of, and drop later ones; returns how many are done."""
    kept = [set(record.folder.checkpoints().epochs()) if record.folder else set() for record in records]
    done, states = max(set.intersection(*kept), default=0), []
    for record in records:
        if record.folder is not None:
            record.folder.checkpoints().remove(after=done)  # the steps to come would not replace them
    if done == 0:
        return 0
    for record, state in zip(records, fit.strategy.unstack(fit.states)):
        values = record.folder.checkpoints().load(done, _checkpoint(state, None))
        states.append(flax.serialization.from_state_dict(state, values["state"]))
        record.bad_step = int(values["bad_step"]) if values["bad_step"] >= 0 else None
        record.epochs = record.folder.metrics()[:done]
    fit.states, fit.steps = fit.strategy.stack(states), done * fit.program.steps_per_epoch
    return done


def _save(fit: Fit, records: list[_Record], done: int) -> None:
    for record, state in zip(records, fit.strategy.unstack(fit.states)):
        if record.folder is not None:
            record.folder.checkpoints().save(done, _checkpoint(state, record.bad_step))


def _checkpoint(state: TrainState, bad_step: int | None) -> dict[str, Any]:
    return {
        "state": flax.serialization.to_state_dict(state),
        "bad_step": np.array(-1 if bad_step is None else bad_step, np.int32),
    }


def _note(epochs: list[Epoch]) -> str:
    metrics = epochs[0].metrics
    part = "train" if metrics["val_accuracy"] is None else "val"
    return f"{part} accuracy {metrics[f'{part}_accuracy']:.4f}"


def _result(record: _Record, fit: Fit, answers: Answers | None) -> dict[str, Any]:
    done, cost = record.bad_step is None, summary.cost(fit.program.network, fit.program.task.image_shape)
    return {
        "status": "done" if done else "diverged",
        "bad_step": record.bad_step,
        "val_accuracy": record.epochs[-1]["val_accuracy"] if done else None,
        "test_accuracy": float(answers.right.mean()) if answers else None,
        "test_examples": len(answers.right) if answers else None,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "epochs": len(record.epochs),
        "train_seconds": sum(epoch["seconds"] for epoch in record.epochs),
        "dataset_fingerprint": fit.dataset.fingerprint,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
