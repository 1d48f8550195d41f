"""What tests of several rooms share."""

import os
import time
from pathlib import Path

import hypothesis
import pytest

from cnn.progress import Progress, Work

# The same examples in each run: a test fails for what was changed, not by chance.
hypothesis.settings.register_profile("same examples", derandomize=True)
hypothesis.settings.load_profile("same examples")


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """The folder with real prepared MNIST and CIFAR-10."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder:
        pytest.skip("TFDS_DATA_DIR is not set")
    for name in ("mnist", "cifar10"):
        if not (Path(folder) / name).is_dir():
            pytest.skip(f"TFDS_DATA_DIR={folder} holds no {name}")
    return Path(folder)


@pytest.fixture(scope="session")
def shared_cache(pytestconfig, tmp_path_factory) -> Path:
    """The cache folder of the commands that tests start: of all of them, in every worker, and of the next run too."""
    if not hasattr(pytestconfig, "cache"):
        return tmp_path_factory.mktemp("commands")
    return Path(pytestconfig.cache.mkdir("commands"))


class Clock:
    """What time it is, as a test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The clock of this process, which a test sets."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


class Recorder(Progress):
    """A progress that keeps its lines and its tasks for the test."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tasks: list[Work] = []

    def task(self, label: str, total: int, done: int = 0) -> Work:
        self.tasks.append(super().task(label, total, done))
        return self.tasks[-1]

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
