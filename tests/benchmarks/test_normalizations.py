import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.normalizations import Row
from cnn.network.normalization import NORMALIZATIONS

COMMAND = [sys.executable, "-W", "error", "-m", "benchmarks.normalizations"]


def test_ratios_are_those_of_each_round():
    row = Row("B", 64, "ghost", [2.0, 6.0, 4.0], [2.0, 4.0, 8.0])
    assert row.cells()["ms"] == "4.00"
    assert row.cells()["times without"] == "1.00 (0.50 to 1.50)"


@pytest.mark.slow
@pytest.mark.thorough
def test_each_normalisation_is_measured_beside_none(tmp_path):
    flags = ["--networks=B", "--batch_sizes=16", "--rounds=2", "--steps=1", f"--output={tmp_path / 'n.json'}"]
    done = subprocess.run([*COMMAND, *flags], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")][2:]
    written = json.loads((tmp_path / "n.json").read_text())["rows"]
    assert [row["normalization"] for row in written] == list(NORMALIZATIONS)
    assert [cells[2].strip() for cells in rows] == list(NORMALIZATIONS)
    for cells, row in zip(rows, written, strict=True):
        assert float(cells[3]) == pytest.approx(np.median(row["ms_of_rounds"]), abs=0.01)
        assert row["without"] == written[0]["ms_of_rounds"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--networks=C", "must be of A, B, batch"),
        ("--networks=", "one or more"),
        ("--batch_sizes=24", "multiples of 16"),
    ],
)
def test_wrong_flags(flag, message):
    done = subprocess.run([*COMMAND, flag], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr
