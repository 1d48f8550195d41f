"""Time to accuracy: the table's arithmetic, the example's network, and the command on a tiny recipe."""

import itertools
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import peers_mnist, processes
from benchmarks.time_to_accuracy import COLD, EXAMPLE, RECIPE, WARM, cells, ours, summarize

pytestmark = pytest.mark.thorough


def run(side, seconds, accuracy):
    return {"side": side, "seconds": seconds, "accuracy": accuracy}


def test_rows_are_medians_and_means():
    runs = [run(COLD, 10.0, 0.991), run(COLD, 14.0, 0.993), run(EXAMPLE, 150.0, 0.99)]
    runs += [run(EXAMPLE, 90.0, 0.98), run(EXAMPLE, 100.0, 0.995)]
    cold, peer = summarize(runs, target=0.99)
    assert cold["seconds"] == [12.0, 10.0, 14.0] and cold["ratio"] == pytest.approx(12 / 150)
    assert cold["accuracy"] == pytest.approx(0.992) and cold["reached"] == 2
    # 12.7062 (t, 1 degree of freedom) x 0.001
    assert cold["interval"] == pytest.approx((0.992 - 0.0127062, 0.992 + 0.0127062), abs=1e-6)
    assert peer["seconds"] == [150.0, 100.0, None] and peer["ratio"] == 1.0  # of 100, 150 and never
    assert list(cells(cold, 0.99).values()) == [
        *(COLD, "2", "12.0 (10.0 to 14.0)", "99.20 [97.93, 100.47]", "2 of 2", "0.080")
    ]
    assert cells(peer, 0.99)["seconds"] == "150.0 (100.0 to -)"


def test_a_run_that_missed_the_target_counts_as_infinitely_long_on_every_side():
    runs = [run(side, seconds, accuracy) for side in (COLD, RECIPE) for seconds, accuracy in ((5.0, 0.98), (9.0, 0.99))]
    ours, peer = summarize(runs, target=0.99)
    assert ours["seconds"] == peer["seconds"] == [None, 9.0, None] and ours["ratio"] is peer["ratio"] is None


def test_the_ratio_is_to_whatever_ran_in_pytorch():
    ours, peer = summarize([run(COLD, 5.0, 0.9), run(RECIPE, 20.0, 0.9)], target=0.9)
    assert (ours["ratio"], peer["ratio"]) == (0.25, 1.0) and (ours["reached"], peer["reached"]) == (1, 1)


def test_without_the_example_there_is_no_ratio():
    (row,) = summarize([run(WARM, 5.0, 0.9)], target=0.99)
    assert row["ratio"] is None and row["interval"] is None
    assert list(cells(row, 0.99).values()) == [WARM, "1", "- (- to -)", "90.00", "0 of 1", "-"]


def test_the_examples_network():
    pytest.importorskip("torch")
    assert sum(leaf.numel() for leaf in peers_mnist.network((28, 28, 1), 10).parameters()) == 1_199_882


def test_the_example_stops_at_the_target():
    pytest.importorskip("torch")
    lines = peers_mnist.train("digits", seed=0, target=0.5, epochs=3)
    assert [line["epoch"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["accuracy"] >= 0.5 and all(line["accuracy"] < 0.5 for line in lines[:-1])
    assert all(one["seconds"] < other["seconds"] for one, other in itertools.pairwise(lines))
    assert len(peers_mnist.train("digits", seed=0, target=1.0, epochs=2)) == 2


@pytest.mark.slow
def test_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.time_to_accuracy", "--dataset=digits", "--seeds=1"]
    command += ["--peer_seeds=1", "--target=0.2", "--epochs=1", "--ours=--epochs=2 --blocks=1 --width=4"]
    done = subprocess.run([*command, f"--output={tmp_path / 't.json'}"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "t.json").read_text())
    sides = [COLD, WARM, EXAMPLE] if find_spec("torch") else [COLD, WARM]
    assert [row["side"] for row in written["rows"]] == sides
    assert sum(line.startswith("|") for line in done.stdout.splitlines()) == 2 + len(sides)
    assert ("PyTorch is not installed" in done.stdout) == (find_spec("torch") is None)
    accuracy = {(one["side"], one["seed"]): one["accuracy"] for one in written["runs"]}
    assert accuracy[COLD, 0] == accuracy[WARM, 0]  # compiled or read, it is one program
    assert {one["epochs"] for one in written["runs"] if one["side"] != EXAMPLE} == {2}


@pytest.mark.parametrize(("warm", "sides"), [(True, [COLD, WARM]), (False, [COLD])])
def test_the_warm_run_can_be_left_out(warm, sides, monkeypatch):
    def python(*arguments):
        (workdir,) = (argument.split("=", 1)[1] for argument in arguments if argument.startswith("--workdir="))
        Path(workdir).mkdir()
        (Path(workdir) / "result.json").write_text('{"test_accuracy": 0.5, "epochs": 1}')
        return processes.Finished(1.0, 0.0, "")

    monkeypatch.setattr(processes, "python", python)
    assert [one["side"] for one in ours("digits", 0, [], warm)] == sides
