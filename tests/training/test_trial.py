import dataclasses
import json
import os
import shutil
import signal
import threading

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from cnn import machine
from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.data.batches import Resident
from cnn.errors import RequestError
from cnn.progress import Progress, Work
from cnn.training import trial
from cnn.training.fit import Session
from cnn.training.folder import TrialFolder
from cnn.training.loops.threads import ThreadsLoop
from cnn.training.prepared import prepare_trials
from cnn.training.record import settings
from cnn.training.trial import Options
from tests.faults import harness

pytestmark = pytest.mark.thorough

CONFIG = TrialConfig(
    "digits",
    validation_fraction=0.1,
    learning_rate=3e-3,
    network=NetworkConfig(blocks=1, width=4, hidden=8, dropout=0.2),
    training=TrainingConfig(epochs=4, batch_size=256, shift=1),
)
KEEP = Options(keep=True)
SAVE = Options(checkpoint_seconds=0.0)  # after every step
SAVE_AND_KEEP = Options(checkpoint_seconds=0.0, keep=True)


class StopsAfter(Progress):
    """Raises when an epoch is done."""

    def __init__(self, epochs):
        self.epochs = epochs

    def task(self, label, total, done=0):
        outer = self

        class Stopping(Work):
            def advance(self, amount=1, note=""):
                super().advance(amount, note)
                if self.done == outer.epochs:
                    raise KeyboardInterrupt

        return Stopping(label, total, done)


@pytest.fixture
def signal_when_asked(monkeypatch):
    """Sends this process a signal in the middle of an epoch: when it has been asked so often whether to save."""

    def arm(asked, number=signal.SIGINT):
        left = [asked + 1]  # the first look at the clock is that of the start

        def monotonic():
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), number)
            return 0.0

        monkeypatch.setattr(trial, "monotonic", monotonic)

    return arm


class Said(Progress):
    """Keeps the sentences."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def lines(folder):
    return [dataclasses.replace(epoch, seconds=0.0) for epoch in TrialFolder(folder).metrics()]


def kept(folder):
    """What `config.json` holds."""
    return json.loads((folder.path / "config.json").read_text())


def timeless(outcome):
    return harness.timeless(outcome.result)


def together(session, configs, folders=None, options=Options(), progress=Progress()):
    """Trials that share a program."""
    return trial.run_together(session, prepare_trials(configs[0], session.dataset), configs, folders, options, progress)


def final(folder, steps=20):
    path = TrialFolder(folder).checkpoints().path / str(steps) / "state"
    return jax.tree.leaves(ocp.StandardCheckpointer().restore(path))


def assert_ends_alike(folder, whole):
    """Parameters, optimiser, sums and metrics to the bit."""
    for value, other in zip(final(folder), final(whole), strict=True):
        np.testing.assert_array_equal(value, other)
    assert lines(folder) == lines(whole)


@pytest.fixture(scope="module")
def session(digits):
    with Session(digits) as session:
        yield session


def alone(session, config, folder=None, options=Options(), progress=Progress()):
    """One trial by the session's programs, which are compiled once for all tests."""
    folders = None if folder is None else [TrialFolder(folder)]
    return together(session, [config], folders, options, progress)[0]


@pytest.fixture(scope="module")
def whole(session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "w"
    alone(session, CONFIG, folder, KEEP)
    return folder


def test_an_interrupted_trial_continues_to_the_same_bits(session, digits, tmp_path):
    whole = alone(session, CONFIG, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        alone(session, CONFIG, tmp_path / "cut", SAVE, progress=StopsAfter(2))
    assert TrialFolder(tmp_path / "cut").checkpoints().steps() == [9, 10]
    metrics = tmp_path / "cut" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"epoch": 3}\n')  # a line past the checkpoint is dropped
    resumed = alone(session, CONFIG, tmp_path / "cut")
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert timeless(resumed) == timeless(whole)
    correct = [TrialFolder(tmp_path / name).outcome(settings(CONFIG, digits)).correct for name in ("whole", "cut")]
    np.testing.assert_array_equal(*correct)
    np.testing.assert_array_equal(resumed.correct, correct[0])
    assert not (tmp_path / "cut" / "checkpoints").exists()


def test_a_finished_trial_is_only_read(digits, tmp_path):
    first = trial.run(CONFIG, digits, tmp_path, KEEP)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert trial.run(CONFIG, digits, tmp_path, KEEP).result == first.result
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    assert TrialFolder(tmp_path).checkpoints().steps() == [20]


def test_a_folder_of_another_trial_is_refused(digits, tmp_path):
    trial.run(CONFIG, digits, tmp_path)
    with pytest.raises(RequestError, match=r"learning_rate: 0.003, now 0.01"):
        trial.run(dataclasses.replace(CONFIG, learning_rate=0.01), digits, tmp_path)


def test_a_diverged_trial_is_a_result_without_accuracies(session, tmp_path):
    result = alone(session, dataclasses.replace(CONFIG, learning_rate=1e30), tmp_path)
    assert result.result.status == "diverged" and result.result.bad_step >= 0
    assert (
        result.result.val_accuracy is None
        and result.result.test_accuracy is None
        and result.result.test_examples is None
    )
    assert result.correct is None
    assert result.result.to_json().items() <= json.loads((tmp_path / "result.json").read_text()).items()


def test_one_diverged_replica_leaves_the_other_alone(session):
    configs = [CONFIG, dataclasses.replace(CONFIG, learning_rate=1e30)]
    good, bad = together(session, configs)
    own = alone(session, CONFIG)
    assert bad.result.status == "diverged"
    assert timeless(good) == timeless(own)


def test_without_test_the_test_set_stays_unread(session, monkeypatch):
    monkeypatch.setattr(trial.Fit, "answers", lambda self: pytest.fail("read the test set"))
    result = alone(session, CONFIG, options=Options(test=False))
    assert result.result.test_accuracy is None and 0 < result.result.val_accuracy <= 1


def test_a_finished_trial_in_a_group_is_not_run_again(session, tmp_path):
    other = dataclasses.replace(CONFIG, seed=1)
    first = alone(session, CONFIG, tmp_path / "0")
    before = (tmp_path / "0" / "result.json").stat().st_mtime_ns
    found = together(session, [CONFIG, other], [TrialFolder(tmp_path / name) for name in ("0", "1")])
    assert found[0].result == first.result and (tmp_path / "0" / "result.json").stat().st_mtime_ns == before
    assert timeless(found[1]) == timeless(alone(session, other))


def test_trials_grouped_anew_after_an_interrupt_end_alike(session, tmp_path):
    configs = [CONFIG, dataclasses.replace(CONFIG, seed=1)]
    folders = [TrialFolder(tmp_path / str(config.seed)) for config in configs]
    for config, folder, epochs in zip(configs, folders, (1, 3), strict=True):
        with pytest.raises(KeyboardInterrupt):
            alone(session, config, folder.path, SAVE, progress=StopsAfter(epochs))
    together(session, configs, folders)  # they have no checkpoint of one epoch in common
    for config, folder in zip(configs, folders, strict=True):
        alone(session, config, tmp_path / f"whole{config.seed}")
        assert lines(folder.path) == lines(tmp_path / f"whole{config.seed}")


def test_a_folder_of_other_data_is_refused(digits, tmp_path):
    trial.run(CONFIG, digits, tmp_path)
    with pytest.raises(RequestError, match="dataset_fingerprint"):
        trial.run(CONFIG, dataclasses.replace(digits, fingerprint="0123456789ab"), tmp_path)


def test_settings_that_do_not_suit_the_data_write_nothing(digits, tmp_path):
    with pytest.raises(RequestError, match="batch_size=2000"):
        trial.run(dataclasses.replace(CONFIG, training=TrainingConfig(batch_size=2000)), digits, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("asked", [1, 3, 8, 14])
def test_ctrl_c_in_an_epoch_saves_the_step_and_continues_to_the_same_bits(
    session, whole, tmp_path, asked, signal_when_asked
):
    signal_when_asked(asked)
    with pytest.raises(KeyboardInterrupt):
        alone(session, CONFIG, tmp_path, KEEP)
    (steps,) = TrialFolder(tmp_path).checkpoints().steps()
    assert 0 < steps < 20 and len(lines(tmp_path)) in (steps // 5, (steps - 1) // 5)  # a stop gives an evaluation up
    alone(session, CONFIG, tmp_path, KEEP)
    assert_ends_alike(tmp_path, whole)


def test_replicas_in_threads_stop_after_the_same_step(session, whole, tmp_path, signal_when_asked):
    configs = [CONFIG, dataclasses.replace(CONFIG, seed=1)]
    folders = [TrialFolder(tmp_path / str(config.seed)) for config in configs]
    for asked in (3, 5, 4):
        signal_when_asked(asked)
        with pytest.raises(KeyboardInterrupt):
            together(session, configs, folders, KEEP)
        first, second = (folder.checkpoints().steps() for folder in folders)
        assert first == second
    together(session, configs, folders, KEEP)
    assert_ends_alike(folders[0].path, whole)


def test_no_checkpoint_before_its_time(session, tmp_path):
    alone(session, CONFIG, tmp_path)
    assert not TrialFolder(tmp_path).checkpoints().path.exists()


TEMPORARY = f".metrics.jsonl.{0:032x}"  # what a process that is killed while it writes leaves
FINISHED = {"config.json", "metrics.jsonl", "result.json", "test_answers.npy", "val_correct.npy"}


def test_what_a_kill_left_half_written_goes_when_the_trial_continues(session, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        together(session, [CONFIG], [TrialFolder(tmp_path)], SAVE, StopsAfter(1))
    (tmp_path / TEMPORARY).write_text('{"epo')
    together(session, [CONFIG], [TrialFolder(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == FINISHED


@pytest.mark.parametrize("run", ["alone", "together"])
def test_what_a_kill_after_the_result_left_goes_when_the_trial_is_found(session, digits, whole, tmp_path, run):
    folder = tmp_path / "w"
    shutil.copytree(whole, folder)
    for name in (TEMPORARY, "failure.txt"):
        (folder / name).write_text("Trace")
    result = TrialFolder(folder).result(settings(CONFIG, digits))
    if run == "alone":
        (folder / ".writer.json").write_text("{}")
        trial.run(CONFIG, digits, folder, KEEP)
        assert {path.name for path in folder.iterdir()} - {".lock"} == {*FINISHED, "checkpoints"}
        assert TrialFolder(folder).checkpoints().steps() == [20]
        assert trial.run(CONFIG, digits, folder).result == result
    else:
        assert alone(session, CONFIG, folder).result == result
    assert {path.name for path in folder.iterdir()} - {".lock"} == FINISHED


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_it(session, whole, tmp_path, damaged):
    with pytest.raises(KeyboardInterrupt):
        alone(session, CONFIG, tmp_path, SAVE_AND_KEEP, progress=StopsAfter(2))
    checkpoints = TrialFolder(tmp_path).checkpoints()
    assert checkpoints.steps() == [9, 10]
    for steps in checkpoints.steps()[-damaged:]:
        for path in (checkpoints.path / str(steps)).rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[:20])
    said = Said()
    alone(session, CONFIG, tmp_path, SAVE_AND_KEEP, progress=said)
    assert len(said.lines) == damaged and all("is damaged (" in line and "\n" not in line for line in said.lines)
    ends = [line.rpartition(": ")[2] for line in said.lines]
    assert ends == ["going back to step 9", "beginning anew"][:damaged]
    assert_ends_alike(tmp_path, whole)


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 1e-3}])
def test_a_checkpoint_of_another_run_is_refused_and_left(session, tmp_path, change):
    """Also where `config.json` was removed, so that nothing else says what the checkpoint belongs to."""
    with pytest.raises(KeyboardInterrupt):
        alone(session, CONFIG, tmp_path, SAVE, progress=StopsAfter(1))
    (tmp_path / "config.json").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RequestError, match=r"checkpoints/5 is of another run: choose another workdir"):
        alone(session, dataclasses.replace(CONFIG, **change), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_that_continues_writes_its_configuration_anew(session, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        alone(session, CONFIG, tmp_path, SAVE_AND_KEEP, progress=StopsAfter(1))
    (tmp_path / "config.json").unlink()
    alone(session, CONFIG, tmp_path, KEEP)
    assert kept(TrialFolder(tmp_path))["seed"] == 0
    assert_ends_alike(tmp_path, whole)


def test_what_lies_behind_a_link_is_never_deleted(session, whole, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(whole / "checkpoints", elsewhere)
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "checkpoints").symlink_to(elsewhere)
    before = sorted(path for path in elsewhere.rglob("*"))
    alone(session, CONFIG, folder)
    assert not (folder / "checkpoints").is_symlink() and sorted(elsewhere.rglob("*")) == before


def test_another_machine_is_said_and_marked(session, digits, tmp_path):
    said = Said()
    here = machine.here()
    with pytest.raises(KeyboardInterrupt):
        alone(session, CONFIG, tmp_path, SAVE, StopsAfter(1))
    with Session(digits, dataclasses.replace(here, cpu="Z80")) as elsewhere, pytest.raises(KeyboardInterrupt):
        alone(elsewhere, CONFIG, tmp_path, SAVE, StopsAfter(2))
    result = alone(session, CONFIG, tmp_path, SAVE, said).result  # back where it began, which mends nothing
    assert result.same_machine is False
    assert len(said.lines) == 1 and f"cpu: 'Z80', now {here.cpu!r}" in said.lines[0]


def test_what_begins_anew_elsewhere_is_of_one_machine(session, digits, tmp_path):
    folder = TrialFolder(tmp_path)
    folder.begin(settings(CONFIG, digits), {"machine": {"cpu": "Z80"}})  # killed before its first checkpoint
    assert alone(session, CONFIG, tmp_path).result.same_machine is True
    assert kept(folder)["provenance"]["machine"] == machine.here().to_json()


def test_config_json_says_what_made_it(session, digits, tmp_path):
    alone(session, CONFIG, tmp_path)
    made_by = kept(TrialFolder(tmp_path))["provenance"]
    assert {"machine", "host", "command", "git_revision"} == made_by.keys()
    assert made_by["machine"]["cores"] >= 1 and made_by["machine"]["packages"]["jax"] == jax.__version__
    assert kept(TrialFolder(tmp_path))["dataset_fingerprint"] == digits.fingerprint


@pytest.fixture
def signal_when_evaluating(monkeypatch):
    """Sends this process a signal while an evaluation takes its so-manieth batch, and waits until it is noted."""
    taken = []
    noted = threading.Event()
    take = Resident.take
    note = trial.Interrupt._note

    monkeypatch.setattr(trial.Interrupt, "_note", lambda *given: (note(*given), noted.set()))

    def arm(batch):
        def taking(batches, data, indices):
            taken.append(indices)
            if len(taken) == batch:
                os.kill(os.getpid(), signal.SIGINT)
            if len(taken) >= batch:
                assert noted.wait(10)
            return take(batches, data, indices)

        monkeypatch.setattr(Resident, "take", taking)
        return taken

    return arm


@pytest.mark.parametrize(("batch_size", "batch", "steps", "epochs"), [(4, 3, 5, 0), (128, 11, 20, 4)])
def test_a_stop_gives_an_evaluation_up_and_loses_nothing(
    session, whole, tmp_path, monkeypatch, signal_when_evaluating, batch_size, batch, steps, epochs
):
    """Two batches compile. Then the first of validation images; the first of test images, after two in each epoch."""
    monkeypatch.setattr(ThreadsLoop, "batch_size", batch_size)
    taken = signal_when_evaluating(batch)
    with pytest.raises(KeyboardInterrupt):
        alone(session, CONFIG, tmp_path)
    assert len(taken) <= batch + machine.cores() - 1  # what the cores had begun, and no batch more
    assert TrialFolder(tmp_path).checkpoints().steps() == [steps] and len(lines(tmp_path)) == epochs
    monkeypatch.undo()
    alone(session, CONFIG, tmp_path, KEEP)
    assert_ends_alike(tmp_path, whole)


def test_a_stop_while_something_is_measured_leaves_at_once(session, whole, tmp_path):
    def measure(trained, answers, progress):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the stop waited")

    with pytest.raises(KeyboardInterrupt):
        alone(session, CONFIG, tmp_path, Options(measure=measure))
    assert TrialFolder(tmp_path).checkpoints().steps() == [20]  # so that nothing is trained again
    alone(session, CONFIG, tmp_path, KEEP)
    assert_ends_alike(tmp_path, whole)


def test_a_network_that_learns_nothing_has_collapsed(session):
    """At a rate of 1 all units die, and one class is the answer to every image."""
    dead = alone(session, dataclasses.replace(CONFIG, learning_rate=1.0)).result
    assert dead.status == "done" and dead.val_accuracy < 0.2 and dead.collapsed is True
    learning = {"learning_rate": 1e-2, "training": TrainingConfig(epochs=4, batch_size=32)}
    alive = alone(session, dataclasses.replace(CONFIG, **learning)).result
    assert alive.val_accuracy > 0.3 and alive.collapsed is False


def test_a_diverged_replica_stops_and_changes_no_bit_of_the_other(session, whole, tmp_path):
    configs = [CONFIG, dataclasses.replace(CONFIG, learning_rate=1e20)]
    folders = [TrialFolder(tmp_path / name) for name in ("good", "bad")]
    _, bad = together(session, configs, folders, KEEP)
    assert bad.result.status == "diverged" and bad.result.bad_step < 10 and bad.result.epochs <= 2
    assert_ends_alike(folders[0].path, whole)
    state = ocp.StandardCheckpointer().restore(folders[1].checkpoints().path / "20" / "state")
    assert int(state["state"]["step"]) == 5 * bad.result.epochs < 20


def test_a_diverged_replica_stays_so_when_the_other_continues(session, whole, tmp_path):
    configs = [CONFIG, dataclasses.replace(CONFIG, learning_rate=1e20)]
    folders = [TrialFolder(tmp_path / name) for name in ("good", "bad")]
    with pytest.raises(KeyboardInterrupt):
        together(session, configs, folders, SAVE_AND_KEEP, progress=StopsAfter(3))
    _, bad = together(session, configs, folders, KEEP)
    untouched = together(session, configs)[1]
    assert timeless(bad) == timeless(untouched)
    assert_ends_alike(folders[0].path, whole)
