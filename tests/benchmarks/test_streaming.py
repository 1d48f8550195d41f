import json
import subprocess
import sys

import pytest

from benchmarks import streaming
from cnn.training.fit import Fit

pytestmark = pytest.mark.thorough


def test_a_side_goes_on_with_the_steps_that_are_asked_for(monkeypatch):
    made = []
    monkeypatch.setattr(streaming, "Fit", lambda *given: made.append(Fit(*given)) or made[0])
    call = streaming.side("digits", stream=True, steps=30)  # more than an epoch has
    for steps in (30, 60):
        call()
        assert made[0].steps == steps


def test_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.streaming", "--datasets=digits", "--steps=3"]
    command += ["--rounds=2", f"--output={tmp_path / 's.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "s.json").read_text())
    (row,) = written["rows"]
    assert row["dataset"] == "digits" and len(row["resident"]) == len(row["streamed"]) == 2
    assert min(row["resident"] + row["streamed"]) > 0 and written["machine"]["cores"] >= 1
    assert "| digits" in done.stdout and "2 rounds of 3 steps" in done.stdout
