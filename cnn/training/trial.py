"""Runs a trial: from its settings to its outcome, with data, network, fit and folder. Scripts and notebooks call it.

Example:
    >>> from cnn.config import NetworkConfig, TrainingConfig
    >>> from cnn.data import datasets
    >>> config = TrialConfig("digits", network=NetworkConfig(blocks=1, width=8), training=TrainingConfig(epochs=1))
    >>> result = run(config, datasets.load("digits")).result
    >>> result.status, result.test_examples
    ('done', 360)
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from cnn import files
from cnn.config import TrialConfig
from cnn.data import stream
from cnn.data.content import Dataset
from cnn.progress import Progress
from cnn.trained.network import Trained, class_probabilities
from cnn.training import profile, shown, tensorboard
from cnn.training.answers import Predictions
from cnn.training.checkpoints import DamagedError
from cnn.training.fit import Fit, Session, Snapshot
from cnn.training.folder import NOTHING, Outcome, TrialFolder
from cnn.training.interrupt import Interrupt
from cnn.training.loops.loop import Stopped
from cnn.training.prepared import Prepared, prepare_trials
from cnn.training.record import Position, Record, kept
from cnn.training.result import result
from cnn.training.step import Answers

CHECKPOINT_SECONDS = 30.0  # between two checkpoints, unless the caller says otherwise


class Measured(NamedTuple):
    """What an experiment measured on one trained network: numbers for its result, arrays for a file beside it."""

    values: Mapping[str, float | None]
    arrays: Mapping[str, np.ndarray] = NOTHING


# A function of a trained network, its answers to the test set, and a progress display. It is called for each replica
# that did not diverge.
Measure = Callable[[Trained, Answers, Progress], Measured]


@dataclass(frozen=True)
class Options:
    """How a trial is run. No option changes what the trial learns.

    Args:
        test: read the test set, once, at the end.
        keep: leave a checkpoint of the finished state; otherwise a finished trial has none.
        measure: what else to measure once the test set has been read.
        measured_by: the experiment that measures; a result of one goes with no other.
        with_network: give the trained network in the outcome, where the trial runs now.
        keep_networks: seeds whose trained network stays in the trial's folder.
        checkpoint_seconds: time between two checkpoints; a shorter trial writes none before its end.
        tensorboard: write into the trial's folder what TensorBoard shows, from this start on.
        stream: leave the images on the host, which gives each step its batch; see `Session`.
        profile: a folder for a trace of the network's training steps, if this process has not traced them yet and the
            trial still trains.
        watch: told now and then how many steps each trial has begun, from any thread, one call at a time; first when
            the training begins. Whoever watches shows how far it is: no bar is shown for the epochs.

    Raises:
        RequestError: `tensorboard` or `stream` is set, and what it needs is not installed; or `profile` cannot be
            written.
    """

    test: bool = True
    keep: bool = False
    measure: Measure | None = None
    measured_by: str = ""
    with_network: bool = False
    keep_networks: tuple[int, ...] = ()
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    tensorboard: bool = False
    stream: bool = False
    profile: Path | None = None
    watch: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        if self.tensorboard:
            tensorboard.require_installed()
        if self.stream:
            stream.require_installed()
        if self.profile is not None:
            profile.require_writable(self.profile)


def run(
    config: TrialConfig,
    dataset: Dataset,
    folder: Path | None = None,
    options: Options = Options(),
    progress: Progress = Progress(),
) -> Outcome:
    """Run one trial from its last checkpoint on; a finished trial is not run again.

    Args:
        config: the settings of the trial.
        dataset: the data set that the settings name.
        folder: where the trial writes its files, locked while it runs; without a folder nothing is written.
        options: how the trial is run.
        progress: shows the epochs.

    Raises:
        RequestError: the settings do not suit the data, or the folder holds another trial or is in use.
    """
    own = None if folder is None else TrialFolder(folder)
    if own is not None:  # before the folder is locked, so that nothing is written into the folder of another run
        outcome = Record(config, dataset, own, options.measured_by).outcome
        if outcome and own.has_settings() and not own.leftovers(options.keep):
            return outcome
    prepared = prepare_trials(config, dataset)  # first: settings that do not suit the data leave no file
    with Session(dataset, stream=options.stream) as session:
        session.advise(config.training.precision, progress)
        if own is None:
            return run_together(session, prepared, [config], None, options, progress)[0]
        with files.one_writer(own.path):
            return run_together(session, prepared, [config], [own], options, progress)[0]


def run_together(
    session: Session,
    prepared: Prepared,
    configs: Sequence[TrialConfig],
    folders: Sequence[TrialFolder] | None = None,
    options: Options = Options(),
    progress: Progress = Progress(),
) -> list[Outcome]:
    """Run trials that share a program from their last common checkpoint on; a finished trial is not run again.

    Args:
        session: what the trials of this process share.
        prepared: what these trials have in common.
        configs: trials that differ in seed and learning rate alone.
        folders: where each trial writes its files; without folders nothing is written.
        options: how the trials are run.
        progress: shows the epochs.

    Returns:
        The outcome of each trial. `train_seconds` is the time of the training steps, without evaluation and
        compilation; trials that ran together share the time.

    Raises:
        RequestError: a folder holds another trial.
    """
    own: Sequence[TrialFolder | None] = folders or [None] * len(configs)
    measured_by = options.measured_by if options.test else ""
    pairs = zip(configs, own, strict=True)
    records = [Record(config, session.dataset, folder, measured_by, options.tensorboard) for config, folder in pairs]
    for record in records:
        if record.outcome:
            record.tidy(session.machine, options.keep)
    missing = [record for record in records if record.outcome is None]
    if missing:
        fit = Fit(session, prepared, [record.config for record in missing], options.test)
        with contextlib.ExitStack() as stack:
            for record in missing:
                stack.enter_context(contextlib.closing(record))
            session.say_sharing(fit.loop, len(missing), progress)
            _restore(fit, missing, progress)
            if fit.steps == 0:
                for record, filters in zip(missing, _filters(fit, missing), strict=True):
                    record.show(filters)
            if options.profile is not None and fit.steps < fit.total and not _diverged(missing):
                profile.trace_once(fit, options.profile, progress)
            with Interrupt() as interrupt:
                _train(fit, missing, options, interrupt, progress)
                _finish(fit, missing, options, interrupt, progress)
    return [record.outcome for record in records if record.outcome is not None]


def _restore(fit: Fit, records: Sequence[Record], progress: Progress) -> None:
    """Continue from the newest step of which every trial has a sound checkpoint, or begin; delete later checkpoints."""
    folders = [record.folder for record in records if record.folder is not None]  # every trial has one, or none has
    first = [kept(snapshot) for snapshot in fit.snapshot()]
    states = [flax.serialization.to_state_dict(state) for state in first]
    steps, saved = _newest(records, folders, states, progress)
    for folder in folders:
        folder.checkpoints().remove(after=steps)  # `save` would not replace them
    if not saved:
        for record in records:
            record.begin(fit.session.machine)
        return
    owned = jax.device_put([state for state, _ in saved], may_alias=False)  # a step donates its arguments
    restored = [flax.serialization.from_state_dict(*pair) for pair in zip(first, owned, strict=True)]
    positions = [position for _, position in saved]
    pairs = zip(restored, positions, strict=True)
    fit.restore(steps, [Snapshot(state["state"], state["totals"], position.seconds) for state, position in pairs])
    for record, folder, position in zip(records, folders, positions, strict=True):
        record.resume(folder, steps, position, fit.session.machine, progress)


def _newest(
    records: Sequence[Record], folders: Sequence[TrialFolder], like: Sequence[dict[str, Any]], progress: Progress
) -> tuple[int, list[tuple[dict[str, Any], Position]]]:
    """The newest step of which every folder has a sound checkpoint, and these checkpoints; 0 and none without one.

    Args:
        records: of trials that run together.
        folders: of these trials; none where nothing is kept.
        like: the arrays of a checkpoint of each, for their shapes and types.
        progress: told of each damaged checkpoint.
    """
    saved = [set(folder.checkpoints().steps()) for folder in folders]
    candidates = sorted(set.intersection(*saved)) if saved else []
    while candidates:
        steps = candidates.pop()
        try:
            own = zip(records, folders, like, strict=True)
            return steps, [record.load(folder, steps, state) for record, folder, state in own]
        except DamagedError as error:
            progress.line(f"{error}: {f'going back to step {candidates[-1]}' if candidates else 'beginning anew'}")
    return 0, []


def _train(fit: Fit, records: Sequence[Record], options: Options, interrupt: Interrupt, progress: Progress) -> None:
    """Train to the end, or until all have diverged, or until a stop is asked for."""
    saved = monotonic()
    with shown.training(fit, options.watch, progress) as told:

        def due() -> bool:
            now = monotonic()
            told.step(now)
            return interrupt.is_asked() or now - saved >= options.checkpoint_seconds

        for ended in [] if _diverged(records) else fit.epochs(due, interrupt.is_asked):
            shown_filters = _filters(fit, records) if ended else []
            for record, (epoch, bad_step), filters in zip(records, ended, shown_filters, strict=bool(ended)):
                record.add(epoch, bad_step, filters)
            over = fit.steps == fit.total or _diverged(records)
            if due() or (over and options.keep):
                _save(fit, records)
                saved = monotonic()
            if ended:
                told.epoch(ended[0][0])
            if over or interrupt.is_asked():
                break


def _filters(fit: Fit, records: Sequence[Record]) -> Sequence[tensorboard.Picture | None]:
    """Pictures of the first layer's filters as they are now, where TensorBoard is to show them."""
    epoch = fit.steps // fit.prepared.steps_per_epoch
    shows = tensorboard.pictured(epoch, fit.prepared.config.training.epochs)
    if not shows or all(record.events is None for record in records):
        return [None] * len(records)
    return [tensorboard.filters(trained) for trained in fit.trained()]


def _diverged(records: Sequence[Record]) -> bool:
    return all(record.bad_step is not None for record in records)


def _save(fit: Fit, records: Sequence[Record]) -> None:
    for record, snapshot in zip(records, fit.snapshot(), strict=True):
        record.save(fit.steps, snapshot, fit.session.machine)


def _finish(fit: Fit, records: Sequence[Record], options: Options, interrupt: Interrupt, progress: Progress) -> None:
    """Read the test set, once, measure, and write the results; after a stop only save, so that no step is lost."""
    answers: Sequence[Answers | None] = [None] * len(records)
    held_out: Sequence[Answers | None] = [None] * len(records)
    measured: Sequence[Measured | None] = [None] * len(records)
    if options.test and not _diverged(records):
        with contextlib.suppress(Stopped):
            pairs = zip(records, fit.answers(interrupt.is_asked), strict=True)
            answers = [own if record.bad_step is None else None for record, own in pairs]
            held_out = fit.validation_answers(interrupt.is_asked)
    if interrupt.is_asked():
        _save(fit, records)
        return
    if options.measure is not None and options.test:
        _save(fit, records)
        with interrupt.allowed():  # a measurement has no safe points, and loses nothing that was trained
            measured = _measured(fit, answers, options.measure, progress)
    stay = any(record.config.seed in options.keep_networks for record in records)
    wanted = options.with_network or stay
    networks: Sequence[Trained | None] = fit.trained() if wanted else [None] * len(records)
    for record, own, checked, more, trained in zip(records, answers, held_out, measured, networks, strict=True):
        right = None if own is None else np.asarray(own.right)
        outcome = Outcome(
            result=result(record, fit, right, more.values if more else NOTHING),
            correct=right,
            val_correct=None if own is None or checked is None else np.asarray(checked.right),
            predictions=_predictions(record.config, own),
            arrays=more.arrays if more else NOTHING,
        )
        network = trained and replace(trained, test_accuracy=outcome.result.test_accuracy)
        stays = record.bad_step is None and record.config.seed in options.keep_networks
        record.finish(outcome, options.keep, network, stays)
        if options.with_network:
            record.outcome = replace(outcome, trained=network)


def _predictions(config: TrialConfig, answers: Answers | None) -> Predictions | None:
    if answers is None or config.scene.objects:
        return None
    probabilities = class_probabilities(np.asarray(answers.outputs), config.network.model)
    classes = probabilities.argmax(axis=1).astype(np.int32)
    return Predictions(classes, probabilities[np.arange(len(classes)), classes])


def _measured(
    fit: Fit, answers: Sequence[Answers | None], measure: Measure, progress: Progress
) -> list[Measured | None]:
    """What `measure` tells of each network that answered."""
    pairs = zip(fit.trained(), answers, strict=True)
    return [None if own is None else measure(trained, own, progress) for trained, own in pairs]
