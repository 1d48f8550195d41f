import dataclasses
import json
import os
import shutil
import signal

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from cnn.config import NetworkConfig, RequestError, TrainingConfig, TrialConfig, to_json
from cnn.data import datasets
from cnn.progress import Progress, Task
from cnn.training import trial
from cnn.training.provenance import machine
from cnn.training.runs import TrialFolder

CONFIG = TrialConfig(
    "digits",
    validation_fraction=0.1,
    learning_rate=3e-3,
    network=NetworkConfig(blocks=1, width=4, hidden=8, dropout=0.2),
    training=TrainingConfig(epochs=4, batch_size=256, shift=1),
)


class Saving(Progress):
    """Wants a checkpoint after every step."""

    checkpoint_seconds = 0.0


class StopsAfter(Saving):
    """Raises when an epoch is done."""

    def __init__(self, epochs):
        self.epochs = epochs

    def task(self, label, total, done=0):
        outer = self

        class Stopping(Task):
            def advance(self, amount=1, note=""):
                super().advance(amount, note)
                if self.done == outer.epochs:
                    raise KeyboardInterrupt

        return Stopping(label, total, done)


class SignalsAt(Progress):
    """Sends this process a signal in the middle of an epoch: when it has been asked so often whether to save."""

    def __init__(self, asked, number=signal.SIGINT):
        self.left, self.number = asked, number

    @property
    def checkpoint_seconds(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return 1e9


class Said(Progress):
    """Keeps the sentences."""

    checkpoint_seconds = 0.0

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def lines(folder):
    epochs = TrialFolder(folder).metrics()
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs]


def final(folder, steps=20):
    path = TrialFolder(folder).checkpoints().path / str(steps) / "state"
    return jax.tree.leaves(ocp.StandardCheckpointer().restore(path))


def assert_ends_alike(folder, whole):
    """Parameters, optimiser, sums and metrics to the bit."""
    for value, other in zip(final(folder), final(whole), strict=True):
        np.testing.assert_array_equal(value, other)
    assert lines(folder) == lines(whole)


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "w"
    trial.run(CONFIG, digits, folder, keep=True)
    return folder


def test_an_interrupted_trial_continues_to_the_same_bits(digits, tmp_path):
    whole = trial.run(CONFIG, digits, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trial.run(CONFIG, digits, tmp_path / "cut", progress=StopsAfter(2))
    assert TrialFolder(tmp_path / "cut").checkpoints().steps() == [9, 10]
    metrics = tmp_path / "cut" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"epoch": 3}\n')  # a line past the checkpoint is dropped
    resumed = trial.run(CONFIG, digits, tmp_path / "cut")
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert resumed | {"train_seconds": 0} == whole | {"train_seconds": 0}
    correct = [TrialFolder(tmp_path / name).correct_images() for name in ("whole", "cut")]
    np.testing.assert_array_equal(*correct)
    assert not (tmp_path / "cut" / "checkpoints").exists()


def test_a_finished_trial_is_only_read(digits, tmp_path):
    first = trial.run(CONFIG, digits, tmp_path, keep=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert trial.run(CONFIG, digits, tmp_path, keep=True) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    assert TrialFolder(tmp_path).checkpoints().steps() == [20]


def test_a_folder_of_another_trial_is_refused(digits, tmp_path):
    trial.run(CONFIG, digits, tmp_path)
    with pytest.raises(RequestError, match=r"learning_rate: 0.003, now 0.01"):
        trial.run(dataclasses.replace(CONFIG, learning_rate=0.01), digits, tmp_path)


def test_a_diverged_trial_is_a_result_without_accuracies(digits, tmp_path):
    result = trial.run(dataclasses.replace(CONFIG, learning_rate=1e30), digits, tmp_path)
    assert result["status"] == "diverged" and result["bad_step"] >= 0
    assert result["val_accuracy"] is None and result["test_accuracy"] is None and result["test_examples"] is None
    assert TrialFolder(tmp_path).correct_images() is None
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_one_diverged_replica_leaves_the_other_alone(digits):
    configs = [CONFIG, dataclasses.replace(CONFIG, learning_rate=1e30)]
    good, bad = trial.run_together(configs, digits)
    alone = trial.run(CONFIG, digits)
    assert bad["status"] == "diverged"
    assert good | {"train_seconds": 0} == alone | {"train_seconds": 0}


def test_without_test_the_test_set_stays_unread(digits, monkeypatch):
    monkeypatch.setattr(trial.Fit, "answers", lambda self: pytest.fail("read the test set"))
    result = trial.run(CONFIG, digits, test=False)
    assert result["test_accuracy"] is None and 0 < result["val_accuracy"] <= 1


def test_a_finished_trial_in_a_group_is_not_run_again(digits, tmp_path):
    other = dataclasses.replace(CONFIG, seed=1)
    first = trial.run(CONFIG, digits, tmp_path / "0")
    before = (tmp_path / "0" / "result.json").stat().st_mtime_ns
    together = trial.run_together([CONFIG, other], digits, [TrialFolder(tmp_path / name) for name in ("0", "1")])
    assert together[0] == first and (tmp_path / "0" / "result.json").stat().st_mtime_ns == before
    assert together[1] | {"train_seconds": 0} == trial.run(other, digits) | {"train_seconds": 0}


def test_trials_grouped_anew_after_an_interrupt_end_alike(digits, tmp_path):
    configs = [CONFIG, dataclasses.replace(CONFIG, seed=1)]
    folders = [TrialFolder(tmp_path / str(config.seed)) for config in configs]
    for config, folder, epochs in zip(configs, folders, (1, 3)):
        with pytest.raises(KeyboardInterrupt):
            trial.run(config, digits, folder.path, progress=StopsAfter(epochs))
    trial.run_together(configs, digits, folders)  # they have no checkpoint of one epoch in common
    for config, folder in zip(configs, folders):
        trial.run(config, digits, tmp_path / f"whole{config.seed}")
        assert lines(folder.path) == lines(tmp_path / f"whole{config.seed}")


def test_a_folder_of_other_data_is_refused(digits, tmp_path):
    trial.run(CONFIG, digits, tmp_path)
    with pytest.raises(RequestError, match="dataset_fingerprint"):
        trial.run(CONFIG, dataclasses.replace(digits, fingerprint="0123456789ab"), tmp_path)


def test_settings_that_do_not_suit_the_data_write_nothing(digits, tmp_path):
    config = dataclasses.replace(CONFIG, training=TrainingConfig(batch_size=2000))
    with pytest.raises(RequestError, match="batch_size=2000"):
        trial.run(config, digits, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("asked", [1, 3, 8, 14])
def test_ctrl_c_in_an_epoch_saves_the_step_and_continues_to_the_same_bits(digits, whole, tmp_path, asked):
    with pytest.raises(KeyboardInterrupt):
        trial.run(CONFIG, digits, tmp_path, keep=True, progress=SignalsAt(asked))
    (steps,) = TrialFolder(tmp_path).checkpoints().steps()
    assert 0 < steps < 20 and len(lines(tmp_path)) == steps // 5
    trial.run(CONFIG, digits, tmp_path, keep=True)
    assert_ends_alike(tmp_path, whole)


def test_replicas_in_threads_stop_after_the_same_step(digits, whole, tmp_path):
    configs = [CONFIG, dataclasses.replace(CONFIG, seed=1)]
    folders = [TrialFolder(tmp_path / str(config.seed)) for config in configs]
    for asked in (3, 5, 4):
        with pytest.raises(KeyboardInterrupt):
            trial.run_together(configs, digits, folders, keep=True, progress=SignalsAt(asked))
        first, second = (folder.checkpoints().steps() for folder in folders)
        assert first == second
    trial.run_together(configs, digits, folders, keep=True)
    assert_ends_alike(folders[0].path, whole)


def test_no_checkpoint_before_its_time(digits, tmp_path):
    trial.run(CONFIG, digits, tmp_path)
    assert not TrialFolder(tmp_path).checkpoints().path.exists()


TEMPORARY = f".metrics.jsonl.{0:032x}"  # what a process that is killed while it writes leaves
FINISHED = {"config.json", "metrics.jsonl", "result.json", "test_correct.npy"}


def test_what_a_kill_left_half_written_goes_when_the_trial_continues(digits, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trial.run_together([CONFIG], digits, [TrialFolder(tmp_path)], progress=StopsAfter(1))
    (tmp_path / TEMPORARY).write_text('{"epo')
    trial.run_together([CONFIG], digits, [TrialFolder(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == FINISHED


@pytest.mark.parametrize("run", ["alone", "together"])
def test_what_a_kill_after_the_result_left_goes_when_the_trial_is_found(digits, whole, tmp_path, run):
    folder = tmp_path / "w"
    shutil.copytree(whole, folder)
    for name in (TEMPORARY, "failure.txt"):
        (folder / name).write_text("Trace")
    result = TrialFolder(folder).result()
    if run == "alone":
        trial.run(CONFIG, digits, folder, keep=True)
        assert TrialFolder(folder).checkpoints().steps() == [20]
        assert trial.run(CONFIG, digits, folder) == result
    else:
        assert trial.run_together([CONFIG], digits, [TrialFolder(folder)]) == [result]
    assert {path.name for path in folder.iterdir()} - {".lock"} == FINISHED


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_it(digits, whole, tmp_path, damaged):
    with pytest.raises(KeyboardInterrupt):
        trial.run(CONFIG, digits, tmp_path, keep=True, progress=StopsAfter(2))
    checkpoints = TrialFolder(tmp_path).checkpoints()
    assert checkpoints.steps() == [9, 10]
    for steps in checkpoints.steps()[-damaged:]:
        for path in (checkpoints.path / str(steps)).rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[:20])
    said = Said()
    trial.run(CONFIG, digits, tmp_path, keep=True, progress=said)
    assert len(said.lines) == damaged and all("is damaged (" in line and "\n" not in line for line in said.lines)
    ends = [line.rpartition(": ")[2] for line in said.lines]
    assert ends == ["going back to step 9", "beginning anew"][:damaged]
    assert_ends_alike(tmp_path, whole)


def test_another_machine_is_said_and_marked(digits, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        trial.run(CONFIG, digits, tmp_path, progress=StopsAfter(1))
    said, here = Said(), machine()
    with monkeypatch.context() as patch:
        patch.setattr(trial, "machine", lambda: here | {"cpu": "Z80"})
        with pytest.raises(KeyboardInterrupt):
            trial.run(CONFIG, digits, tmp_path, progress=StopsAfter(2))
    result = trial.run(CONFIG, digits, tmp_path, progress=said)  # back where it began, which mends nothing
    assert result["same_machine"] is False
    assert len(said.lines) == 1 and f"cpu: 'Z80', now {here['cpu']!r}" in said.lines[0]


def test_what_begins_anew_elsewhere_is_of_one_machine(digits, tmp_path):
    folder = TrialFolder(tmp_path)
    settings = {**to_json(CONFIG), "dataset_fingerprint": digits.fingerprint}
    folder.begin({**settings, "provenance": {"machine": {"cpu": "Z80"}}})  # killed before its first checkpoint
    assert trial.run(CONFIG, digits, tmp_path)["same_machine"] is True
    assert folder.config()["provenance"]["machine"] == machine()


def test_config_json_says_what_made_it(digits, tmp_path):
    trial.run(CONFIG, digits, tmp_path)
    made_by = TrialFolder(tmp_path).config()["provenance"]
    assert {"machine", "host", "command", "git_revision"} == made_by.keys()
    assert made_by["machine"]["cores"] >= 1 and made_by["machine"]["packages"]["jax"] == jax.__version__
    assert TrialFolder(tmp_path).config()["dataset_fingerprint"] == digits.fingerprint


def test_interrupted_while_the_test_set_is_read(digits, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(trial.Fit, "answers", lambda self: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            trial.run(CONFIG, digits, tmp_path)
    assert TrialFolder(tmp_path).checkpoints().steps() == [20]  # so that nothing is trained again
    trial.run(CONFIG, digits, tmp_path, keep=True)
    assert_ends_alike(tmp_path, whole)


def test_a_diverged_replica_stops_and_changes_no_bit_of_the_other(digits, whole, tmp_path):
    configs = [CONFIG, dataclasses.replace(CONFIG, learning_rate=1e20)]
    folders = [TrialFolder(tmp_path / name) for name in ("good", "bad")]
    _, bad = trial.run_together(configs, digits, folders, keep=True)
    assert bad["status"] == "diverged" and bad["bad_step"] < 10 and bad["epochs"] <= 2
    assert_ends_alike(folders[0].path, whole)
    state = ocp.StandardCheckpointer().restore(folders[1].checkpoints().path / "20" / "state")
    assert int(state["state"]["step"]) == 5 * bad["epochs"] < 20


def test_a_diverged_replica_stays_so_when_the_other_continues(digits, whole, tmp_path):
    configs = [CONFIG, dataclasses.replace(CONFIG, learning_rate=1e20)]
    folders = [TrialFolder(tmp_path / name) for name in ("good", "bad")]
    with pytest.raises(KeyboardInterrupt):
        trial.run_together(configs, digits, folders, keep=True, progress=StopsAfter(3))
    _, bad = trial.run_together(configs, digits, folders, keep=True)
    untouched = trial.run_together(configs, digits)[1]
    assert bad | {"train_seconds": 0} == untouched | {"train_seconds": 0}
    assert_ends_alike(folders[0].path, whole)
