import json
import subprocess
import sys

import pytest

from benchmarks import convolutions

pytestmark = pytest.mark.thorough


@pytest.mark.slow
def test_each_pass_of_each_layer_is_measured_in_both_forms(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.convolutions", "--rounds=1"]
    command += [f"--output={tmp_path / 'c.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")][2:]
    written = json.loads((tmp_path / "c.json").read_text())["rows"]
    assert len(rows) == len(written) == len(convolutions.LAYERS)
    for cells, row in zip(rows, written, strict=True):
        size, channels, filters = row["shape"]
        assert cells[0].split() == [f"{size}x{size},", str(channels), "to", str(filters)]
        assert ("input gradient" in row["seconds"]) == (channels > 3)
        forward = row["seconds"]["forward"]["fast"]
        assert round(2 * 16 * size**2 * 9 * channels * filters / 1e9 / forward) == int(cells[2])
    assert 97 <= sum(int(cells[-1].strip("% ")) for cells in rows) <= 103
