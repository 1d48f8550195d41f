"""The simulation of the rule: its model, its shares, and its command line."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import answer_simulation as simulation

pytestmark = pytest.mark.thorough


DATA = simulation.Data(0.05, 5000, 0.4, 0.003, 0.002)


def test_sweeps_follow_the_model():
    truth = (0.90, 0.95)
    accuracy = simulation.sweeps(truth, 5, DATA, 4000, np.random.default_rng(0))
    assert accuracy.shape == (4000, 2, 5)
    assert accuracy.mean(axis=(0, 2)) == pytest.approx(truth, abs=3e-4)
    # seed + trial + binomial: 0.003^2 + 0.002^2 + 0.9 x 0.1 / 5000 = 9e-6 + 4e-6 + 18e-6 = 31e-6
    assert accuracy[:, 0].var() == pytest.approx(31e-6, rel=0.05)
    shallow = accuracy[:, 0].ravel()
    deep = accuracy[:, 1].ravel()
    # What a seed does to both, and the images that are drawn once: 0.4 x (0.9 - 0.9 x 0.95) / 5000 = 3.6e-6
    assert np.cov(shallow, deep)[0, 1] == pytest.approx(9e-6 + 3.6e-6, rel=0.1)


def test_equal_depths_agree_about_as_many_images_as_their_correlation_says():
    """Against images drawn one by one."""
    generator = np.random.default_rng(0)
    once = generator.random((20_000, 1, 50)) < DATA.correlation
    uniform = np.where(once, generator.random((20_000, 1, 50)), generator.random((20_000, 2, 50)))
    one_by_one = (uniform < 0.9).sum(axis=-1)
    data = dataclasses.replace(DATA, images=50)
    counted = simulation.right_images(np.full((20_000, 2, 1), 0.9), data, generator)[..., 0]
    assert np.cov(counted.T) == pytest.approx(np.cov(one_by_one.T), rel=0.05)
    assert np.corrcoef(counted.T)[0, 1] == pytest.approx(DATA.correlation, abs=0.02)


def test_picks_are_the_rule():
    accuracy = np.array([[[0.98], [0.9805]], [[0.9], [0.95]], [[0.9], [0.95]], [[0.9], [0.95]]])
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
    assert len(written["rows"]) == 60 and written["settings"]["repeats"] == 20 and len(written["margins"]) == 12
    assert all(sum(row[f"picks {depth}"] for depth in range(4)) == pytest.approx(1) for row in written["rows"])
    assert sum(line.startswith("|") for line in done.stdout.splitlines()) == 62 + 14
    decided = {row["true errors"]: row for row in written["rows"] if row["seeds"] == 20 and row["data"] == "cifar10"}
    assert decided["30 % less a block"]["picks 3"] > 0.9 and decided["plateau"]["picks 2"] > 0.9
    assert [row["noise-free"] for row in decided.values()] == [0, 1, 3, 3, 2]
    margins = {row["true errors"]: row for row in written["margins"] if row["data"] == "cifar10"}
    assert margins["plateau"]["margin 0.05"] > 0.8 > margins["plateau"]["margin 0"]
    # Of the last block that removes a tenth of the error, a margin of 0.2 allows the loss, and one of 0.05 does not.
    assert margins["10 % less a block"]["margin 0.05"] > 0.8 > 0.2 > margins["10 % less a block"]["margin 0.2"]
