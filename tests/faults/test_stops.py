"""Ctrl-C, SIGTERM and SIGHUP: no step is lost, no stop is lost, and one line says how to continue."""

import os
import pty
import random
import shlex
import signal
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest

from cnn.training.folder import TrialFolder
from tests.faults.harness import (
    PHASES,
    STOPS,
    SWEEP,
    TRAIN,
    assert_same,
    finish,
    interrupted,
    mostly_evaluation,
    start,
    stay_the_same,
    untouched,
    wait_for,
)

pytestmark = pytest.mark.thorough

LONG = (*TRAIN, "--epochs=2000", "--checkpoint_seconds=30")  # the last flag of a name counts
# A stop alone saves here:
RUNS = {
    "train": (*TRAIN, "--epochs=300", "--checkpoint_seconds=3600"),
    "sweep": (*SWEEP, "--epochs=100", "--checkpoint_seconds=3600"),
}
# A stop leaves after the current step or evaluation is done and saved. Here that takes far less than 2 s, most of which
# loads Orbax. The rest is for a machine that has other things to do.
BOUND = 20.0

each_stop = pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)


@each_stop
def test_a_training_saves_and_leaves_within_seconds(train, compiled, tmp_path, number):
    folder = tmp_path / "a b;c"  # a name that a shell line must quote
    process = start(LONG, folder, compiled=compiled)
    wait_for(process, lambda: len(TrialFolder(folder).metrics()) >= 2)
    assert TrialFolder(folder).checkpoints().steps() == []  # none before 30 seconds have passed
    sent = time.monotonic()
    process.send_signal(number)
    _, err = finish(process, 128 + number)
    assert time.monotonic() - sent < BOUND
    assert f"--workdir={folder}" in shlex.split(interrupted(err, number))
    assert len(TrialFolder(folder).checkpoints().steps()) == 1


@pytest.mark.slow
def test_an_epoch_in_one_program_saves_and_leaves_within_seconds(compiled, tmp_path):
    """An epoch of 60,000 steps in pieces of a program: a checkpoint and a stop wait for a piece, not for the epoch."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60_000, 16, 16, 1), dtype=np.uint8)
    labels = random.integers(0, 10, 60_000)
    arrays = {"x_train": images, "y_train": labels, "x_test": images[:100], "y_test": np.arange(100) % 10}
    np.savez(tmp_path / "many.npz", **arrays)
    folder = tmp_path / "work"
    flags = ("--blocks=0", "--hidden=2048", "--batch_size=1", "--epochs=1", "--checkpoint_seconds=1")
    process = start(("train", f"--dataset={tmp_path / 'many.npz'}", *flags), folder, compiled=compiled)
    wait_for(process, lambda: TrialFolder(folder).checkpoints().steps())
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = finish(process, 143)
    assert time.monotonic() - sent < BOUND  # half a second on two busy cores, where the epoch takes 40
    assert interrupted(err)
    assert 0 < max(TrialFolder(folder).checkpoints().steps()) < 60_000


@pytest.mark.slow
def test_an_evaluation_on_two_devices_stops_between_its_batches(compiled, tmp_path, monkeypatch):
    """What the line names ends as an untouched run."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    run = mostly_evaluation(tmp_path)
    finish(start(run, tmp_path / "whole", compiled=compiled))
    folder = tmp_path / "cut"
    process = start(run, folder, compiled=compiled)
    wait_for(process, lambda: TrialFolder(folder).metrics())
    time.sleep(0.3)
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = finish(process, 143)
    assert time.monotonic() - sent < BOUND
    assert TrialFolder(folder).checkpoints().steps() == [len(TrialFolder(folder).metrics()) + 1]  # not evaluated
    subprocess.run(interrupted(err), shell=True, check=True, capture_output=True, timeout=300)
    assert_same(folder, tmp_path / "whole")


def test_what_the_line_names_continues_to_the_same_bits(train, compiled, tmp_path):
    folder = tmp_path / "a b;c"
    process = start(TRAIN, folder, compiled=compiled)
    wait_for(process, lambda: TrialFolder(folder).checkpoints().steps())
    process.send_signal(signal.SIGTERM)
    _, err = finish(process, 143)
    subprocess.run(interrupted(err), shell=True, check=True, capture_output=True, timeout=300)
    assert_same(folder, train.folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("module", ["experiments", "absl", "numpy", "jaxlib"])
def test_a_stop_while_modules_are_imported_is_one_line(compiled, tmp_path, monkeypatch, number, module):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # a line for each module that has been imported
    process = start(LONG, tmp_path / "w", compiled=compiled)
    imported = (line.rpartition("|")[2].strip() for line in process.stderr)
    begins = ("experiments.command", "experiments.command.memory")  # before the process is a command's
    next(name for name in imported if name.split(".")[0] == module and name not in begins)
    process.send_signal(number)
    lines = [line for line in process.stderr if "|" not in line]
    finish(process, 128 + number)
    assert len(lines) == 1 and f"--workdir={tmp_path / 'w'}" in shlex.split(interrupted(lines[0], number)), lines


# Where Python ignores what a handler raises, and where the main thread runs no handler at all.
BUSY = {
    "a destructor": """
class Busy:
    def __del__(self):
        sum(range(10**6))
while True:
    Busy()""",
    "a callback of the garbage collection": """
import gc
gc.callbacks.append(lambda phase, found: sum(range(10**6)))
while True:
    gc.collect()""",
    "an event loop with a wakeup descriptor of its own": """
import signal
signal.set_wakeup_fd(-1)
while True:
    pass""",
    "a long call outside Python": """
import ctypes
for _ in range(100):
    ctypes.CDLL(None).sleep(600)
    [ctypes.CDLL(None).sleep(600) for _ in range(100)]  # in C again before""",
}
OWN = "import experiments\nexperiments.own_process()\nprint('ready', flush=True)\n"


@pytest.fixture
def own(tmp_path):
    """Starts a process that is a command's and does what the code says."""

    def start(code, *before):
        file = tmp_path / "own.py"
        file.write_text(OWN + code)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([*before, sys.executable, "-W", "error", str(file)], **pipes)
        assert process.stdout.readline() == "ready\n"
        return process

    return start


def left(process, number):
    """Wait for a process that a stop must end, with its status and one line."""
    _, err = process.communicate(timeout=BOUND)
    assert process.returncode == 128 + number and interrupted(err, number) and err.count("\n") == 1, err


@each_stop
@pytest.mark.parametrize("where", BUSY)
def test_no_stop_is_swallowed(own, where, number):
    process = own(BUSY[where])
    time.sleep(0.1)
    process.send_signal(number)
    left(process, number)


DELAYING = """
import time
from cnn.training.interrupt import Interrupt
with Interrupt() as interrupt:
    print("delayed", flush=True)
    while not interrupt.is_asked():
        time.sleep(0.01)
    print("asked", flush=True)
    time.sleep(LATER)
"""


@pytest.mark.parametrize("later", ["0", "600"], ids=["the end", "a second stop"])
def test_a_delayed_stop_leaves_at_the_end_or_at_a_second_stop(own, later):
    process = own(DELAYING.replace("LATER", later))
    assert process.stdout.readline() == "delayed\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked\n"
    if later != "0":
        process.send_signal(signal.SIGTERM)
    left(process, signal.SIGTERM)


FULL = """
import os
os.set_blocking(2, False)
try:
    while True:
        os.write(2, bytes(4096))
except BlockingIOError:
    os.set_blocking(2, True)
print("full", flush=True)
input()
"""


def test_a_stop_waits_for_no_reader_of_its_line(own):
    process = own(FULL)
    assert process.stdout.readline() == "full\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=BOUND) == 143
    process.communicate()


def test_a_signal_that_is_ignored_from_the_start_stays_ignored(own):
    process = own("print(input())\nexperiments.end(0)", "nohup")
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate("still here\n", timeout=BOUND)
    assert (process.returncode, out) == (0, "still here\n")


def test_on_a_terminal_the_line_comes_after_the_bar_and_the_cursor_is_shown(train, compiled, tmp_path):
    terminal, end = pty.openpty()
    begin = f"os.dup2({end}, 2); os.environ['TERM'] = 'xterm'"
    process = start(LONG, tmp_path, compiled=compiled, first=begin, pass_fds=[end])
    os.close(end)
    wait_for(process, lambda: len(TrialFolder(tmp_path).metrics()) >= 50)
    process.send_signal(signal.SIGINT)
    shown = b""
    while b"continues: " not in shown or not shown.endswith(b"\n"):
        shown += os.read(terminal, 4096)
    assert process.wait(timeout=BOUND) == 130
    text = shown.decode()
    assert "━" in text and text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    last = text.splitlines()[-1]
    assert last.startswith("interrupted; this continues: ") and last.isprintable()
    process.communicate()


def stop_at_random(run, whole, tmp_path, compiled, seed, stops):
    """Real processes, stopped at random moments; what they left is said, with the numbers."""
    print(f"seed {seed}")
    stopped = stay_the_same(RUNS[run], tmp_path, whole.folder, compiled, random.Random(seed), 1.0, stops)
    seconds = [stop.seconds for stop in stopped]
    phases = ", ".join(f"{sum(stop.phase == phase for stop in stopped)} {phase}" for phase in PHASES)
    saving = sum(stop.saved for stop in stopped)
    print(f"{run}: {len(stopped)} stops ({phases}), of which {saving} saved")
    print(f"seconds until it left: median {statistics.median(seconds):.2f}, most {max(seconds):.2f}")
    assert {stop.phase for stop in stopped} == PHASES.keys() and saving >= stops // 10
    assert {sum(stop.number == number for stop in stopped) for number in STOPS} == {stops // len(STOPS)}
    assert max(seconds) < BOUND


@pytest.fixture(scope="module")
def whole(tmp_path_factory, compiled):
    """The runs that no stop disturbed, each when it is first asked for."""
    kept = {}

    def of(run):
        if run not in kept:
            kept[run] = untouched(RUNS[run], tmp_path_factory, compiled)
        return kept[run]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_each_signal_5_times_at_random_moments(whole, compiled, tmp_path, run):
    stop_at_random(run, whole(run), tmp_path, compiled, seed=2, stops=15)


@pytest.mark.long
@pytest.mark.parametrize("run", RUNS)
def test_each_signal_50_times_at_random_moments(whole, compiled, tmp_path, run):
    stop_at_random(run, whole(run), tmp_path, compiled, seed=random.SystemRandom().randrange(2**32), stops=150)
