"""What the tests of the data layer share."""

import os
import tempfile
from pathlib import Path

import pytest

from cnn.progress import Progress, Task


class Recorder(Progress):
    """Keeps the sentences and the tasks."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tasks: list[Task] = []

    def task(self, label: str, total: int, done: int = 0) -> Task:
        self.tasks.append(super().task(label, total, done))
        return self.tasks[-1]

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch):
    """TFDS leaves an empty folder among the temporary files for each builder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("scratch")))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


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
