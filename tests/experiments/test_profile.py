"""`--profile` of the commands: a trace for each network, one line, and the same numbers."""

import gzip
import json
import subprocess
import sys

import pytest

from cnn.training.loops.loop import STEP
from cnn.training.profile import PERFETTO
from tests.faults.harness import without_seconds

pytestmark = pytest.mark.thorough

SMALL = ["--epochs=1", "--batch_size=256", "--width=4", "--hidden=8"]
SWEEP = [*SMALL, "--blocks=0,1", "--learning_rates=1e-3,3e-3", "--seeds=2", "--tuning_seeds=1"]


def steps(folder):
    (path,) = folder.glob(PERFETTO)
    with gzip.open(path, "rt") as file:
        return [event for event in json.load(file)["traceEvents"] if event.get("name") == STEP]


def results(folder):
    """Every result below a work folder, by the folder's name, without times."""
    paths = sorted(folder.rglob("result.json"))
    return {str(path.relative_to(folder)): without_seconds(json.loads(path.read_text())) for path in paths}


def test_a_sweep_leaves_a_trace_for_each_depth(ask, tmp_path):
    plain = ask("sweep_blocks", *SWEEP, "--workdir=plain")
    done = ask("sweep_blocks", *SWEEP, "--workdir=w", "--profile=p")
    assert (plain.returncode, done.returncode) == (0, 0), done.stderr
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["0_blocks", "1_block"]
    assert all(len(steps(folder)) > 1 for folder in (tmp_path / "p").iterdir())
    assert done.stderr.count("a trace of ") == 2 and "Warning" not in done.stderr
    assert results(tmp_path / "w") == results(tmp_path / "plain") and len(results(tmp_path / "w")) == 8
    again = ask("sweep_blocks", *SWEEP, "--workdir=w", "--profile=again")
    assert again.returncode == 0 and not (tmp_path / "again").exists()  # nothing trains


def test_a_training_says_in_one_line_where_its_trace_is(command, tmp_path):
    done = command("train", *SMALL, "--workdir=w", "--profile=new/p")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "new" / "p" / "convnet"
    (path,) = folder.glob(PERFETTO)
    traced = len(steps(folder))
    assert traced > 2
    said = f"open {path.relative_to(tmp_path)} in https://ui.perfetto.dev, or run tensorboard --logdir=new/p/convnet"
    assert [line for line in done.stderr.splitlines() if said in line] == [
        f"a trace of {traced} training steps: {said}"
    ]
    assert all(line.startswith(("a trace", "convnet")) for line in done.stderr.splitlines()), done.stderr


@pytest.mark.parametrize("name, flags", [("train", SMALL), ("sweep_blocks", SWEEP)])
def test_a_dry_run_writes_no_trace(ask, tmp_path, name, flags):
    done = ask(name, *flags, "--dry_run", "--profile=p")
    assert done.returncode == 0 and list(tmp_path.iterdir()) == [], done.stderr


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_printed(ask, tmp_path):
    done = ask("train", *SMALL, "--profile=/proc/none/p")
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert done.stderr.startswith("error: profile='/proc/none/p': must be a folder that can be written (")
    assert done.stderr.count("\n") == 1


ON_A_FULL_DISK = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
sys.argv = sys.argv[1:]
runpy.run_module(f"experiments.{sys.argv[0]}", run_name="__main__", alter_sys=True)
"""


def test_a_full_disk_is_one_line_and_the_training_continues(ask, tmp_path):
    arguments = [sys.executable, "-W", "error", "-c", ON_A_FULL_DISK, "train", *SMALL, "--workdir=w", "--profile=p"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stderr.startswith("error: the trace cannot be written ("), done.stderr
    assert "Traceback" not in done.stderr and ask("train", *SMALL, "--workdir=w").returncode == 0
