"""What the processes of a program tell each other, on a store in memory."""

import re
import signal
import threading
import time

import numpy as np
import pytest

from cnn import processes
from cnn.errors import RequestError
from cnn.meeting import Place, meet
from cnn.processes import Crew, Events, Message


class Store:
    """The key-value store of JAX's coordinator, as far as a crew uses it."""

    def __init__(self):
        self.values = {}
        self.changed = threading.Condition()

    def key_value_set_bytes(self, key, value):
        with self.changed:
            assert key not in self.values
            self.values[key] = value
            self.changed.notify_all()

    def key_value_set(self, key, value, allow_overwrite):
        with self.changed:
            self.values[key] = value

    def blocking_key_value_get_bytes(self, key, milliseconds):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.values, milliseconds / 1000):
                raise RuntimeError("DEADLINE_EXCEEDED")
            return self.values[key]

    def key_value_dir_get(self, key):
        with self.changed:
            return [(name, value) for name, value in self.values.items() if name.startswith(key)]

    def key_value_delete(self, key):
        with self.changed:
            self.values = {name: value for name, value in self.values.items() if not name.startswith(f"{key}/")}


class Heard:
    """The events of one process."""

    def __init__(self):
        self.told = []
        self.events = Events(
            lost=lambda text: self.told.append(("lost", text)),
            ended=lambda status, text: self.told.append(("ended", status, text)),
            stop=lambda number: self.told.append(("stop", number)),
        )

    def wait_for(self, *event):
        end = time.monotonic() + 60
        while event not in self.told:
            assert time.monotonic() < end, self.told
            time.sleep(0.01)


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def crews(store):
    """Crews of so many processes, each with the events that it heard; they end with the test."""
    made = []

    def make(count):
        made.extend((Crew(store, number, count, heard.events), heard) for number, heard in enumerate(_heard(count)))
        return list(made)

    yield make
    for crew, _ in made:
        crew.give_up()


def _heard(count):
    return [Heard() for _ in range(count)]


def test_messages_come_whole_and_in_order(crews, monkeypatch):
    monkeypatch.setattr(processes, "CHUNK", 1000)
    (leader, _), (follower, _) = crews(2)
    arrays = (np.arange(3000).reshape(2, 1500), np.array(np.nan, np.float32), np.zeros(0, bool), np.array([-0.0, 0.0]))
    leader.tell("first", {"deep": {"rates": [1e-3, None]}}, arrays)
    assert leader.tell("second", {}) == 1
    heard = follower.hear()
    assert (heard.kind, heard.values) == (
        "first",
        {"deep": {"rates": [1e-3, None]}, "failed": -1},
    ) and follower.heard == 0
    assert [(array.dtype, array.tobytes()) for array in heard.arrays] == [(a.dtype, a.tobytes()) for a in arrays]
    follower.hear_again(heard)
    assert follower.hear() is heard and follower.heard == 0
    assert follower.hear().kind == "second" and follower.heard == 1
    with pytest.raises(TimeoutError):
        follower.hear(seconds=0.1)


def test_what_all_have_heard_is_forgotten(crews, store):
    (leader, _), (first, _), (second, _) = crews(3)
    for number in range(3):
        leader.tell("told", {"number": number})
    for follower in (first, first, second):
        follower.hear()
    end = time.monotonic() + 60
    while "conv-relu-pool/said/0/0" in store.values and time.monotonic() < end:
        time.sleep(0.01)
    assert sorted(name for name in store.values if "said" in name) == [f"conv-relu-pool/said/{n}/0" for n in (1, 2)]


def test_the_end_of_process_0_ends_the_others_with_its_status(crews):
    (leader, own), *others = crews(3)
    leader.end(143)
    for _, heard in others:
        heard.wait_for("ended", 143, "")
    assert own.told == []


def test_a_stop_reaches_process_0_once(crews):
    (leader, heard), (first, _), (second, _) = crews(3)
    first.forward(signal.SIGTERM)
    heard.wait_for("stop", signal.SIGTERM)
    second.forward(signal.SIGTERM)
    time.sleep(3 * processes.LOOK)
    assert leader.stop == signal.SIGTERM and heard.told == [("stop", signal.SIGTERM)]


def test_one_that_ends_by_itself_ends_all(crews):
    (_, heard), (first, own), (_, other) = crews(3)
    first.end(2)
    heard.wait_for("lost", "process 1 of 3 has ended")
    other.wait_for("ended", 1, "process 1 of 3 has ended")
    assert own.told == []


@pytest.mark.parametrize("silent, watching", [(0, 1), (1, 0)])
def test_one_that_shows_no_life_is_lost(store, monkeypatch, silent, watching):
    monkeypatch.setattr(processes, "PATIENCE", 1.0)
    heard = Heard()
    store.key_value_set(f"conv-relu-pool/now/alive/{silent}", "1 0", allow_overwrite=True)
    crew = Crew(store, watching, 2, heard.events)
    threading.Thread(target=crew.require_all, daemon=True).start()
    heard.wait_for("lost", f"process {silent} of 2 has ended")
    assert heard.told == [("lost", f"process {silent} of 2 has ended")]


def test_all_that_live_are_found_alive(crews):
    (leader, heard), *_ = crews(2)
    leader.require_all()
    assert heard.told == []


def test_nothing_that_travels_is_pickled():
    with pytest.raises(ValueError, match="pickle"):
        Message.from_bytes(Message("bad", {}, (np.array([{}], dtype=object),)).to_bytes())


def test_one_process_meets_nobody():
    assert meet(Place("nowhere:1", 1, 0), Heard().events) is None
    assert processes.crew() is None and processes.stop_asked() is None


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "a" * 64])
def test_an_address_that_cannot_be_found(host):
    with pytest.raises(
        RequestError, match=re.escape(f"coordinator_address='{host}:1': must be HOST:PORT of process 0")
    ):
        meet(Place(f"{host}:1", 2, 0), Heard().events)
