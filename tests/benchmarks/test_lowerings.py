import json
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.thorough


@pytest.mark.slow
def test_each_choice_is_measured_with_and_without(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.lowerings", "--rounds=1", "--steps=1"]
    command += [f"--output={tmp_path / 'l.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 22
    written = json.loads((tmp_path / "l.json").read_text())
    assert len(written["rows"]) == 22 and written["settings"] == {"rounds": 1, "steps": 1}
    for row in rows:
        without, with_it, ratio = (float(re.search(r"[\d.]+", cell).group()) for cell in row.split("|")[2:5])
        low, high = ((with_it + sign * 0.005) / (without - sign * 0.005) for sign in (-1, 1))  # as they are rounded
        assert without > 0.005 and low - 0.005 <= ratio <= high + 0.005
