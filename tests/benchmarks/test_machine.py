import json
import os
import subprocess
import sys

import jax
import pytest

from benchmarks.describe import PACKAGES, describe
from cnn.backends import PRECISIONS
from cnn.machine import NUMBER_OF_THREADS

pytestmark = pytest.mark.thorough


@pytest.fixture(autouse=True)
def no_number_of_threads(monkeypatch):
    for name in NUMBER_OF_THREADS:
        monkeypatch.delenv(name, raising=False)


def test_the_machine_and_the_versions_are_named():
    description = describe()
    assert description["jax"] == jax.__version__ and description["cores"] == len(os.sched_getaffinity(0))
    assert description["python"] == sys.version.split()[0]
    assert set(PACKAGES) <= set(description)


def test_pytorch_has_a_thread_for_each_core_that_it_may_use():
    """Whatever PyTorch itself would take: for a part of the cores too."""
    pytest.importorskip("torch")
    allowed = os.sched_getaffinity(0)
    try:
        for cores in (allowed, {min(allowed)}):
            os.sched_setaffinity(0, cores)
            description = describe()
            assert description["torch_threads"] == len(cores) == description["cores"]
    finally:
        os.sched_setaffinity(0, allowed)


def test_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.machine", "--repeats=1"]
    done = subprocess.run([*command, f"--output={tmp_path / 'm.json'}"], capture_output=True, text=True, check=True)
    written = json.loads((tmp_path / "m.json").read_text())
    assert all(written["gflop_per_second"][precision] > 0 for precision in PRECISIONS)
    assert written["machine"]["jax"] == jax.__version__ and written["settings"]["repeats"] == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(written["machine"]) + len(PRECISIONS)
