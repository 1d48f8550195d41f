"""Cores that come and go: with the threads fixed by NPROC no bit changes; without, the result says so."""

import contextlib
import json
import os
import signal
import time

import pytest

from cnn.training.folder import TrialFolder
from tests.faults.harness import TRAIN, assert_same, finish, start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not choose cores for a process"),
]

RUN = (*TRAIN, "--width=16", "--hidden=32")  # so wide that XLA divides its sums among its threads
ONE_CORE = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"


def wait_for_checkpoint(process, folder):
    while not TrialFolder(folder).checkpoints().steps():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.delenv("PJRT_NPROC", raising=False)
    monkeypatch.setenv("NPROC", "2")


@pytest.fixture
def whole(two_threads, compiled, tmp_path):
    finish(start(RUN, tmp_path / "whole", compiled=compiled))
    return tmp_path / "whole"


def test_one_core_gives_the_bits_of_all_cores(whole, compiled, tmp_path):
    finish(start(RUN, tmp_path / "w", compiled=compiled, first=ONE_CORE))
    assert_same(tmp_path / "w", whole)


def test_a_run_may_lose_cores_while_it_computes_and_between_two_starts(whole, compiled, tmp_path):
    process = start(RUN, tmp_path / "w", compiled=compiled)
    wait_for_checkpoint(process, tmp_path / "w")
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        with contextlib.suppress(ProcessLookupError):  # a thread may have ended since it was listed
            os.sched_setaffinity(int(thread), {min(os.sched_getaffinity(0))})
    finish(process)
    assert_same(tmp_path / "w", whole)
    process = start(RUN, tmp_path / "cut", compiled=compiled)
    wait_for_checkpoint(process, tmp_path / "cut")
    process.send_signal(signal.SIGTERM)
    finish(process, 143)
    finish(start(RUN, tmp_path / "cut", compiled=compiled, first=ONE_CORE))
    assert_same(tmp_path / "cut", whole)
    assert result(tmp_path / "cut")["same_machine"] is True


def test_another_number_of_threads_is_said_and_marked(two_threads, compiled, tmp_path, monkeypatch):
    process = start(RUN, tmp_path / "w", compiled=compiled)
    wait_for_checkpoint(process, tmp_path / "w")
    process.send_signal(signal.SIGTERM)
    finish(process, 143)
    monkeypatch.setenv("NPROC", "1")
    _, err = finish(start(RUN, tmp_path / "w", compiled=compiled))
    assert "continued on another machine, so the bits may differ (cores: 2, now 1)" in err
    assert result(tmp_path / "w")["same_machine"] is False
