"""What the tests of the data layer share."""

import tempfile

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
