import time
from typing import NamedTuple

import pytest

from tests.faults import harness


class Untouched(NamedTuple):
    """A run that nobody disturbed: its folder, and how long it takes with everything compiled."""

    folder: object
    seconds: float


@pytest.fixture(scope="session")
def compiled(shared_cache):
    """Where the runs of these tests keep what they have compiled."""
    return shared_cache / "faults"


def untouched(run, tmp_path_factory, compiled):
    folders = [tmp_path_factory.mktemp("untouched") / name for name in ("cold", "warm")]
    for folder in folders:
        started = time.monotonic()
        harness.finish(harness.start(run, folder, compiled=compiled))
    harness.assert_same(*folders)  # the same command gives the same numbers twice
    return Untouched(folders[1], time.monotonic() - started)


@pytest.fixture(scope="session")
def train(tmp_path_factory, compiled):
    return untouched(harness.TRAIN, tmp_path_factory, compiled)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory, compiled):
    return untouched(harness.SWEEP, tmp_path_factory, compiled)
