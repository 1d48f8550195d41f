"""A small study, an executor that trains nothing, and a progress that remembers."""

import dataclasses
from typing import NamedTuple

import numpy as np

from cnn import machine
from cnn.config import NetworkConfig, SweepConfig, TrainingConfig
from cnn.progress import Progress, Share
from cnn.study.folder import settings_of
from cnn.study.plan import COMPARE, Study
from cnn.study.run import running
from cnn.training.folder import Outcome, Result

CONFIG = SweepConfig(
    "digits",
    blocks=(0, 1),
    learning_rates=(1e-3, 3e-3),
    seeds=2,
    tuning_seeds=1,
    network=NetworkConfig(width=4, hidden=16),
    training=TrainingConfig(epochs=1, batch_size=16),  # enough steps for a network that is better than chance
)


def study(dataset, config=CONFIG, **options):
    """A sweep of these depths."""
    variants = {blocks: dataclasses.replace(config.network, blocks=blocks) for blocks in config.blocks}
    return Study("sweep_blocks", "blocks", variants, config, dataset, varies=("blocks",), grows=("blocks",), **options)


def run(study, folder, **options):
    """Run what is missing, and give the results after the lock is gone."""
    with running(study, folder, **options) as results:
        return results


class Shown(NamedTuple):
    """What a bar showed: the share that is done, the seconds left, and where the work is."""

    done: float
    left: float | None
    note: str


class Said(Progress):
    """Keeps the sentences, the labels of tasks, and what each bar of a share showed, by its label."""

    def __init__(self):
        self.lines = []
        self.tasks = []
        self.shown = {}

    def line(self, text):
        self.lines.append(text)

    def task(self, label, total, done=0):
        self.tasks.append(label)
        return super().task(label, total, done)

    def share(self, label):
        assert label not in self.shown  # one bar for a study
        shown = self.shown[label] = []

        class Kept(Share):
            def show(self, done, seconds_left, note):
                shown.append(Shown(done, seconds_left, note))

        return Kept(label)


class Instant:
    """An executor that trains nothing: each trial has the accuracy that a function of it says, by default 0.9."""

    def __init__(self, accuracy=lambda trial: 0.9):
        self.accuracy = accuracy
        self.machine = machine.here().digest()
        self.ran = []

    def check(self, plan, shard):
        pass

    def runs_on(self):
        return machine.here()

    def run(self, plan, folder, trials, options, progress):
        for trial in trials:
            value = self.accuracy(trial)
            right = np.arange(20) < round(20 * value)
            result = Result(
                "done",
                val_accuracy=value,
                test_accuracy=float(right.mean()) if options.test else None,
                test_examples=20 if options.test else None,
                parameters=10,
                macs=100,
                train_seconds=1.0,
                machine=self.machine,
                same_machine=True,
            )
            arrays = {"rate": np.array([trial.config.learning_rate])} if trial.phase == COMPARE else {}
            outcome = Outcome(result, right if options.test else None, arrays=arrays)
            settings = settings_of(plan, trial)
            folder.trial(trial).begin(settings, provenance={})
            folder.trial(trial).finish(outcome, settings)
            self.ran.append(trial.name)
            yield {trial: outcome}
