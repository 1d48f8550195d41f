"""Settings that are checked against the data before anything is computed.

Example:
    >>> from cnn.data import datasets
    >>> prepared = prepare_trials(TrialConfig("digits", validation_fraction=0.8), datasets.load("digits"))
    >>> prepared.images_per_epoch, [epoch for epoch in range(1, 11) if prepared.validates(epoch, held_out=1150)]
    (256, [5, 9, 10])
    >>> prepared.validations(held_out=1150)
    3
"""

from dataclasses import dataclass

from cnn import machine
from cnn.config import TrialConfig
from cnn.data import stream as streaming
from cnn.data.content import Dataset
from cnn.data.splits import split
from cnn.errors import require
from cnn.network import models, summary
from cnn.network.layers import Chain
from cnn.network.normalization import require_parts
from cnn.training.tasks import Task, task


@dataclass(frozen=True)
class Prepared:
    """Checked settings, shared by trials that differ only in seed and learning rate."""

    config: TrialConfig  # its seed and learning rate are those of any of these trials
    network: Chain
    task: Task
    steps_per_epoch: int

    @property
    def images_per_epoch(self) -> int:
        """How many images each epoch learns from: whole batches."""
        return self.steps_per_epoch * self.config.training.batch_size

    def validates(self, epoch: int, held_out: int) -> bool:
        """Whether the validation images are evaluated after an epoch.

        They always are after the last one. Before, no more images are evaluated than were learnt from: a small part
        that learns does not wait for a large part that validates.

        Args:
            epoch: which one, from 1.
            held_out: how many validation images there are.
        """
        learnt = self.images_per_epoch
        last = epoch == self.config.training.epochs
        return last or (epoch - 1) * learnt // max(held_out, 1) < epoch * learnt // max(held_out, 1)

    def validations(self, held_out: int) -> int:
        """How many epochs `validates` is true for, given so many validation images."""
        before = self.config.training.epochs - 1
        return 1 + min(before, before * self.images_per_epoch // max(held_out, 1))

    @property
    def cost(self) -> summary.Cost:
        """The network's parameters and multiply-accumulates."""
        return summary.cost(self.network, self.task.image_shape)


def prepare_trials(config: TrialConfig, dataset: Dataset) -> Prepared:
    """Check that settings suit a data set; nothing is computed on a device.

    Raises:
        RequestError: the settings name another data set; the network does not fit the images; a batch is larger than
            the training part, or no whole number of ghost batches; an image could be shifted out of sight; there are
            2**31 steps or more; or the images do not fit on a device, and Grain is not installed.
    """
    require(config.dataset == dataset.name, "dataset", config.dataset, f"{dataset.name}, which was loaded")
    train, _ = split(dataset.train_labels, config.validation_fraction, config.seed)
    size = config.training.batch_size
    accepted = f"at most {len(train)}, since {dataset.name} has {len(train)} training images"
    require(size <= len(train), "batch_size", size, accepted)
    if "ghost_batch" in models.used(config.network):
        require_parts(config.network.ghost_batch, size)
    side = min(dataset.image_shape[:2])
    for name, pixels in (("shift", config.training.shift), ("cutout", config.training.cutout)):
        require(pixels < side, name, pixels, f"at most {side - 1}, or no image is left")
    steps = len(train) // size
    epochs = config.training.epochs
    require(epochs * steps < 2**31, "epochs", epochs, f"at most {(2**31 - 1) // steps}, with {steps} steps in each")
    if not streaming.is_installed():  # else nobody need ask for the memory yet, which starts JAX's backend
        streaming.require_readable(dataset, machine.device_memory())
    asked: Task = task(config, dataset.image_shape, dataset.classes)
    return Prepared(config, models.build(config.network, asked.image_shape, asked.outputs), asked, steps)
