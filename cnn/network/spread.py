"""Where the images of a batch lie: here, in micro-batches one after another, or spread over devices.

Nearly every layer computes image by image, and does not ask. A normalisation over the batch sums over all images.
Dropout draws its masks for the whole batch on each device, and augmentation and scenes compute all of its images there,
so that the random numbers are those of one device; then each device takes its part. This work is not divided.

Example:
    >>> import jax.numpy as jnp
    >>> HERE.sum(jnp.ones(2)).tolist(), HERE.own(jnp.arange(4)).tolist()
    ([1.0, 1.0], [0, 1, 2, 3])
"""

from dataclasses import dataclass

from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

BATCH_AXIS = "batch"  # of the mesh of devices
BATCH_SUM = "sum over the batch"


@dataclass(frozen=True)
class Spread:
    """The images of a batch lie on so many devices, in equal parts, in the order of the batch."""

    devices: int = 1

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
        size = len(whole) // self.devices
        return lax.dynamic_slice_in_dim(whole, lax.axis_index(BATCH_AXIS) * size, size)


HERE = Spread()
