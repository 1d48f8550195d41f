"""Which devices do what: replicas are spread over devices first, then the images of each batch.

Example:
    >>> shape(replicas=8, devices=8, batch_size=64), shape(3, 8, 64), shape(1, 8, 64)
    (Shape(replica=8, batch=1), Shape(replica=4, batch=2), Shape(replica=1, batch=8))
    >>> shape(1, 8, batch_size=50), shape(1, 8, batch_size=50, pads=True), shape(1, 8, 64, images_together=16)
    (Shape(replica=4, batch=2), Shape(replica=1, batch=8), Shape(replica=2, batch=4))
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cnn.network.spread import BATCH_AXIS

REPLICA_AXIS = "replica"


class Shape(NamedTuple):
    """The length of both axes of a mesh; their product is the number of devices."""

    replica: int
    batch: int


def shape(replicas: int, devices: int, batch_size: int, images_together: int = 1, pads: bool = False) -> Shape:
    """The mesh for so many replicas: an axis that has room for all of them, as short as it can be.

    The other axis divides each batch into equal parts. Where the batch has no such parts, images that do not count fill
    the last ones, or that axis is shorter. Where the axis of the replicas has more places than there are replicas, the
    last replica fills them, and is thrown away.

    Args:
        replicas: to be trained together.
        devices: of this machine.
        batch_size: images in a step.
        images_together: whose multiple a part of a batch must be.
        pads: parts may have images that do not count.
    """
    lengths = [length for length in range(1, devices + 1) if devices % length == 0]
    room = next(length for length in lengths if length >= min(replicas, devices))
    parts = batch_size // images_together if batch_size % images_together == 0 else 1
    fits = [length for length in lengths if (devices // room) % length == 0]
    batch = max(length for length in fits if (length <= batch_size if pads else parts % length == 0))
    return Shape(devices // batch, batch)


def mesh(devices: Sequence[jax.Device], shape: Shape) -> Mesh:
    """The devices as a mesh with the axes `replica` and `batch`."""
    return jax.make_mesh(
        shape, (REPLICA_AXIS, BATCH_AXIS), axis_types=(AxisType.Auto, AxisType.Auto), devices=list(devices)
    )


def on_all(devices: Sequence[jax.Device], arrays: Any) -> Any:
    """Copies of arrays on every device, also on those of other processes, which call this too."""
    if len(devices) == 1:
        return jax.device_put(arrays, may_alias=False)
    whole = mesh(devices, Shape(len(devices), 1))
    return placed(arrays, NamedSharding(whole, PartitionSpec()), may_alias=False)


def placed(arrays: Any, sharding: NamedSharding, may_alias: bool | None = None) -> Any:
    """Arrays as they lie on devices.

    Where other processes have some of the devices, each process gives its own ones their part; all call this with the
    same arrays. JAX itself would compare the arrays of all processes, and wait for them.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(arrays, sharding, may_alias=may_alias)

    def own(array: Any) -> jax.Array:
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            return jax.device_put(array, sharding)  # on these devices already
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(own, arrays)
