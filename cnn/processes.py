"""Several processes of one program: which of them this one is, what process 0 tells the others, and who is still there.

JAX's distributed runtime joins them (`jax.distributed`), and all devices of all processes are then one mesh. Process 0
alone decides what is done, and reads and writes the work folder. It tells the others each program before it runs it,
and they run the same ones in the same order (`cnn.training.loops.leading`, `cnn.training.following`). So nobody has to
agree on anything, and a stop needs no vote. What is told goes through the key-value store of JAX's coordinator. There
each process also shows that it lives: nobody waits in a collective for what process 0 says, or for one that has ended.

With one process there is no crew, and nothing here has an effect.

Example:
    >>> crew() is None, stop_asked() is None
    (True, True)
    >>> message = Message("steps", {"count": 3}, (np.arange(2),))
    >>> Message.from_bytes(message.to_bytes())
    Message(kind='steps', values={'count': 3}, arrays=(array([0, 1]),))
"""

import contextlib
import io
import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

LOOK = 0.25  # seconds between two signs of life
PATIENCE = 8.0  # seconds without a sign of life, after which a process counts as gone
SUSPENDED = 2.0  # seconds between two looks after which this process itself has slept, and blames nobody
CHUNK = 4 * 2**20  # bytes that the store takes at once
_NOW = "conv-relu-pool/now/"  # in the store: `alive/NUMBER`, `left/NUMBER`, `stop` and `end`
_SAID = "conv-relu-pool/said"  # in the store: the messages


class Message(NamedTuple):
    """What process 0 tells the others: plain values, and arrays."""

    kind: str
    values: dict[str, Any]
    arrays: tuple[np.ndarray, ...] = ()

    def to_bytes(self) -> bytes:
        """The message as it travels. Nothing in it is pickled."""
        buffer = io.BytesIO()
        head = json.dumps([self.kind, self.values]).encode()
        np.savez(buffer, np.frombuffer(head, np.uint8), *self.arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Message":
        """The message that travelled so."""
        with np.load(io.BytesIO(content), allow_pickle=False) as parts:
            head, *arrays = (parts[f"arr_{place}"] for place in range(len(parts.files)))
        kind, values = json.loads(head.tobytes())
        return cls(kind, values, tuple(arrays))


@dataclass(frozen=True)
class Events:
    """What a process does when another one asks for something, or is gone. Each is called in a thread of its own.

    Args:
        lost: another process is gone, as the text says; must end this one.
        ended: process 0 ends with a status, and says this text if something is wrong; must end this one.
        stop: another process was asked to stop, by the signal of this number; called on process 0 alone.
    """

    lost: Callable[[str], None]
    ended: Callable[[int, str], None]
    stop: Callable[[int], None]


class _Sign(NamedTuple):
    """The last sign of life of another process, since when it is there, and how many there were."""

    text: str
    since: float
    number: int


class Crew:
    """The processes of one program, as this one sees them.

    Args:
        client: of JAX's coordinator, whose key-value store is used.
        number: of this process.
        count: of processes.
        events: what to do when another process asks for something.
    """

    def __init__(self, client: Any, number: int, count: int, events: Events) -> None:
        self.number = number
        self.count = count
        self.stop: int | None = None  # the number of the signal that has asked another process to stop
        self.failed = -1  # the number of the last message whose work failed in this process
        self._client = client
        self._events = events
        self._others = [other for other in range(count) if other != number]
        self._watched = self._others if self.leads else [0]
        now = time.monotonic()
        self._signs = {other: _Sign("", now, 0) for other in self._watched}
        self._messages = 0  # told, or heard
        self._kept = 0  # the first message that is still in the store
        self._again: Message | None = None  # was heard, and will be heard once more
        self._gone: set[int] = set()
        self._over = False
        for work in (self._look, self._judge):
            threading.Thread(target=work, daemon=True).start()

    @property
    def leads(self) -> bool:
        """Whether this is process 0, which says what is done."""
        return self.number == 0

    @property
    def heard(self) -> int:
        """The number of the message that was heard last."""
        return self._messages - 1

    def tell(self, kind: str, values: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> int:
        """Tell the other processes what comes next; the number of the message."""
        told = {**values, "failed": self.failed}
        content = Message(kind, told, tuple(arrays)).to_bytes()
        parts = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
        number = self._messages
        self._messages += 1
        for place, part in enumerate(parts):
            head = len(parts).to_bytes(4, "big") if place == 0 else b""
            self._client.key_value_set_bytes(f"{_SAID}/{number}/{place}", head + part)
        return number

    def hear(self, seconds: float | None = None) -> Message:
        """What process 0 tells next. Whoever waits here is ended by its `Events` when process 0 ends or is gone.

        Args:
            seconds: for which to wait; None: for ever.

        Raises:
            TimeoutError: process 0 has told nothing.
        """
        if self._again is not None:
            heard = self._again
            self._again = None
            return heard
        end = None if seconds is None else time.monotonic() + seconds
        first = self._part(self._messages, 0, end)
        parts = [first[4:]]
        parts += [self._part(self._messages, place, end) for place in range(1, int.from_bytes(first[:4], "big"))]
        self._messages += 1
        return Message.from_bytes(b"".join(parts))

    def hear_again(self, message: Message) -> None:
        """The next call of `hear` gives this message, which was for somebody else."""
        self._again = message

    def _part(self, number: int, place: int, end: float | None) -> bytes:
        while end is None or time.monotonic() < end:
            begun = time.monotonic()
            try:
                part: bytes = self._client.blocking_key_value_get_bytes(f"{_SAID}/{number}/{place}", 1000)
                return part
            except Exception:  # not yet; or the coordinator is gone, which ends this process
                time.sleep(0.1 if time.monotonic() - begun < 0.5 else 0.0)
        raise TimeoutError

    def forward(self, signal_number: int) -> None:
        """Tell process 0 that this process was asked to stop."""
        self._client.key_value_set(f"{_NOW}stop", str(signal_number), allow_overwrite=True)

    def require_all(self) -> None:
        """Wait until every other process has shown that it still lives. If one does not, this process ends.

        What fails here because another process is gone is so told from what fails for reasons of its own.
        """
        end = time.monotonic() + 2 * PATIENCE
        before = {other: sign.number for other, sign in self._signs.items()}
        while time.monotonic() < end and not self._over:
            if all(sign.number >= before[other] + 2 for other, sign in self._signs.items()):  # the first may be older
                return
            time.sleep(LOOK / 4)
        if self._over:
            threading.Event().wait()

    def end(self, status: int, text: str = "") -> None:
        """End the others before this process ends: with this status, and with this text if something is wrong.

        Process 0 waits for them for a moment. Another process says with it that it ends by itself.
        """
        if self._over:
            return
        self._over = True
        with contextlib.suppress(Exception):  # the coordinator is gone
            if not self.leads:
                self._client.key_value_set(f"{_NOW}left/{self.number}", "", allow_overwrite=True)
                return
            self._client.key_value_set(f"{_NOW}end", f"{status} {text}", allow_overwrite=True)
            end = time.monotonic() + PATIENCE
            while not self._waited_for <= self._now("left/").keys() and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(LOOK)  # they end just now: JAX would end them otherwise, once its coordinator is gone

    def give_up(self) -> None:
        """Tell nobody of the end: JAX's coordinator is gone."""
        self._over = True

    @property
    def _waited_for(self) -> set[str]:
        """What others leave in the store when they end, but for those that are gone."""
        return {f"left/{other}" for other in self._others if other not in self._gone}

    def _now(self, under: str = "") -> dict[str, str]:
        """What the store has now, without the messages."""
        found = self._client.key_value_dir_get(f"{_NOW}{under}")
        return {key.removeprefix(_NOW): value for key, value in found}

    def _look(self) -> None:
        """Show that this process lives, and look what the others show."""
        beat = 0
        while not self._over or self.leads:
            beat += 1
            with contextlib.suppress(Exception):  # the coordinator is gone: `_judge` says so
                sign = f"{beat} {self._messages}"
                self._client.key_value_set(f"{_NOW}alive/{self.number}", sign, allow_overwrite=True)
                self._take_note(self._now())
            time.sleep(LOOK)

    def _take_note(self, now: dict[str, str]) -> None:
        if self._over:
            return
        for other in self._watched:
            text = now.get(f"alive/{other}", "")
            known = self._signs[other]
            if text != known.text:
                self._signs[other] = _Sign(text, time.monotonic(), known.number + 1)
        if not self.leads and "end" in now:
            status, _, text = now["end"].partition(" ")
            self._events.ended(int(status), text)  # ends this process, which calls `end`
            self.end(int(status))
        if not self.leads:
            return
        for other in self._others:
            if f"left/{other}" in now:
                self._lose(other)
        if "stop" in now and self.stop is None:
            number = int(now["stop"])
            self.stop = signal.SIGTERM if signal.getsignal(number) == signal.SIG_IGN else number
            self._events.stop(self.stop)
        self._forget(min(int(sign.text.split()[1]) if sign.text else 0 for sign in self._signs.values()))

    def _forget(self, heard: int) -> None:
        """Delete the messages that all others have heard."""
        while self._kept < heard:
            self._client.key_value_delete(f"{_SAID}/{self._kept}")
            self._kept += 1

    def _judge(self) -> None:
        """Notice a process that shows no more that it lives."""
        last = time.monotonic()
        while not self._over:
            time.sleep(LOOK)
            now = time.monotonic()
            if now - last > SUSPENDED:
                self._signs = {other: sign._replace(since=now) for other, sign in self._signs.items()}
            last = now
            for other, sign in list(self._signs.items()):
                if now - sign.since > PATIENCE and not self._over:
                    self._lose(other)

    def _lose(self, other: int) -> None:
        """End because another process is gone; process 0 ends the others too."""
        text = f"process {other} of {self.count} has ended"
        self._gone.add(other)
        if self.leads:
            self.end(1, text)
        self._over = True
        self._events.lost(text)


_crew: Crew | None = None


def crew() -> Crew | None:
    """The processes that this one has joined; None where it is alone."""
    return _crew


def stop_asked() -> int | None:
    """The number of the signal that has asked another process of this program to stop; None without one."""
    return None if _crew is None else _crew.stop


def enlist(joined: Crew) -> None:
    """From now on this process is one of this crew."""
    global _crew
    _crew = joined
