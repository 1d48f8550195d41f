"""What the tests of the data layer share."""

import tempfile

import pytest

from cnn.progress import Progress, Work


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


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch):
    """Temporary files go to a folder of the test, since each builder of TFDS leaves an empty folder behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("scratch")))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
