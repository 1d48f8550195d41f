import json
import subprocess
import sys

import pytest

from benchmarks import convolutions
from benchmarks.problems import CLASSES, PROBLEMS
from cnn.network import models, summary

pytestmark = pytest.mark.thorough


@pytest.mark.slow
def test_each_pass_of_each_layer_is_measured_in_both_forms(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.convolutions", "--rounds=1"]
    command += [f"--output={tmp_path / 'c.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")][2:]
    written = json.loads((tmp_path / "c.json").read_text())["rows"]
    layers = [layer for name in convolutions.NETWORKS for layer in convolutions.of_network(name)]
    assert len(rows) == len(written) == len(layers)
    shares = {}
    for cells, row, layer in zip(rows, written, layers, strict=True):
        assert [cell.strip() for cell in cells[:2]] == [row["network"], layer.name]
        assert ("input gradient" in row["seconds"]) == (row["image"][2] > 3)
        assert round(row["gflop"] / row["seconds"]["forward"]["fast"]) == int(cells[3])
        shares.setdefault(row["network"], []).append(int(cells[-1].strip("% ")))
    assert tuple(shares) == convolutions.NETWORKS
    assert all(abs(sum(own) - 100) <= len(own) / 2 for own in shares.values())  # each is rounded


@pytest.mark.parametrize("network", convolutions.NETWORKS)
def test_the_operations_are_those_of_the_network(network):
    problem = PROBLEMS[network]
    built = models.build(problem.network, problem.image_shape, CLASSES)
    rows = [row for row in summary.rows(built, problem.image_shape) if len(row.output_shape) == 3]
    forward = 2 * 16 * sum(row.macs for row in rows) / 1e9
    assert sum(layer.gflop for layer in convolutions.of_network(network)) == pytest.approx(forward)
