import dataclasses
import json

import numpy as np
import pytest

from cnn.config import NetworkConfig, RequestError, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.progress import Progress, Task
from cnn.training import trial
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


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def lines(folder):
    epochs = TrialFolder(folder).metrics()
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs]


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
