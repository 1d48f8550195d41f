import json
import shutil
import subprocess
import sys

import pytest

from benchmarks.pages import BROWSERS

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no browser is installed")
def test_command(tmp_path):
    """A small sweep's page is written and drawn as often as was asked for."""
    command = [sys.executable, "-W", "error", "-m", "benchmarks.pages", "--seeds=1", "--epochs=1", "--rounds=2"]
    done = subprocess.run([*command, f"--output={tmp_path / 'p.json'}"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "p.json").read_text())["pages"]
    assert row["trials"] == 4 * 2 * 2 + 4 and 0.5 < row["megabytes"] < 2
    assert len(row["written"]) == len(row["drawn"]) == 2 and min(row["written"] + row["drawn"]) > 0
