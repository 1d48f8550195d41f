import os
import signal
import threading

import pytest

from cnn.training.interrupt import WAITING, Interrupt


@pytest.fixture
def noted():
    """Handlers of the test's own, which write down what reaches them."""
    numbers = []
    before = {number: signal.signal(number, lambda number, frame: numbers.append(number)) for number in WAITING}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", WAITING)
def test_the_first_signal_waits_for_the_end(noted, number):
    with Interrupt() as interrupt:
        assert not interrupt.asked
        os.kill(os.getpid(), number)
        assert interrupt.asked and noted == []
    assert noted == [number]
    os.kill(os.getpid(), number)
    assert noted == [number, number]


def test_the_second_takes_effect_at_once(noted):
    with Interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert noted == [signal.SIGINT]
    assert noted == [signal.SIGINT]


def test_an_error_comes_before_a_waiting_signal(noted):
    with pytest.raises(OSError, match="full"), Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        raise OSError("full")
    assert noted == []


def test_without_a_signal_nothing_happens(noted):
    with Interrupt():
        pass
    assert noted == []


def test_other_threads_change_nothing(noted):
    def work():
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interrupt.asked

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert noted == [signal.SIGINT]
