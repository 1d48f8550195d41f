"""A trained network as a page runs it: its layers as steps, each with its inputs and integers, and its weights.

The page's own script, `cnn/show/page/network.js`, computes the steps in the order given. Kernels are rounded to
float16, which halves their place; the few other numbers keep their precision.

Example, a network that has not been trained:
    >>> import jax, jax.numpy as jnp
    >>> from cnn.config import NetworkConfig, TrialConfig
    >>> from cnn.network import models
    >>> config = TrialConfig("mine", network=NetworkConfig(blocks=1, width=4))
    >>> variables = models.build(config.network, (8, 8, 1), 3).init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    >>> trained = Trained(config, variables, np.zeros(1), np.ones(1), (8, 8, 1), ("a", "b", "c"), output_size=3)
    >>> program = live(trained)
    >>> [(step.name, step.kind, step.inputs) for step in program.steps[:2]]
    [('block1/conv1', 'conv', ('',)), ('block1/relu1', 'relu', ('block1/conv1',))]
    >>> [(tensor.name, tensor.type, tensor.shape, tensor.start) for tensor in program.steps[0].tensors]
    [('bias', 'float32', (4,), 0), ('kernel', 'float16', (3, 3, 1, 4), 16)]
"""

import base64
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from cnn.network.forms import PLAIN
from cnn.network.geometry import Pair, Sides, padding_sides
from cnn.network.layers import Add, Conv, Dense, Dropout, Flatten, Layer, Permute, Relu, Shape, Signal, Visit, ZeroPad
from cnn.network.normalization import EPSILON, BatchNorm, GhostBatchNorm, GroupNorm, LayerNorm, groups
from cnn.network.pooling import AvgPool, GlobalAvgPool, MaxPool
from cnn.trained.network import Trained

MOST_CHARACTERS = 600_000  # of the weights in the page; a page of more than two megabytes feels slow
KINDS: dict[type[Layer], str] = {  # as the script calls them; a subclass may compute something else
    Conv: "conv",
    Relu: "relu",
    MaxPool: "max_pool",
    AvgPool: "avg_pool",
    GlobalAvgPool: "global_avg_pool",
    Flatten: "flatten",
    Dense: "dense",
    Dropout: "dropout",
    Permute: "permute",
    ZeroPad: "zero_pad",
    Add: "add",
    BatchNorm: "batch_norm",
    GhostBatchNorm: "batch_norm",
    GroupNorm: "group_norm",
    LayerNorm: "group_norm",
}


@dataclass(frozen=True)
class Tensor:
    """Where an array of a layer lies in the buffer."""

    name: str  # as the layer calls it: `kernel`; of `permute`, `order`
    type: str  # float16, float32 or int32; the lowest byte of a number comes first
    shape: Shape
    start: int  # its first byte


@dataclass(frozen=True)
class Step:
    """One layer as a page computes it, for one image."""

    name: str  # as in the network's table
    kind: str  # one of `KINDS`
    inputs: tuple[str, ...]  # the layers that reach it, by name; empty text for the normalised image
    shape: Shape  # of its output
    pictured: bool  # whether pictures of a network show its output
    size: Pair  # of the filter or the window
    stride: Pair
    padding: Sides
    groups: int  # of channels, each with a mean and a variance of its own; 0 where the layer needs none
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True)
class Live:
    """A network that a page can run. It takes uint8 pixels, and normalises them with `mean` and `deviation`."""

    image_shape: Shape
    mean: tuple[float, ...]  # of each channel, in pixel units
    deviation: tuple[float, ...]
    class_names: tuple[str, ...]
    steps: tuple[Step, ...]  # in order; the last one gives the logits
    epsilon: float  # added to a variance
    mirror: bool  # whether the answer is the mean of the logits of the image and of its mirror image
    weights: bytes  # the buffer in which the tensors lie

    def to_json(self) -> dict[str, Any]:
        """The plain values of a page, with the weights as base64 text."""
        return dataclasses.asdict(self) | {"weights": base64.b64encode(self.weights).decode()}


@dataclass(frozen=True)
class NotLive:
    """Why a network cannot run in a page, in one sentence."""

    reason: str

    def to_json(self) -> dict[str, Any]:
        """The plain values of a page."""
        return dataclasses.asdict(self)


def characters(size: int) -> int:
    """How many characters of a page so many bytes take, as base64 text."""
    return 4 * -(-size // 3)


def live(trained: Trained) -> Live | NotLive:
    """What a page needs to run a network, or why it cannot.

    A network that learned in bfloat16 runs in float32.
    """
    if trained.config.scene.objects:
        return NotLive("The network locates objects, and a page shows classes alone.")
    visits = trained.network.visits(Signal(trained.image_shape))
    for visit in visits:
        if type(visit.layer) not in KINDS:
            kind = type(visit.layer).__name__
            return NotLive(f"The layer {visit.name} is of the kind {kind}, which a page does not compute.")
    arrays = {visit.name: _arrays(visit, trained) for visit in visits}
    own = [array for tensors in arrays.values() for array in tensors.values()]
    taken = characters(sum(array.nbytes for array in own))
    if taken > MOST_CHARACTERS:
        sizes = f"{taken / 1e6:.2f} MB of a page, and {MOST_CHARACTERS / 1e6:.2f} MB is the most"
        return NotLive(f"The weights would take {sizes}.")
    if not all(np.isfinite(array).all() for array in own):
        return NotLive("Some weights are too large for 16 bits, or are no numbers.")
    starts = np.cumsum([0, *(array.nbytes for array in own)]).tolist()
    places = iter(starts)
    return Live(
        image_shape=trained.image_shape,
        mean=tuple(np.asarray(trained.mean, np.float32).tolist()),
        deviation=tuple(np.asarray(trained.deviation, np.float32).tolist()),
        class_names=trained.class_names,
        steps=tuple(
            _step(visit, tuple(_tensor(name, array, next(places)) for name, array in arrays[visit.name].items()))
            for visit in visits
        ),
        epsilon=EPSILON,
        mirror=trained.mirror,
        weights=b"".join(array.tobytes() for array in own),
    )


def rounded(trained: Trained) -> Trained:
    """The network with the weights that a page runs it with: kernels rounded to float16, everything in float32.

    What a page computes is compared with this network.
    """
    training = dataclasses.replace(trained.config.training, precision="float32")
    variables = jax.tree.map(lambda leaf: jnp.asarray(_rounded(leaf), jnp.float32), trained.variables)
    config = dataclasses.replace(trained.config, training=training)
    return dataclasses.replace(trained, config=config, variables=variables, forms=PLAIN)


def _rounded(leaf: Any) -> np.ndarray:
    """Kernels are many, and their rounding errors cancel. Statistics may be too large for float16, or too small."""
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        return np.asarray(leaf, "<f2" if np.ndim(leaf) > 1 else "<f4")


def _arrays(visit: Visit, trained: Trained) -> Mapping[str, np.ndarray]:
    """The arrays of a layer by their names, sorted, as the buffer holds them."""
    if isinstance(visit.layer, Permute):
        height, width = visit.before.shape[:2]
        cells = jnp.arange(height * width).reshape(1, height, width, 1)
        return {"order": np.asarray(visit.layer.apply({}, cells), "<i4").reshape(-1)}
    flat = flax.traverse_util.flatten_dict(dict(trained.variables))
    path = tuple(visit.name.split("/"))
    own = {leaf[-1]: flat[leaf] for leaf in flat if leaf[1 : 1 + len(path)] == path}  # beside params and batch_stats
    return {name: np.ascontiguousarray(_rounded(own[name])) for name in sorted(own)}


def _tensor(name: str, array: np.ndarray, start: int) -> Tensor:
    return Tensor(name, array.dtype.name, array.shape, start)


def _step(visit: Visit, tensors: tuple[Tensor, ...]) -> Step:
    shape = visit.before.shape
    size, stride, padding = visit.layer.window(shape)
    kind = KINDS[type(visit.layer)]
    parts = groups(shape[-1]) if isinstance(visit.layer, GroupNorm) else 1
    return Step(
        name=visit.name,
        kind=kind,
        inputs=visit.sources,
        shape=visit.after.shape,
        pictured=visit.layer.pictured,
        size=size,
        stride=stride,
        padding=padding_sides(padding, shape[:2], size, stride),
        groups=parts if kind == "group_norm" else 0,
        tensors=tensors,
    )
