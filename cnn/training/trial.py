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
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np

from cnn.config import TrialConfig, to_json
from cnn.data.datasets import Dataset
from cnn.network import models, summary
from cnn.progress import Progress
from cnn.training.replicas import Epoch, Fit
from cnn.training.runs import TrialFolder

CHECKPOINT_SECONDS = 30.0  # between two checkpoints; a shorter trial is sooner done again than saved


def run(
    config: TrialConfig,
    dataset: Dataset,
    folder: Path | None = None,
    *,
    test: bool = True,
    keep: bool = False,
    progress: Progress = Progress(),
) -> dict[str, Any]:
    """One trial; see `run_together`."""
    folders = None if folder is None else [TrialFolder(folder)]
    return run_together([config], dataset, folders, test=test, keep=keep, progress=progress)[0]


def run_together(
    configs: list[TrialConfig],
    dataset: Dataset,
    folders: list[TrialFolder] | None = None,
    *,
    test: bool = True,
    keep: bool = False,
    progress: Progress = Progress(),
) -> list[dict[str, Any]]:
    """Run trials that share a program; each continues from its last checkpoint, and a finished one is only read.

    Args:
        configs: trials that differ in seed and learning rate alone.
        dataset: what they learn from.
        folders: where each leaves its files; without folders nothing is written.
        test: read the test set, once, at the end.
        keep: leave a checkpoint of the finished state.
        progress: shows the epochs.

    Returns:
        A result for each: `status` (`done`, or `diverged` with the step), accuracies as fractions of the validation and
        the test images (None where unknown), parameters, multiply-accumulates and seconds of training.

    Raises:
        RequestError: settings that do not suit the data, or a folder that holds another trial.
    """
    records = [_Record(config, folder) for config, folder in zip(configs, folders or [None] * len(configs))]
    if all(record.result is not None for record in records):
        return [record.result for record in records]
    fit = Fit(configs, dataset)
    start = _restore(fit, records)
    saved = time.monotonic()
    label = f"{configs[0].network.model}, {len(configs)} replicas" if len(configs) > 1 else configs[0].network.model
    with progress.task(label, configs[0].training.epochs) as task:
        task.advance(start)
        for epochs in fit.epochs(start):
            for record, epoch in zip(records, epochs):
                record.add(epoch)
            last = len(records[0].epochs) == configs[0].training.epochs
            if any(record.folder for record in records) and (
                keep if last else time.monotonic() - saved >= CHECKPOINT_SECONDS
            ):
                _save(fit, records)
                saved = time.monotonic()
            task.advance(note=_note(epochs))
            if all(record.bad_step is not None for record in records):
                break
    finished = any(record.bad_step is None for record in records)
    tests = fit.test() if test and finished else [(None, None)] * len(records)
    for record, (accuracy, right) in zip(records, tests):
        record.finish(_result(record, fit, accuracy), right, keep)
    return [record.result for record in records]


class _Record:
    """What one trial has so far: its epochs, its first bad step, and its folder, kept up to date."""

    def __init__(self, config: TrialConfig, folder: TrialFolder | None) -> None:
        self.config, self.folder = config, folder
        self.epochs: list[dict[str, Any]] = []
        self.bad_step: int | None = None
        self.result: dict[str, Any] | None = None
        if folder is not None:
            folder.begin(to_json(config))
            self.result = folder.result()

    def add(self, epoch: Epoch) -> None:
        if self.bad_step is None:
            self.bad_step = epoch.bad_step
            self.epochs.append(epoch.metrics)
            if self.folder is not None:
                self.folder.write_metrics(self.epochs)

    def finish(self, result: dict[str, Any], right: np.ndarray | None, keep: bool) -> None:
        self.result = result
        if self.folder is not None:
            self.folder.finish(result, right if result["status"] == "done" else None)
            if not keep:
                self.folder.checkpoints().remove()


def _restore(fit: Fit, records: list[_Record]) -> int:
    """Load the newest epoch that every trial has a checkpoint of; returns how many epochs are done."""
    kept = [set(record.folder.checkpoints().epochs()) if record.folder else set() for record in records]
    common = set.intersection(*kept)
    if not common:
        return 0
    epoch, states = max(common), []
    for record, state in zip(records, fit.strategy.unstack(fit.states)):
        values = record.folder.checkpoints().load(epoch, flax.serialization.to_state_dict(state))
        states.append(flax.serialization.from_state_dict(state, values))
        record.epochs = record.folder.metrics()[:epoch]
    fit.states = fit.strategy.stack(states)
    return epoch


def _save(fit: Fit, records: list[_Record]) -> None:
    for record, state in zip(records, fit.strategy.unstack(fit.states)):
        if record.bad_step is None:
            record.folder.checkpoints().save(len(record.epochs), flax.serialization.to_state_dict(state))


def _note(epochs: list[Epoch]) -> str:
    metrics = epochs[0].metrics
    part = "train" if metrics["val_accuracy"] is None else "val"
    return f"{part} accuracy {metrics[f'{part}_accuracy']:.4f}"


def _result(record: _Record, fit: Fit, test_accuracy: float | None) -> dict[str, Any]:
    config, dataset, done = record.config, fit.dataset, record.bad_step is None
    network = models.build(config.network, dataset.image_shape, dataset.classes)
    cost = summary.cost(network, dataset.image_shape)
    return {
        "status": "done" if done else "diverged",
        "bad_step": record.bad_step,
        "val_accuracy": record.epochs[-1]["val_accuracy"] if done else None,
        "test_accuracy": test_accuracy if done else None,
        "test_examples": len(dataset.test_labels) if done and test_accuracy is not None else None,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "epochs": len(record.epochs),
        "train_seconds": sum(epoch["seconds"] for epoch in record.epochs),
        "dataset_fingerprint": dataset.fingerprint,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
