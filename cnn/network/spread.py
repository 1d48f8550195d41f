"""Where the images of a batch lie: here, in micro-batches one after another, or spread over devices.

Nearly every layer computes image by image, and does not ask. A normalisation over the batch sums over all images.
Dropout draws the mask of an image by the image's place in the batch. Augmentation and scenes compute all images of the
batch on each device, so that the random numbers are those of one device; then each device takes its part.

Example:
    >>> import jax.numpy as jnp
    >>> HERE.sum(jnp.ones(2)).tolist(), HERE.own(jnp.arange(4)).tolist(), Spread(devices=4, images=50).part
    ([1.0, 1.0], [0, 1, 2, 3], 13)
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

BATCH_AXIS = "batch"  # of the mesh of devices
BATCH_SUM = "sum over the batch"


@dataclass(frozen=True)
class Spread:
    """The images of a batch lie on so many devices, in equal parts, in the order of the batch.

    Attributes:
        devices: how many.
        images: of the whole batch; on one device nobody asks. Where the devices do not divide them, the last one is
            repeated in the last part, or in several, and `counts` says which images are real.
    """

    devices: int = 1
    images: int = 1

    @property
    def part(self) -> int:
        """The images of each device."""
        return -(-self.images // self.devices)

    @property
    def busy(self) -> int:
        """How many devices have real images."""
        return -(-self.images // self.part)

    def sum(self, part: Array) -> Array:
        """The sum over the whole batch of what each part of it has.

        Over devices it is a sum over `BATCH_AXIS`. On one device a micro-batch stands for the whole batch, and the
        function returns its argument. It leaves a mark in the traced program, at which `cnn.training.loops.stages` adds
        up the values of all micro-batches. The mark holds in programs that take no derivative of it: in the rules of
        `normalization.standardize`, and where a gradient is stopped.
        """
        return checkpoint_name(part, BATCH_SUM) if self.devices == 1 else lax.psum(part, BATCH_AXIS)

    def own(self, whole: Array) -> Array:
        """This device's part of an array over the whole batch."""
        if self.devices == 1:
            return whole
        more = self.part * self.devices - self.images
        if more:
            whole = jnp.pad(whole, [(0, more)] + [(0, 0)] * (whole.ndim - 1), mode="edge")
        return lax.dynamic_slice_in_dim(whole, self.first(), self.part)

    def first(self) -> Array | int:
        """The place of this device's first image in the batch."""
        return 0 if self.devices == 1 else lax.axis_index(BATCH_AXIS) * self.part

    def counts(self) -> Array | None:
        """Which images of this device's part are real; None: all of them, on each device."""
        if self.images % self.devices == 0:
            return None
        return self.first() + jnp.arange(self.part) < self.images


HERE = Spread()
