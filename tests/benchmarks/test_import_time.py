import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.thorough


@pytest.mark.slow
def test_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.import_time", "--rounds=2"]
    done = subprocess.run([*command, f"--output={tmp_path / 'i.json'}"], capture_output=True, text=True, check=True)
    libraries, training, job = json.loads((tmp_path / "i.json").read_text())["rows"]
    assert libraries["ratios"] == [1.0, 1.0] and len(job["seconds"]) == 2
    for ratio, seconds, base in zip(training["ratios"], training["seconds"], libraries["seconds"], strict=True):
        assert ratio == pytest.approx(seconds / base)
    assert sum(line.startswith("| `") for line in done.stdout.splitlines()) == 3
