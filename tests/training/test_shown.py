"""What a training tells of itself: epochs on a bar, or steps to a watcher, within an epoch too."""

import dataclasses

import pytest

from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.progress import Progress, Work
from cnn.training import shown, trial
from cnn.training.fit import Session
from cnn.training.prepared import prepare_trials
from cnn.training.trial import Options

pytestmark = pytest.mark.thorough

CONFIG = TrialConfig(
    "digits",
    validation_fraction=0.1,
    network=NetworkConfig(blocks=1, width=4, hidden=8),
    training=TrainingConfig(epochs=2, batch_size=256),
)
STEPS = 5  # in each epoch


class Seen(Progress):
    """Keeps what bars show."""

    def __init__(self):
        self.tasks = []

    def task(self, label, total, done=0):
        seen = self.tasks

        class Kept(Work):
            def advance(self, amount=1, note=""):
                super().advance(amount, note)
                seen.append((label, self.done, total, note))

        return Kept(label, total, done)


def together(configs, options, progress):
    digits = datasets.load("digits")
    with Session(digits) as session:
        return trial.run_together(session, prepare_trials(CONFIG, digits), configs, None, options, progress)


def test_a_bar_counts_the_epochs_of_trials_together():
    seen = Seen()
    outcomes = together([CONFIG, dataclasses.replace(CONFIG, seed=1)], Options(), seen)
    assert [(*task[:3],) for task in seen.tasks] == [
        ("convnet of 1 block, 2 trials", 1, 2),
        ("convnet of 1 block, 2 trials", 2, 2),
    ]
    assert seen.tasks[-1][3] == f"val accuracy {100 * outcomes[0].result.val_accuracy:.2f} %"


@pytest.mark.parametrize("trials", [1, 2])
def test_a_watcher_is_told_of_every_step_and_no_bar_is_shown(monkeypatch, trials):
    monkeypatch.setattr(shown, "SECONDS", 0.0)
    seen = Seen()
    begun = []
    configs = [dataclasses.replace(CONFIG, seed=seed) for seed in range(trials)]
    outcomes = together(configs, Options(watch=begun.append), seen)
    assert seen.tasks == []
    assert begun[0] == 0 and begun == sorted(begun) and begun[-1] == 2 * STEPS
    assert set(range(1, STEPS)) <= set(begun)  # within an epoch too
    plain = together(configs, Options(), Progress())
    for watched, other in zip(outcomes, plain, strict=True):  # who watches changes nothing
        assert watched.result.val_accuracy == other.result.val_accuracy
        assert watched.result.test_accuracy == other.result.test_accuracy
