"""SIGTERM and Ctrl-C: the step is finished, the state saved, and one line says how to continue."""

import shlex
import signal
import subprocess
import time

import pytest

from cnn.training.folder import TrialFolder
from tests.faults.harness import SWEEP, TRAIN, assert_same, finish, start

pytestmark = pytest.mark.thorough

LONG = (*TRAIN, "--epochs=2000", "--checkpoint_seconds=30")  # the last flag of a name counts


def wait_for(process, condition):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def interrupted(err):
    """The command that the one line of an interrupted run names; progress may say lines of its own before it."""
    *_, line = err.splitlines()
    said, _, command = line.partition("; this continues: ")
    assert said == "interrupted"
    return command


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_saves_and_leaves_within_seconds(train, compiled, tmp_path, number, status):
    folder = tmp_path / "a b;c"  # a name that a shell line must quote
    process = start(LONG, folder, compiled=compiled)
    wait_for(process, lambda: len(TrialFolder(folder).metrics()) >= 2)
    assert TrialFolder(folder).checkpoints().steps() == []  # none before 30 seconds have passed
    sent = time.monotonic()
    process.send_signal(number)
    _, err = finish(process, status)
    assert time.monotonic() - sent < 20  # seconds, on a machine that has other things to do
    assert f"--workdir={folder}" in shlex.split(interrupted(err))
    assert len(TrialFolder(folder).checkpoints().steps()) == 1


def test_what_the_line_names_continues_to_the_same_bits(train, compiled, tmp_path):
    folder = tmp_path / "a b;c"
    process = start(TRAIN, folder, compiled=compiled)
    wait_for(process, lambda: TrialFolder(folder).checkpoints().steps())
    process.send_signal(signal.SIGTERM)
    _, err = finish(process, 143)
    subprocess.run(interrupted(err), shell=True, check=True, capture_output=True, timeout=300)
    assert_same(folder, train.folder)


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("module", ["experiments", "absl", "numpy", "jaxlib"])
def test_a_stop_while_modules_are_imported_is_one_line(compiled, tmp_path, monkeypatch, number, status, module):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # a line for each module that has been imported
    process = start(LONG, tmp_path / "w", compiled=compiled)
    next(line for line in process.stderr if line.rpartition("|")[2].strip().split(".")[0] == module)
    process.send_signal(number)
    lines = [line for line in process.stderr if "|" not in line]
    finish(process, status)
    assert len(lines) == 1 and f"--workdir={tmp_path / 'w'}" in shlex.split(interrupted(lines[0])), lines


@pytest.mark.slow
def test_a_sweep_stops_and_continues(sweep, compiled, tmp_path):
    folder = tmp_path / "w"
    process = start(SWEEP, folder, compiled=compiled)
    wait_for(process, lambda: list(folder.glob("trials/*/checkpoints/*")))
    process.send_signal(signal.SIGINT)
    _, err = finish(process, 130)
    subprocess.run(interrupted(err), shell=True, check=True, capture_output=True, timeout=300)
    assert_same(folder, sweep.folder)
