"""The cost of a sweep: which runs are planned, the straight lines, and the command on two tiny points."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import sweep_cost
from cnn.data import datasets

pytestmark = pytest.mark.thorough


def test_one_setting_varies_and_the_others_have_their_second_value():
    plan = sweep_cost.points({"depths": [1, 2, 3], "seeds": [5, 10], "epochs": [4]})
    assert [(name, *settings.values()) for name, settings in plan] == [
        *(("depths", depths, 10, 4) for depths in (1, 2, 3)),
        *(("seeds", 2, seeds, 4) for seeds in (5, 10)),
    ]


def test_lines_are_those_of_least_squares():
    def row(seeds, seconds):
        return {"varies": "seeds", "settings": {"seeds": seeds}, "cold": {"seconds": seconds, "mib": 500.0 + seeds}}

    other = {"varies": "epochs", "settings": {"epochs": 1}, "cold": {"seconds": 99.0, "mib": 99.0}}
    rows = [row(1, 3.0), row(2, 5.0), row(3, 10.0), other]
    # means 2 and 6, so the slope is (1 x 3 + 1 x 4) / 2 = 3.5 and the start -1; of 26 the residuals leave 1.5
    line = sweep_cost.fit(rows, "seeds", "cold")
    assert line["seconds"] == pytest.approx({"start": -1.0, "slope": 3.5, "r2": 1 - 1.5 / 26})
    assert line["mib"] == pytest.approx({"start": 500.0, "slope": 1.0, "r2": 1.0})


@pytest.mark.parametrize("examples", [100, 1437, 3000])
def test_digits_are_cut_or_repeated(tmp_path, examples):
    sweep_cost._write_digits(tmp_path / "d.npz", examples)
    digits = datasets.load("digits")
    written = datasets.load(str(tmp_path / "d.npz"))
    assert written.train_images.shape == (examples, 8, 8, 1) and len(written.train_labels) == examples
    assert np.array_equal(written.train_images[examples - 1], digits.train_images[(examples - 1) % 1437])
    assert np.array_equal(written.test_images, digits.test_images)


@pytest.mark.slow
def test_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.sweep_cost"]
    command += ["--depths=1", "--seeds=1,2", "--epochs=1,2", "--examples=200", f"--output={tmp_path / 's.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "s.json").read_text())
    points = [(row["varies"], row["settings"]["seeds"], row["settings"]["epochs"]) for row in written["rows"]]
    assert points == [("seeds", 1, 2), ("seeds", 2, 2), ("epochs", 2, 1), ("epochs", 2, 2)]
    assert written["rows"][1]["cold"] == written["rows"][3]["cold"]  # one point, measured once
    assert all(row[run][what] > 0 for row in written["rows"] for run in ("cold", "warm") for what in ("seconds", "mib"))
    assert [(line["setting"], line["run"]) for line in written["lines"]] == [
        (setting, run) for setting in ("seeds", "epochs") for run in ("cold", "warm")
    ]
    assert sum(line.startswith("| seeds") for line in done.stdout.splitlines()) == 4


@pytest.mark.parametrize(
    "asked, message",
    [
        (["--seeds=2,none"], "must be integers above 0"),
        (["--seeds="], "must be integers above 0"),
        (["--depths=2", "--seeds=2", "--epochs=1", "--examples=200"], "one of them must have two values or more"),
        (["--seeds=2,2"], "no value twice"),
    ],
)
def test_what_cannot_be_measured(asked, message):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.sweep_cost", *asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr
