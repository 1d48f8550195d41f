"""What TensorBoard shows of a trial: losses and accuracies, settings with the final metrics, the first layer's filters.

`tensorboard --logdir=WORKDIR` shows each trial as a run of its own, also while it runs. The numbers are those of
`metrics.jsonl` and `result.json`; no result is read from here.

Example:
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with Events(folder, TrialConfig("digits"), [Epoch(epoch=1, train_loss=0.5)]) as events:
    ...     events.add(Epoch(epoch=2, train_loss=0.25))
    >>> len(list(folder.glob("events.*")))
    1
"""

import collections
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from cnn import files
from cnn.config import TrialConfig, to_json
from cnn.errors import require_extra
from cnn.network import models
from cnn.trained.network import Trained
from cnn.trained.patches import first_kernel
from cnn.training.folder import Result
from cnn.training.metrics import Epoch

TAGS = {  # from a field of an epoch to the name of its curve
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
}
TEST_ACCURACY = "accuracy/test"
FILTERS = "filters/first_layer"
NAME = "events.out.tfevents.trial"  # of the file; TensorBoard wants tfevents in it
Picture = UInt8[np.ndarray, "height width c"]
PICTURES = 10  # after the first of a trial: TensorBoard shows no more, unless it is told to; each costs milliseconds
_COLUMNS = 8  # filters in a row
_CELL = 12  # pixels of the picture on each side of a weight
_WHITE = 255


def require_installed() -> None:
    """Refuse unless what writes the events can be imported.

    Raises:
        RequestError: it cannot; the message says how to install it.
    """
    require_extra("tensorboardX", "tensorboard", "tensorboard=True")


class Events:
    """The event file of one trial, which a start writes anew, so that no point is there twice.

    Points that an earlier start has written keep their times, and the pictures between them stay. It is written in
    place, under one name. A point has the same length each time, so a TensorBoard that has read a part of the file goes
    on behind that part. What a method writes is in the file when the method returns. (tensorboardX's own
    `SummaryWriter` leaves that to a thread. On a full disk the thread ends, and the program would wait for ever.)

    Args:
        folder: the folder of the trial, which exists.
        config: the settings of the trial.
        epochs: those that earlier starts have finished.

    Raises:
        OSError: the file cannot be written, here or in another method; the error names it.
    """

    def __init__(self, folder: Path, config: TrialConfig, epochs: Sequence[Epoch]) -> None:
        from tensorboardX import record_writer, summary
        from tensorboardX.proto import event_pb2

        self._summary: Any = summary
        self._event: Any = event_pb2.Event
        _, begun, self._ended = summary.hparams(_settings(config), {})
        self._path = folder.absolute() / NAME
        if self._path.is_symlink():  # what it leads to belongs to someone else
            files.remove(self._path)
        head = [self._at(0, file_version="brain.Event:2"), self._at(0, summary=begun)]
        points = [point for epoch in epochs for point in self._points(epoch)]
        kept, missing = self._kept([*head, *points])
        self._pictured = {event.step for event in kept if _is_picture(event)}
        self._records: Any = record_writer.RecordWriter(str(self._path))
        self._append([*kept, *missing])

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Nothing is left to be written, unless a method has already raised the error."""
        with contextlib.suppress(OSError):
            self._records.close()

    def begin(self, filters: Picture | None) -> None:
        """The filters before the first step, if an earlier start has not shown them."""
        if 0 not in self._pictured:
            self._append(self._picture(0, filters))

    def add(self, epoch: Epoch, filters: Picture | None = None) -> None:
        """One more epoch: a point of each curve, but where a value is unknown, and the filters at its end."""
        self._append([*self._points(epoch), *self._picture(epoch.epoch, filters)])

    def finish(self, result: Result) -> None:
        """The end of the trial: its test accuracy, where the test set was read, and whether it is a success."""
        last = result.epochs or 0
        known = [] if result.test_accuracy is None else [self._summary.scalar(TEST_ACCURACY, result.test_accuracy)]
        if result.status != "done":
            self._ended.value[0].metadata.plugin_data.content = _failure()
        self._append([self._at(last, summary=summary) for summary in (*known, self._ended)])

    def _kept(self, wanted: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The events that the file begins with, as long as they are wanted ones or pictures; and what is missing."""
        missing = collections.deque(wanted)
        kept = []
        for record in _sound_records(self._path):
            event = self._event.FromString(record)
            if missing and _says(event) == _says(missing[0]):
                missing.popleft()
            elif not _is_picture(event):
                break
            kept.append(event)
        return kept, list(missing)

    def _picture(self, step: int, filters: Picture | None) -> list[Any]:
        return [] if filters is None else [self._at(step, summary=self._image(filters))]

    def _image(self, filters: Picture) -> Any:
        return self._summary.image(FILTERS, filters, dataformats="HWC")

    def _points(self, epoch: Epoch) -> list[Any]:
        values = {tag: getattr(epoch, name) for name, tag in TAGS.items()}
        known = {tag: value for tag, value in values.items() if value is not None}
        return [self._at(epoch.epoch, summary=self._summary.scalar(tag, value)) for tag, value in known.items()]

    def _at(self, step: int, **content: Any) -> Any:
        return self._event(step=step, wall_time=time.time(), **content)

    def _append(self, events: Sequence[Any]) -> None:
        try:
            for event in events:
                self._records.write(event.SerializeToString())
            self._records.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def _says(event: Any) -> tuple[Any, ...]:
    """What an event says, whatever its time; of the settings only that it has them: their order may differ."""
    return event.step, event.file_version, [(value.tag, value.simple_value) for value in event.summary.value]


def _is_picture(event: Any) -> bool:
    return any(value.tag.startswith(FILTERS) for value in event.summary.value)


def _sound_records(path: Path) -> Iterator[bytes]:
    """The records of an event file, up to the first that is cut or damaged; none where there is no file.

    Each is its length (8 bytes), the length's checksum (4), the record, and its checksum (4), as `RecordWriter` writes.
    """
    from tensorboardX import record_writer

    try:
        content = files.read_bytes(path)
    except FileNotFoundError:
        return
    place = 0
    while place < len(content):
        length = int.from_bytes(content[place : place + 8], sys.byteorder)
        record = content[place + 12 : place + 12 + length]
        place += 16 + length
        checksum = int.from_bytes(content[place - 4 : place], sys.byteorder)
        if place > len(content) or record_writer.masked_crc32c(record) != checksum:
            return
        yield record


def _failure() -> bytes:
    """How a trial ended that is no success, for the plugin HParams."""
    from tensorboardX.proto import api_pb2, plugin_hparams_pb2

    ended: Any = plugin_hparams_pb2.SessionEndInfo(status=api_pb2.Status.Value("STATUS_FAILURE"))
    plugin: Any = plugin_hparams_pb2.HParamsPluginData
    return bytes(plugin(session_end_info=ended).SerializeToString())


def _settings(config: TrialConfig) -> dict[str, str | float]:
    """The settings that the trial uses, by name: TensorBoard has no groups of settings, and no lists."""
    values = to_json(config)
    groups = {name: values.pop(name) for name in ("network", "training", "scene")}
    network = {name: groups["network"][name] for name in ("model", *models.used(config.network))}
    scene = groups["scene"] if config.scene.objects else {}
    flat = {**values, **network, **groups["training"], **scene}
    return {name: _plain(value) for name, value in flat.items() if value != []}  # an image size that is not given


def _plain(value: Any) -> str | float:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, (bool, str)) else float(value)  # tensorboardX takes no integer above 64 bits


def pictured(epoch: int, epochs: int) -> bool:
    """Whether an epoch's end has a picture, as the start has: each one, or ten of them that lie evenly.

    Example:
        >>> [epoch for epoch in range(21) if pictured(epoch, epochs=20)]
        [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    """
    return epoch * PICTURES // epochs > (epoch - 1) * PICTURES // epochs


def filters(trained: Trained) -> Picture | None:
    """The filters of the first layer as a picture; None without a convolution of one or three channels first.

    Weights that are not finite have no picture either.
    """
    kernel = first_kernel(trained)
    if kernel is None or kernel.shape[2] not in (1, 3) or not np.isfinite(kernel).all():
        return None
    return tiled(kernel)


def tiled(kernel: Float[np.ndarray, "f_height f_width c count"]) -> Picture:
    """Filters side by side as one picture, eight in a row, all in one scale: middle grey is 0.

    Args:
        kernel: weights over one channel, which become grey, or over three, which become colours.

    Example:
        >>> tiled(np.ones((3, 3, 1, 10), np.float32)).shape
        (96, 384, 1)
    """
    channels, count = kernel.shape[2:]
    limit = float(np.abs(kernel).max()) or 1.0
    tiles = np.rint(127.5 + 127.5 * np.moveaxis(kernel, 3, 0) / limit).astype(np.uint8)
    large = tiles.repeat(_CELL, axis=1).repeat(_CELL, axis=2)
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    margin = _CELL // 2
    sides = ((0, rows * columns - count), (margin, margin), (margin, margin), (0, 0))
    framed = np.pad(large, sides, constant_values=_WHITE)
    grid = framed.reshape(rows, columns, *framed.shape[1:]).swapaxes(1, 2)
    return grid.reshape(rows * framed.shape[1], columns * framed.shape[2], channels)
