import json
import os
import subprocess
import sys

import pytest

from benchmarks import scaling

pytestmark = pytest.mark.thorough


def test_a_driver_takes_time():
    assert scaling.driver_seconds(3) > 0


@pytest.mark.slow
def test_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.scaling", "--workers=1,2", "--trials=5", "--epochs=1"]
    command += ["--study=20", "--machines=3", f"--output={tmp_path / 's.json'}"]
    done = subprocess.run(command, env={**os.environ, "NPROC": "2"}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "s.json").read_text())
    assert [row["workers"] for row in written["rows"]] == [1, 2] and written["driver_seconds"] > 0
    assert all(len(row["ended"]) == 5 and row["joining"] > 0 for row in written["rows"])
    assert "20 trials on 3 machines of 2 cores: " in done.stdout
