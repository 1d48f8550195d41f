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
        assert not interrupt.is_asked()
        os.kill(os.getpid(), number)
        assert interrupt.is_asked() and noted == []
    assert noted == [number]
    os.kill(os.getpid(), number)
    assert noted == [number, number]


def test_the_second_takes_effect_at_once(noted):
    with Interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert noted == [signal.SIGINT]
    assert noted == [signal.SIGINT]


def test_a_failed_save_comes_before_a_waiting_signal(noted):
    with pytest.raises(OSError, match="full"), Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        raise OSError("full")
    assert noted == []


def test_no_other_error_hides_a_waiting_signal(noted):
    """A study records the failure of a trial and goes on with the next one."""
    with pytest.raises(ValueError, match="nan"), Interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("nan")
    assert noted == [signal.SIGTERM]


@pytest.mark.parametrize("number", WAITING)
def test_a_signal_while_the_end_restores_the_handlers_is_not_lost(noted, number):
    class Late(Interrupt):
        def _restore(self):
            signal.raise_signal(number)
            super()._restore()

    with Late():
        pass
    assert noted == [number]


def test_an_ignored_signal_stays_ignored(noted):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        assert not interrupt.is_asked()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN and noted == []


def test_where_it_is_allowed_a_stop_takes_effect_at_once(noted):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        with interrupt.allowed():
            assert noted == [signal.SIGINT] and not interrupt.is_asked()
            os.kill(os.getpid(), signal.SIGTERM)
            assert noted == [signal.SIGINT, signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.is_asked() and noted == [signal.SIGINT, signal.SIGTERM]
    assert noted == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def test_an_error_where_stops_are_allowed_passes(noted):
    with pytest.raises(ValueError, match="measured"), Interrupt() as interrupt, interrupt.allowed():
        raise ValueError("measured")
    os.kill(os.getpid(), signal.SIGINT)
    assert noted == [signal.SIGINT]


def test_python_raises_as_it_does_without_us():
    """In a notebook, where the handler is Python's own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.is_asked()
    signal.signal(signal.SIGINT, before)


def test_without_a_signal_nothing_happens(noted):
    with Interrupt():
        pass
    assert noted == []


def test_other_threads_change_nothing(noted):
    def work():
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interrupt.is_asked()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert noted == [signal.SIGINT]
