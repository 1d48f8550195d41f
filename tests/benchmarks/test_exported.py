import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.thorough


@pytest.mark.slow
def test_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.exported", "--rounds=2", "--calls=2"]
    done = subprocess.run([*command, f"--output={tmp_path / 'e.json'}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "e.json").read_text())["rows"]
    assert [(row["batch"], row["side"]) for row in rows] == [
        (batch, side)
        for batch in (1, 128)
        for side in ("Trained.outputs", "forward", "StableHLO program", "ONNX Runtime")
    ]
    for row in rows:
        missing = row["missing"] == "the extra [onnx] is missing" and row["side"] == "ONNX Runtime"
        assert missing or (len(row["images_per_second"]) == 2 and min(row["images_per_second"]) > 0)
    assert sum(line.startswith("|") for line in done.stdout.splitlines()) == 2 + len(rows)
