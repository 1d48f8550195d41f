"""What is shown of a training while it runs: a bar that counts its epochs, or what a watcher makes of its steps.

Example:
    >>> seen = []
    >>> watching = _Watched(lambda: 7, seen.append)
    >>> for now in (0.0, 0.1, 0.9):
    ...     watching.step(now)
    >>> seen
    [7, 7]
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from cnn.config import NetworkConfig
from cnn.network import models
from cnn.progress import Progress, Work
from cnn.training.fit import Fit
from cnn.training.metrics import Epoch

SECONDS = 0.5  # between two calls of a watcher: no step takes longer for it, and a bar still moves


class Listener(Protocol):
    """What is told of a training."""

    def step(self, now: float) -> None:
        """A step begins at this moment of `time.monotonic`. Called in any thread, one call at a time."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch has ended."""


@contextlib.contextmanager
def training(fit: Fit, watch: Callable[[int], None] | None, progress: Progress) -> Iterator[Listener]:
    """Show a training as long as the block runs.

    Args:
        fit: what trains.
        watch: gets the steps that each replica has begun; without it, a bar counts the epochs.
        progress: shows that bar.
    """
    if watch is not None:
        watch(fit.begun)
        yield _Watched(lambda: fit.begun, watch)
        return
    config = fit.prepared.config
    done = fit.steps // fit.prepared.steps_per_epoch
    with progress.task(_label(config.network, len(fit.configs)), config.training.epochs, done) as work:
        yield _Epochs(work)


class _Watched:
    """Calls the watcher, at most every `SECONDS`."""

    def __init__(self, begun: Callable[[], int], watch: Callable[[int], None]) -> None:
        self.begun = begun
        self.watch = watch
        self.next = float("-inf")

    def step(self, now: float) -> None:
        if now >= self.next:
            self.next = now + SECONDS
            self.watch(self.begun())

    def epoch(self, epoch: Epoch) -> None:
        """Nothing: the steps say it."""


class _Epochs:
    """Counts epochs on a bar."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def step(self, now: float) -> None:
        """Nothing: a bar of epochs moves with the epochs."""

    def epoch(self, epoch: Epoch) -> None:
        self.work.advance(note=_note(epoch))


def _label(network: NetworkConfig, trials: int) -> str:
    """The label of a progress bar, such as `convnet of 3 blocks, 2 trials`."""
    blocks = f" of {network.blocks} block{'' if network.blocks == 1 else 's'}"
    named = network.model + (blocks if "blocks" in models.known(network.model).settings else "")
    return f"{named}, {trials} trials" if trials > 1 else named


def _note(epoch: Epoch) -> str:
    name = "train" if epoch.val_accuracy is None else "val"
    accuracy = epoch.train_accuracy if epoch.val_accuracy is None else epoch.val_accuracy
    return "" if accuracy is None else f"{name} accuracy {100 * accuracy:.2f} %"
