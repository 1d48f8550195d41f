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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from cnn.config import TrialConfig, to_json
from cnn.data.datasets import Dataset, split
from cnn.network import summary
from cnn.progress import Progress
from cnn.training.checkpoints import DamagedError
from cnn.training.interrupt import Interrupt
from cnn.training.lock import writer
from cnn.training.provenance import digest, machine, provenance
from cnn.training.replicas import Epoch, Fit, program
from cnn.training.runs import PROVENANCE, TrialFolder, differences, remove_temporary
from cnn.training.step import Answers, Totals, TrainState


class Measured(NamedTuple):
    """What an experiment measured on one trained network: numbers for its result, arrays for a file beside it."""

    values: Mapping[str, float | None]
    arrays: dict[str, np.ndarray]


# Given each replica's answers to the test set, or None for one that diverged, which has nothing to measure; and where
# to show how long it takes.
Measure = Callable[[Fit, list[Answers | None], Progress], list[Measured | None]]


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
    """One trial; see `run_together`. A folder that another process writes into is refused as well."""
    options: dict[str, Any] = {"test": test, "keep": keep, "measure": measure, "progress": progress}
    if folder is None:
        return run_together([config], dataset, **options)[0]
    own = TrialFolder(folder)
    result = _Record(config, dataset, own).result
    if result and (keep or not own.leftovers()):
        return result
    program(config, dataset, len(split(dataset.train_labels, config.validation_fraction, config.seed)[0]))
    with writer(folder):  # not before the settings are known to suit the data, so that nothing is written
        return run_together([config], dataset, [own], **options)[0]


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
        keep: leave a checkpoint of the finished state; otherwise none stays, in the folder of a finished trial either.
        measure: what else to measure once the test set has been read; its values join the results.
        progress: shows the epochs.

    Returns:
        A result for each: `status` (`done`, or `diverged` with the step), accuracies as fractions of the validation and
        the test images (None where unknown), parameters, multiply-accumulates, and the seconds of its training steps
        (compilation on a CPU and evaluation apart; trials that ran together share the time).

    Raises:
        RequestError: settings that do not suit the data, or a folder that holds another trial.
    """
    own: Sequence[TrialFolder | None] = folders or [None] * len(configs)
    records = [_Record(config, dataset, folder) for config, folder in zip(configs, own)]
    missing = [record for record in records if not record.result]
    for record in records:
        if record.result and record.folder is not None and not keep:
            record.folder.remove_leftovers()
    if missing:
        fit = Fit([record.config for record in missing], dataset)
        _restore(fit, missing, progress)
        _train(fit, missing, keep, progress)
        _finish(fit, missing, test, keep, measure, progress)
    return [record.result for record in records]


class _Record:
    """What one trial has so far: epochs, first bad step, at its end the result; and its folder, kept up to date."""

    def __init__(self, config: TrialConfig, dataset: Dataset, folder: TrialFolder | None) -> None:
        self.config, self.folder = config, folder
        self.settings = {**to_json(config), "dataset_fingerprint": dataset.fingerprint}
        self.epochs: list[dict[str, Any]] = []
        self.bad_step: int | None = None
        self.same_machine = True
        kept = folder.result() if folder is not None and folder.check(self.settings) else None
        self.result: dict[str, Any] = kept or {}

    def begin(self) -> None:
        """From the first step on; whatever an earlier start has left ends here."""
        if self.folder is not None:
            self.folder.begin({**self.settings, PROVENANCE: provenance()})
            self.folder.write_metrics([])

    def resume(self, folder: TrialFolder, values: dict[str, Any], progress: Progress) -> None:
        """From a checkpoint on; the lines of metrics past it are dropped."""
        self.epochs, self.bad_step = values["epochs"], values["bad_step"]
        remove_temporary(folder.path)
        folder.write_metrics(self.epochs)
        changed = differences(values["machine"], machine())
        self.same_machine = values["same_machine"] and not changed
        if changed:
            progress.line(f"{folder.path}: continued on another machine, to other bits ({'; '.join(changed)})")

    def add(self, epoch: Epoch) -> None:
        if self.bad_step is None:
            self.bad_step = epoch.bad_step
            self.epochs.append(epoch.metrics)
            if self.folder is not None:
                self.folder.write_metrics(self.epochs)

    def save(self, steps: int, state: dict[str, Any], seconds: float) -> None:
        made_on = {"machine": machine(), "same_machine": self.same_machine}
        values = {"epochs": self.epochs, "bad_step": self.bad_step, "seconds": seconds, **made_on}
        if self.folder is not None and steps not in self.folder.checkpoints().steps():
            self.folder.checkpoints().save(steps, state, values)

    def finish(self, fit: Fit, answers: Answers | None, measured: Measured | None, keep: bool) -> None:
        self.result = {**_result(self, fit, answers), **(measured.values if measured else {})}
        if self.folder is not None:
            if measured is not None and measured.arrays:
                self.folder.write_arrays(measured.arrays)
            self.folder.finish(self.result, np.asarray(answers.right) if answers else None)
            if not keep:
                self.folder.checkpoints().remove()


def _restore(fit: Fit, records: list[_Record], progress: Progress) -> None:
    """Continue from the newest state that every trial has a sound checkpoint of, or begin; later ones are dropped."""
    folders = [record.folder for record in records if record.folder is not None]  # every trial has one, or none has
    kept = [set(folder.checkpoints().steps()) for folder in folders]
    first = [_kept(*pair) for pair in zip(fit.strategy.unstack(fit.states), fit.totals)]
    like = [flax.serialization.to_state_dict(state) for state in first]
    steps, found = 0, []
    candidates = sorted(set.intersection(*kept) if kept else ())
    while candidates:
        candidate = candidates.pop()
        try:
            found = [folder.checkpoints().load(candidate, state) for folder, state in zip(folders, like)]
            steps = candidate
            break
        except DamagedError as error:
            progress.line(f"{error}: {f'going back to step {candidates[-1]}' if candidates else 'beginning anew'}")
    for folder in folders:
        folder.checkpoints().remove(after=steps)  # the steps to come would not replace them
    if not found:
        for record in records:
            record.begin()
        return
    owned = jax.device_put([state for state, _ in found], may_alias=False)  # a step takes away what it is given
    restored = [flax.serialization.from_state_dict(*pair) for pair in zip(first, owned)]
    fit.states = fit.strategy.stack([state["state"] for state in restored])
    fit.totals = [state["totals"] for state in restored]
    fit.steps, fit.seconds = steps, sum(values["seconds"] for _, values in found)
    for record, folder, (_, values) in zip(records, folders, found):
        record.resume(folder, values, progress)


def _train(fit: Fit, records: list[_Record], keep: bool, progress: Progress) -> None:
    """Train to the end, or until all have diverged. Ctrl-C and SIGTERM take effect when a step is done and saved."""
    network, epochs = fit.config.network.model, fit.config.training.epochs
    label = f"{network}, {len(records)} replicas" if len(records) > 1 else network
    per_epoch = fit.program.steps_per_epoch
    saved = time.monotonic()
    with Interrupt() as interrupt, progress.task(label, epochs, fit.steps // per_epoch) as task:

        def due() -> bool:
            return interrupt.asked or time.monotonic() - saved >= progress.checkpoint_seconds

        for found in [] if _diverged(records) else fit.epochs(due):
            for record, epoch in zip(records, found):
                record.add(epoch)
            over = fit.steps == epochs * per_epoch or _diverged(records)
            if due() or (over and keep):
                _save(fit, records)
                saved = time.monotonic()
            if found:
                task.advance(note=_note(found))
            if over or interrupt.asked:
                break


def _diverged(records: list[_Record]) -> bool:
    return all(record.bad_step is not None for record in records)


def _save(fit: Fit, records: list[_Record]) -> None:
    for record, state, totals in zip(records, fit.strategy.unstack(fit.states), fit.totals):
        record.save(fit.steps, flax.serialization.to_state_dict(_kept(state, totals)), fit.seconds / len(records))


def _kept(state: TrainState, totals: Totals) -> dict[str, Any]:
    """The arrays of a checkpoint: the state, and the sums of the epoch in progress."""
    return {"state": state, "totals": totals}


def _finish(
    fit: Fit, records: list[_Record], test: bool, keep: bool, measure: Measure | None, progress: Progress
) -> None:
    """Read the test set, once, measure, and write the results."""
    read = test and not _diverged(records)
    answers: list[Answers | None] = [None] * len(records)
    measured: list[Measured | None] = [None] * len(records)
    try:
        if read:
            answers = [own if record.bad_step is None else None for record, own in zip(records, fit.answers())]
        if measure and read:
            measured = measure(fit, answers, progress)
    except KeyboardInterrupt:
        _save(fit, records)
        raise
    with Interrupt():
        for record, own, found in zip(records, answers, measured):
            record.finish(fit, own, found, keep)


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
        "machine": digest(machine()),
        "same_machine": record.same_machine,
    }
