"""Two processes of one program: they leave what one process leaves; each is killed, each is stopped, and they go on."""

import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from cnn.training.folder import TrialFolder
from tests.faults.harness import (
    SWEEP,
    TRAIN,
    assert_same,
    finish,
    is_time,
    mostly_evaluation,
    saved,
    start,
    trained,
    wait_for,
)

pytestmark = [pytest.mark.thorough, pytest.mark.slow]
LONG = (*TRAIN[:-1], "--epochs=30", "--checkpoint_seconds=0")
IN_TIME = 15  # seconds in which a process must end once the other one has; about 8 without other work on the machine
SHORTLY = """
import sys, runpy
import experiments
from cnn import meeting
experiments.own_process()
meeting.SECONDS = 3
sys.argv = sys.argv[1:]
runpy.run_module(f"experiments.{sys.argv[0]}", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(autouse=True, scope="module")
def computer_has_an_address():
    try:
        socket.gethostbyname(socket.gethostname())
    except OSError:
        pytest.skip("the name of this computer has no address, by which processes on CPUs meet")


def free_port():
    """A port that nobody uses, outside of those that systems give to whoever asks for any."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port


def flags(number, port, count=2):
    return f"--coordinator_address=127.0.0.1:{port}", f"--num_processes={count}", f"--process_id={number}"


def pair(run, folder, compiled):
    """Process 0 and process 1 of a run."""
    port = free_port()
    return [start(run, folder, *flags(number, port), compiled=compiled) for number in (0, 1)]


def whole(run, folder, compiled):
    """What two untouched processes say; process 1 is silent."""
    leader, other = pair(run, folder, compiled)
    out, _ = finish(leader)
    assert finish(other) == ("", "")
    return out


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, compiled):
    """The work folders of a training and a sweep by two processes that nobody disturbed."""
    folder = tmp_path_factory.mktemp("two")
    for name, run in {"train": LONG, "sweep": SWEEP}.items():
        out = whole(run, folder / name, compiled)
        assert f"Page: {folder / name / 'report.html'}" in out
    return folder


def test_a_training_is_that_of_one_process(compiled, tmp_path):
    run = (*TRAIN, "--epochs=2")
    finish(start(run, tmp_path / "one", compiled=compiled))
    whole(run, tmp_path / "two", compiled)
    one, two = (load_file(tmp_path / name / "trained.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, atol=1e-6, err_msg=name)
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    assert result["devices"] == 2 and result["same_machine"]
    names = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert names[0] == names[1]
    assert len((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_sweep_is_that_of_one_process(untouched, sweep):
    one, two = (pd.read_csv(folder / "results.csv") for folder in (sweep.folder, untouched / "sweep"))
    assert list(one.columns) == list(two.columns) and len(one) == len(two)
    differ = ("machine", "devices", "jax", "device")
    for name in one.columns:
        if name.endswith("accuracy"):
            np.testing.assert_allclose(two[name], one[name], atol=0.01, err_msg=name)
        elif not is_time(name) and name not in differ:
            pd.testing.assert_series_equal(two[name], one[name])
    assert set(two["devices"]) == {2}
    trials = [sorted(path.name for path in folder.glob("trials/*")) for folder in (sweep.folder, untouched / "sweep")]
    assert trials[0] == trials[1]


def lose(processes, victim):
    """Kill one of two; the other one says so in its last line and ends with status 1. How long that took."""
    survivor = processes[1 - victim]
    processes[victim].kill()
    killed = time.monotonic()
    out, err = survivor.communicate(timeout=IN_TIME)
    took = time.monotonic() - killed
    assert survivor.returncode == 1, err
    *before, line = err.splitlines()
    assert line.startswith(f"error: process {victim} of 2 has ended; this continues: "), err
    assert not any("error" in line.lower() or "Traceback" in line or "***" in line for line in before), err
    assert victim == 1 or (out, before) == ("", [])
    processes[victim].communicate(timeout=60)
    assert processes[victim].returncode == -signal.SIGKILL
    print(f"process {victim} killed: the other ended after {took:.1f} s")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_training_of_which_one_process_is_killed(untouched, compiled, tmp_path, victim):
    folder = tmp_path / "w"
    both = pair(LONG, folder, compiled)
    wait_for(both[0], lambda: len(saved(folder)) > 1)
    lose(both, victim)
    whole(LONG, folder, compiled)
    assert_same(folder, untouched / "train")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_sweep_of_which_one_process_is_killed(untouched, compiled, tmp_path, victim):
    """After its first trials have ended, so in a later one, or between two."""
    folder = tmp_path / "w"
    both = pair(SWEEP, folder, compiled)
    wait_for(both[0], lambda: list(folder.glob("trials/*/result.json")))
    lose(both, victim)
    whole(SWEEP, folder, compiled)
    assert_same(folder, untouched / "sweep")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_is_killed_while_both_compile(untouched, tmp_path, victim):
    folder = tmp_path / "w"
    both = pair(LONG, folder, tmp_path / "nothing compiled")
    wait_for(both[0], lambda: (folder / ".writer.json").exists())
    lose(both, victim)
    whole(LONG, folder, tmp_path / "nothing compiled")
    assert_same(folder, untouched / "train")


@pytest.mark.parametrize(
    "asked, number, word",
    [
        ((0,), signal.SIGTERM, "interrupted"),
        ((1,), signal.SIGTERM, "interrupted"),
        ((0, 1), signal.SIGTERM, "interrupted"),
        ((1,), signal.SIGHUP, "the terminal was closed"),
    ],
)
def test_a_stop_of_any_process_saves_and_ends_both(untouched, compiled, tmp_path, asked, number, word):
    folder = tmp_path / "w"
    run = (*LONG[:-1], "--checkpoint_seconds=1000")
    both = pair(run, folder, compiled)
    since = time.time()
    wait_for(both[0], lambda: trained(both[0], folder, since - 60) and (folder / "metrics.jsonl").stat().st_size)
    for place in asked:
        both[place].send_signal(number)
    _, err = finish(both[0], 128 + number)
    assert err.splitlines()[-1].startswith(f"{word}; this continues: ")
    assert finish(both[1], 128 + number) == ("", "")
    assert len(saved(folder)) == 1
    whole(run, folder, compiled)
    assert_same(folder, untouched / "train")


def test_a_stop_in_an_evaluation_ends_both_between_its_batches(compiled, tmp_path):
    run = mostly_evaluation(tmp_path)
    whole(run, tmp_path / "whole", compiled)
    folder = tmp_path / "cut"
    both = pair(run, folder, compiled)
    wait_for(both[0], lambda: TrialFolder(folder).metrics())
    time.sleep(0.3)
    both[0].send_signal(signal.SIGTERM)
    for process in both:
        finish(process, 143)
    assert TrialFolder(folder).checkpoints().steps() == [len(TrialFolder(folder).metrics()) + 1]  # not evaluated
    whole(run, folder, compiled)
    assert_same(folder, tmp_path / "whole")


def test_a_stop_before_there_is_work_to_lose(tmp_path):
    """Process 1 is asked while both load, meet or compile; both end at once."""
    folder = tmp_path / "w"
    both = pair(LONG, folder, tmp_path / "nothing compiled")
    wait_for(both[0], lambda: (folder / ".writer.json").exists())
    both[1].send_signal(signal.SIGTERM)
    finish(both[0], 143)
    assert finish(both[1], 143) == ("", "")


@pytest.mark.parametrize("number", [0, 1])
def test_the_others_do_not_come(tmp_path, number):
    port = free_port()
    command = [sys.executable, "-W", "error", "-c", SHORTLY, "train", f"--workdir={tmp_path / 'w'}"]
    done = subprocess.run([*command, *flags(number, port)], capture_output=True, text=True, timeout=120)
    said = f"coordinator_address='127.0.0.1:{port}': the processes have not met there within 3 seconds"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {said}\n")
    assert list(tmp_path.iterdir()) == []


def test_processes_that_have_different_data_do_not_train(compiled, tmp_path):
    """Both files have the same name and shapes; the labels of process 1 are permuted."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (256, 8, 8), np.uint8)
    labels = np.arange(256) % 4
    port = free_port()
    both = []
    for number in (0, 1):
        place = tmp_path / str(number)
        place.mkdir()
        own = random.permutation(labels) if number else labels
        np.savez(place / "d.npz", x_train=images, y_train=own, x_test=images, y_test=labels)
        run = ("train", "--dataset=d.npz", "--epochs=1", "--blocks=1", "--width=4")
        folder = "/proc/none" if number else tmp_path / "w"  # which process 0 alone writes
        both.append(start(run, folder, *flags(number, port), compiled=compiled, cwd=place))
    out, err = both[1].communicate(timeout=IN_TIME)
    said = "dataset='d.npz': must be the data set that process 0 has; this process has other images or labels"
    assert (both[1].returncode, out, err) == (2, "", f"error: {said}\n")
    _, err = finish(both[0], 1)
    assert err.splitlines()[-1].startswith("error: process 1 of 2 has ended; this continues: ")
    assert not (tmp_path / "w" / "result.json").exists()


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-W", "error", "-m", "experiments.train", f"--workdir={tmp_path / 'w'}"]
        done = subprocess.run([*command, *flags(0, port)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"coordinator_address='127.0.0.1:{port}': must be HOST:PORT of process 0, with a free port" in done.stderr
    assert list(tmp_path.iterdir()) == []
