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
    assert len(rows) == len(written) == len(convolutions.CONVOLUTIONS)
    shares = {}
    for cells, row in zip(rows, written, strict=True):
        size, channels, filters, filter_size = (row[name] for name in ("size", "channels", "filters", "filter_size"))
        name = f"{size}x{size}, {filter_size}x{filter_size}, {channels} to {filters}"
        assert [cell.strip() for cell in cells[:2]] == [row["network"], name]
        assert ("input gradient" in row["seconds"]) == (channels > 3)
        forward = row["seconds"]["forward"]["fast"]
        out = size + 2 * row["padding"] - filter_size + 1
        assert round(2 * 16 * out**2 * filter_size**2 * channels * filters / 1e9 / forward) == int(cells[3])
        shares.setdefault(row["network"], []).append(int(cells[-1].strip("% ")))
    assert list(shares) == ["colour", "grey", "lenet5"]
    assert all(97 <= sum(own) <= 103 for own in shares.values())
