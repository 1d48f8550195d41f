"""What TensorBoard shows of a trial: losses and accuracies, settings with the final metrics, the first layer's filters.

`tensorboard --logdir=WORKDIR` shows each trial as a run of its own, also while it runs. The numbers are those of
`metrics.jsonl` and `result.json`; nothing reads them back.

Example:
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with Events(folder, TrialConfig("digits"), [Epoch(epoch=1, train_loss=0.5)]) as events:
    ...     events.add(Epoch(epoch=2, train_loss=0.25))
    >>> len(list(folder.glob("events.*")))
    1
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from cnn import files
from cnn.config import TrialConfig, to_json
from cnn.errors import RequestError
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
_COLUMNS = 8  # filters in a row
_CELL = 12  # pixels of the picture on each side of a weight
_WHITE = 255


def require_installed() -> None:
    """Refuse unless what writes the events can be imported.

    Raises:
        RequestError: it cannot; the message says how to install it.
    """
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise RequestError(f"tensorboard=True: needs tensorboardX: pip install '.[tensorboard]' ({error})") from None


class Events:
    """The event file of one trial, which a start writes anew, so that no point is there twice.

    It is written in place, under one name. A point has the same length each time, so a TensorBoard that has read a part
    of the file goes on behind that part. What a method writes is in the file when the method returns. (tensorboardX's
    own `SummaryWriter` leaves that to a thread. On a full disk the thread ends, and the program would wait for ever.)

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
        self._records: Any = record_writer.RecordWriter(str(self._path))
        head = [self._at(0, file_version="brain.Event:2"), self._at(0, summary=begun)]
        self._append([*head, *(point for epoch in epochs for point in self._points(epoch))])

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Nothing is left to be written, unless a method has already raised the error."""
        with contextlib.suppress(OSError):
            self._records.close()

    def add(self, epoch: Epoch) -> None:
        """One more epoch: a point of each curve, but where a value is unknown."""
        self._append(self._points(epoch))

    def finish(self, result: Result, trained: Trained | None) -> None:
        """The end of the trial: its test accuracy, where the test set was read, and the filters that it learned."""
        last = result.epochs or 0
        shown = []
        if result.test_accuracy is not None:
            shown.append(self._summary.scalar(TEST_ACCURACY, result.test_accuracy))
        kernel = first_kernel(trained) if trained is not None and result.status == "done" else None
        if kernel is not None and kernel.shape[2] in (1, 3):
            shown.append(self._summary.image(FILTERS, tiled(kernel), dataformats="HWC"))
        self._append([self._at(last, summary=summary) for summary in (*shown, self._ended)])

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


def tiled(kernel: Float[np.ndarray, "f_height f_width c count"]) -> UInt8[np.ndarray, "height width c"]:
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
