"""The sweep beside others: its sides do the same trainings, the tables' arithmetic, and the command on digits."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import sweep_beside, sweep_torch
from benchmarks.peers_sweep import FLAX, PYTORCH, Depth, learner_of, problem_of, sweep
from benchmarks.sweep_beside import ALIKE, COLD, OURS, WARM, Run
from cnn.config import FIRST_TUNING_SEED, NetworkConfig, SweepConfig, TrainingConfig
from cnn.data import datasets
from cnn.training.optimizer import WARMUP
from experiments.command import flags
from experiments.sweep_blocks import EXPERIMENT

pytestmark = pytest.mark.thorough

TINY = SweepConfig(
    blocks=(1,), learning_rates=(3e-3, 1e-2), seeds=1, network=NetworkConfig(width=8), training=TrainingConfig(epochs=4)
)


@pytest.mark.parametrize("dataset", ["digits", "mnist", "fashion_mnist", "cifar10"])
def test_the_command_line_says_the_settings(dataset):
    """So no default of a data set makes this project's sweep another than the peers'."""
    config = sweep_beside.settings(dataset, (1, 2), seeds=3, epochs=2)
    values = flags.define(EXPERIMENT)
    flags.parse(values, ["sweep_blocks", *sweep_beside.command_line(config)])
    assert flags.configure(values, EXPERIMENT) == config


class Noted:
    """Learns nothing: notes what it was asked, and answers by a table of validation accuracies."""

    def __init__(self, validation):
        self.validation = validation
        self.asked = []

    def train(self, problem, rate, seed):
        self.asked.append((problem.network.blocks, rate, seed))
        return self.validation.get(self.asked[-1], 0.5)

    def test(self):
        return 0.9


def test_a_peer_trains_what_a_sweep_of_this_project_trains():
    config = SweepConfig(blocks=(0, 2), learning_rates=(3e-3, 1e-3), seeds=2, tuning_seeds=2)
    first, second = FIRST_TUNING_SEED, FIRST_TUNING_SEED + 1
    learner = Noted({(2, 3e-3, second): 0.6})  # at 0 blocks all rates are equal, so that the smaller is taken
    found = sweep(config, (8, 8, 1), learner)
    assert found == [Depth(0, 1e-3, [0.9, 0.9], 6), Depth(2, 3e-3, [0.9, 0.9], 6)]
    assert learner.asked == [
        *((0, rate, seed) for rate in (1e-3, 3e-3) for seed in (first, second)),
        *((0, 1e-3, 0), (0, 1e-3, 1)),
        *((2, rate, seed) for rate in (1e-3, 3e-3) for seed in (first, second)),
        *((2, 3e-3, 0), (2, 3e-3, 1)),
    ]


def test_one_rate_needs_no_tuning():
    learner = Noted({})
    config = SweepConfig(blocks=(1,), learning_rates=(1e-3,), seeds=2)
    assert sweep(config, (8, 8, 1), learner) == [Depth(1, 1e-3, [0.9, 0.9], 2)]


@pytest.mark.parametrize("library", [FLAX, PYTORCH])
def test_a_peer_learns(library):
    if library == PYTORCH:
        pytest.importorskip("torch")
    digits = datasets.load("digits")
    learner = learner_of(library, TINY, digits)
    problem = problem_of(TINY, digits.image_shape, blocks=1)
    assert learner.train(problem, 1e-2, seed=0) > 0.8 and learner.test() > 0.8
    again = learner_of(library, TINY, digits)
    assert learner.train(problem, 1e-2, seed=1) == again.train(problem, 1e-2, seed=1)


def test_pytorch_rises_as_long_as_this_project():
    assert sweep_torch.RISE == WARMUP


def test_tables():
    def run(number, side, start, seconds, *accuracies):
        return Run(number, side, start, seconds, [Depth(1, 1e-3, list(accuracies), 7)])

    runs = [run(0, OURS, COLD, 10.0, 0.9, 0.8), run(0, OURS, WARM, 8.0, 0.9, 0.8), run(0, PYTORCH, ALIKE, 20.0, 1.0)]
    runs += [run(1, OURS, COLD, 20.0, 0.9, 0.8), run(1, OURS, WARM, 16.0, 0.9, 0.8), run(1, PYTORCH, ALIKE, 80.0, 0.5)]
    cold, warm, torch = sweep_beside.speed(runs)
    assert cold["ratios_cold"] == [1.0, 1.0] and warm["ratios_cold"] == [0.8, 0.8] and cold["ratios_warm"] == [1.25] * 2
    assert torch["ratios_cold"] == [2.0, 4.0] and torch["ratios_warm"] == [2.5, 5.0]
    assert list(sweep_beside.speed_cells(torch).values()) == [
        *(PYTORCH, ALIKE, "2", "50.0 (20.0 to 80.0)", "3.00 (2.00 to 4.00)", "3.75 (2.50 to 5.00)")
    ]
    assert sweep_beside.speed(runs[2:3])[0]["ratios_cold"] is None
    own, theirs = sweep_beside.learnt(runs)
    # 12.7062 (t, 1 degree of freedom) x 0.05 around 0.85, of which no accuracy above 1 is told
    assert list(sweep_beside.learnt_cells(own).values()) == [OURS, "1", "7", "0.001", "85.00 [21.47, 100.00]"]
    assert theirs["test_accuracies"] == [0.75] and sweep_beside.learnt_cells(theirs)["test accuracy %"] == "75.00"


@pytest.mark.slow
def test_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.sweep_beside", "--dataset=digits", "--blocks=1,2"]
    command += ["--seeds=1", "--epochs=4", "--rounds=1", f"--output={tmp_path / 's.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "s.json").read_text())
    runs = [(OURS, COLD), (OURS, WARM), (FLAX, COLD), (FLAX, WARM)]
    runs += [(PYTORCH, ALIKE)] if find_spec("torch") else []
    assert [(row["side"], row["start"]) for row in written["speed"]] == runs
    assert all(min(row["seconds"]) > 0 and min(row["ratios_warm"]) > 0 for row in written["speed"])
    assert ("PyTorch: not measured, PyTorch is not installed." in done.stdout) == (find_spec("torch") is None)
    sides = list(dict.fromkeys(side for side, _ in runs))
    assert [(row["side"], row["blocks"]) for row in written["learnt"]] == [(side, n) for side in sides for n in (1, 2)]
    assert {row["trainings"] for row in written["learnt"]} == {5}  # 2 rates x 2 tuning seeds, and 1 seed
    assert min(np.min(row["test_accuracies"]) for row in written["learnt"]) > 0.7
    assert sum(line.startswith("|") for line in done.stdout.splitlines()) == 2 + len(runs) + 2 + 2 * len(sides)


@pytest.mark.parametrize(
    "asked, message",
    [
        ("--sides=JAX", "must be of this project, plain Flax Linen, PyTorch, one or more"),
        ("--sides=", "one or more"),
        ("--blocks=1,1", "must be integers, one or more, none twice"),
        ("--blocks=", "must be integers"),
    ],
)
def test_what_cannot_be_measured(asked, message):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.sweep_beside", asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr
