import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.thorough


def test_command(tmp_path):
    """On digits: every picture is read, and the first load takes more processor time than one from the cache."""
    command = [sys.executable, "-W", "error", "-m", "benchmarks.folder_of_pictures", "--dataset=digits"]
    command += ["--pictures=300", "--rounds=1", f"--output={tmp_path / 'f.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "300 pictures of 8x8x1, 1 rounds" in done.stdout
    first, following = json.loads((tmp_path / "f.json").read_text())["rows"]
    assert (first["load"], following["load"]) == ("first", "next") and len(first["seconds"]) == 1
    assert first["processor_seconds"][0] > following["processor_seconds"][0] > 0
