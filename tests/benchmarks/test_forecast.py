import json
import subprocess
import sys

import pytest

from benchmarks import forecast

pytestmark = pytest.mark.thorough


def test_the_ratio_is_the_truth_over_the_forecast():
    rounds = [{"done": 4, "trials": 8, "forecast": 10.0, "truth": truth} for truth in (12.0, 20.0, 5.0)]
    assert forecast.cells(rounds) == {
        "trials done": "4 of 8",
        "forecast, s": "10.0 (10.0 to 10.0)",
        "truth, s": "12.0 (5.0 to 20.0)",
        "ratio": "1.20 (0.50 to 2.00)",
    }


@pytest.mark.slow
def test_command(tmp_path):
    """On digits: the sweep stops half-way, goes on to its end, and the second forecast is of the rest alone."""
    command = [sys.executable, "-W", "error", "-m", "benchmarks.forecast", "--dataset=digits", "--blocks=0,1"]
    command += ["--rounds=1", f"--output={tmp_path / 'f.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "f.json").read_text())
    ((before, halfway),) = written["rounds"]
    assert (before["done"], before["trials"], halfway["trials"]) == (0, 8, 8) and 4 <= halfway["done"] < 8
    assert 0 < halfway["forecast"] < before["forecast"] and 0 < halfway["truth"] < before["truth"]
    assert written["settings"]["dataset"] == "digits" and written["machine"]["cores"] >= 1
    assert "0 of 8 |" in done.stdout and "1 rounds" in done.stdout


def test_what_cannot_be_forecast():
    command = [sys.executable, "-W", "error", "-m", "benchmarks.forecast", "--dataset=digits", "--blocks=9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "blocks=9" in done.stderr.splitlines()[-1]
