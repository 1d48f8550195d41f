"""What tests of studies share."""

from typing import NamedTuple

import pytest

from cnn.data import datasets
from cnn.study import executors
from cnn.study.finished import Results
from tests.study.small import Said, run, study


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits")


class Whole(NamedTuple):
    """A small study that really ran to its end."""

    results: Results
    said: Said
    ran: list[str]  # the folders of the trials that ran, by phase, depth, rate and seed


@pytest.fixture(scope="session")
def whole(digits, tmp_path_factory):
    said = Said()
    with pytest.MonkeyPatch.context() as patch:
        ran = count(patch)
        results = run(study(digits), tmp_path_factory.mktemp("whole"), progress=said)
    return Whole(results, said, ran)


@pytest.fixture
def counted(monkeypatch):
    """The trials that really run."""
    return count(monkeypatch)


def count(patch):
    ran = []
    real = executors.run_together

    def run_together(session, prepared, configs, folders, options, progress):
        ran.extend(folder.path.name for folder in folders)
        return real(session, prepared, configs, folders, options, progress)

    patch.setattr(executors, "run_together", run_together)
    return ran
