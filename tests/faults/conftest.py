import signal

import pytest

from tests.faults.harness import STOPS, SWEEP, TRAIN, end_all, untouched


@pytest.fixture(scope="session")
def compiled(shared_cache):
    """Where the runs of these tests keep what they have compiled."""
    return shared_cache / "faults"


@pytest.fixture(scope="session", autouse=True)
def signals_reach_children():
    """A test run in the background may have been told to ignore signals; children of this process then do so too."""
    before = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in before.items():
        if handler == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    end_all()


@pytest.fixture(scope="session")
def train(tmp_path_factory, compiled):
    return untouched(TRAIN, tmp_path_factory, compiled)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory, compiled):
    return untouched(SWEEP, tmp_path_factory, compiled)
