"""The simulation of the rule: its model, its shares, and its command line."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import answer_simulation as simulation

pytestmark = pytest.mark.thorough


def test_sweeps_follow_the_model():
    truth = (0.90, 0.95)
    accuracy = simulation.sweeps(truth, 5, 5000, 4000, np.random.default_rng(0))
    assert accuracy.shape == (4000, 2, 5)
    assert accuracy.mean(axis=(0, 2)) == pytest.approx(truth, abs=3e-4)
    # seed + trial + binomial: 0.003^2 + 0.002^2 + 0.9 x 0.1 / 5000 = 9e-6 + 4e-6 + 18e-6 = 31e-6
    assert accuracy[:, 0].var() == pytest.approx(31e-6, rel=0.05)
    shallow, deep = accuracy[:, 0].ravel(), accuracy[:, 1].ravel()
    assert np.cov(shallow, deep)[0, 1] == pytest.approx(9e-6, rel=0.1)  # what a seed does to both


def test_picks_are_the_rule():
    accuracy = np.array([[[0.98], [0.981]], [[0.9], [0.95]], [[0.9], [0.95]], [[0.9], [0.95]]])
    assert simulation.picks(accuracy).tolist() == [0.25, 0.75]


def test_coverage():
    # 12.7062 x 0.01 around 0.5 holds 0.6 and not 0.7; the second depth has no variance and no interval
    accuracy = np.array([[[0.49, 0.51], [0.5, 0.5]]])
    assert simulation.coverage(accuracy, (0.6, 0.5)) == 1.0 and simulation.coverage(accuracy, (0.7, 0.5)) == 0.0
    normal = np.random.default_rng(0).normal(0.5, 0.01, (5000, 1, 4))
    assert simulation.coverage(normal, (0.5,)) == pytest.approx(0.95, abs=0.01)


def test_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.answer_simulation", "--repeats=20"]
    done = subprocess.run([*command, f"--output={tmp_path / 'a.json'}"], capture_output=True, text=True, check=True)
    written = json.loads((tmp_path / "a.json").read_text())
    assert len(written["rows"]) == 40 and written["settings"]["repeats"] == 20
    assert all(sum(row[f"picks {depth}"] for depth in range(4)) == pytest.approx(1) for row in written["rows"])
    assert sum(line.startswith("|") for line in done.stdout.splitlines()) == 42
    decided = {row["true accuracies"]: row for row in written["rows"] if row["seeds"] == 40 and row["images"] == 5000}
    assert decided["0.005 a block"]["picks 3"] > 0.9 and decided["plateau"]["picks 2"] > 0.9
    noise_free = {shape: row["noise-free"] for shape, row in decided.items()}
    assert noise_free == {"equal": 0, "0.001 a block": 1, "0.002 a block": 2, "0.005 a block": 3, "plateau": 2}
