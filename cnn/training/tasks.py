"""What a network learns to do: tell which class an image shows, or which objects a scene shows and where.

A task turns stored images into examples, on the device, and scores the network's outputs. Its methods are pure
functions, so they are compiled into the step.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from cnn.config import TrainingConfig, TrialConfig
from cnn.data import preprocess, scenes
from cnn.data.batches import Images, key
from cnn.errors import RequestError, require
from cnn.network import models
from cnn.network.layers import Shape

# Weights of a box's two losses; the loss of the class has weight 1 (Carion et al. 2020, appendix A.4).
L1_WEIGHT = 5.0
OVERLAP_WEIGHT = 2.0
RIGHT_OVERLAP = 0.5  # intersection over union from which a box counts as right (Everingham et al. 2010, section 4.2)


@runtime_checkable
class Task(Protocol):
    """What training and evaluation need of a task. `batch` holds `objects` images for each example: [n, objects]."""

    @property
    def objects(self) -> int:
        """How many images make an example."""

    @property
    def image_shape(self) -> Shape:
        """`(height, width, channels)` of what the network sees."""

    @property
    def outputs(self) -> int:
        """How many numbers the network outputs for an example."""

    @property
    def mirror(self) -> bool:
        """Whether an evaluation takes the mean of the outputs for an image and for its mirror image."""

    def training_examples(self, key: Array, batch: Images) -> tuple[Array, Any]:
        """Augmented uint8 images [n, height, width, channels] and their targets."""

    def test_examples(self, indices: Array | np.ndarray, batch: Images) -> tuple[Array, Any]:
        """Images and targets without chance: an example depends only on the indices [n, objects] of its images."""

    def loss(self, outputs: Array, targets: Any, smoothing: float) -> Array:
        """The loss of each example, with label smoothing."""

    def right(self, outputs: Array, targets: Any) -> Array:
        """Whether the outputs for each example are right."""


@dataclasses.dataclass(frozen=True)
class Classification:
    """Which class an image shows: one logit for each class."""

    image_shape: Shape
    outputs: int
    training: TrainingConfig
    rejection_logit: float | None = None  # of a class "none of them" in the loss: see `lenet1998.LeNet5_1998`
    objects: int = 1

    @property
    def mirror(self) -> bool:
        return self.training.mirror

    def training_examples(
        self, key: Key[Array, ""], batch: Images
    ) -> tuple[UInt8[Array, "n height width c"], Int[Array, " n"]]:
        images = preprocess.augment(key, batch.images[:, 0], self.training)
        return images, batch.labels[:, 0]

    def test_examples(
        self, indices: Int[Array | np.ndarray, "n objects"], batch: Images
    ) -> tuple[UInt8[Array, "n height width c"], Int[Array, " n"]]:
        return batch.images[:, 0], batch.labels[:, 0]

    def loss(
        self, outputs: Float[Array, "n classes"], targets: Int[Array, " n"], smoothing: float
    ) -> Float[Array, " n"]:
        wanted = optax.smooth_labels(jax.nn.one_hot(targets, self.outputs), smoothing)
        if self.rejection_logit is not None:
            outputs = jnp.pad(outputs, ((0, 0), (0, 1)), constant_values=self.rejection_logit)
            wanted = jnp.pad(wanted, ((0, 0), (0, 1)))
        return optax.softmax_cross_entropy(outputs, wanted)

    def right(self, outputs: Float[Array, "n classes"], targets: Int[Array, " n"]) -> Bool[Array, " n"]:
        return outputs.argmax(-1) == targets


class Found(flax.struct.PyTreeNode):
    """Objects in scenes: their classes (or a logit for each class) and their boxes, see `cnn.data.scenes`."""

    classes: Array | np.ndarray  # int [n, objects], or float [n, objects, classes]
    boxes: Float[Array | np.ndarray, "*n objects 4"]


@dataclasses.dataclass(frozen=True)
class Localization:
    """Which objects stand where in a scene: class logits and a box for each, in no order."""

    source_shape: Shape
    classes: int
    objects: int
    canvas: float
    training: TrainingConfig
    mirror: bool = False  # the boxes of a mirrored scene are elsewhere

    @property
    def image_shape(self) -> Shape:
        height, width, channels = self.source_shape
        return round(height * self.canvas), round(width * self.canvas), channels

    @property
    def outputs(self) -> int:
        return self.objects * (self.classes + 4)

    def training_examples(self, key: Key[Array, ""], batch: Images) -> tuple[UInt8[Array, "n height width c"], Found]:
        place, mirror = jax.random.split(key)
        n, objects = batch.labels.shape
        flat = batch.images.reshape(n * objects, *self.source_shape)
        images = preprocess.augment(mirror, flat, TrainingConfig(flip=self.training.flip))  # moved by its random place
        return self._scenes(jax.random.split(place, n), batch.replace(images=images.reshape(batch.images.shape)))

    def test_examples(
        self, indices: Int[Array | np.ndarray, "n objects"], batch: Images
    ) -> tuple[UInt8[Array, "n height width c"], Found]:
        return self._scenes(jax.vmap(lambda index: jax.random.fold_in(key(0), index))(indices[:, 0]), batch)

    def _scenes(self, keys: Array, batch: Images) -> tuple[Array, Found]:
        height, width, _ = self.image_shape
        images, boxes = scenes.compose(keys, batch.images, (height, width))
        return images, Found(batch.labels, boxes)

    def decode(self, outputs: Float[Array, "n outputs"]) -> Found:
        """The network's numbers as class logits, and boxes within the canvas."""
        slots = outputs.reshape(-1, self.objects, self.classes + 4)
        return Found(slots[..., :-4], jax.nn.sigmoid(slots[..., -4:]))

    def _assigned(self, found: Found, targets: Found, smoothing: float) -> tuple[Array, Array]:
        """For each scene, the loss of each true object and the slot assigned to it.

        Of all one-to-one assignments, the one of least loss counts (Carion et al. 2020, equation 1). Two objects have
        two assignments.
        """
        slots = jnp.stack([jnp.roll(jnp.arange(self.objects), way) for way in range(self.objects)])
        losses = jnp.stack(
            [self._pair_loss(found.classes[:, way], found.boxes[:, way], targets, smoothing) for way in slots]
        )
        best = losses.sum(-1).argmin(0)  # [n]
        return jnp.take_along_axis(losses, best.reshape(1, -1, 1), axis=0)[0], slots[best]

    def _pair_loss(
        self,
        logits: Float[Array | np.ndarray, "n objects classes"],
        boxes: Float[Array | np.ndarray, "n objects 4"],
        targets: Found,
        smoothing: float,
    ) -> Float[Array, "n objects"]:
        wanted = optax.smooth_labels(jax.nn.one_hot(targets.classes, self.classes), smoothing)
        distance = jnp.abs(boxes - targets.boxes).sum(-1)
        generalized = scenes.overlap(boxes, targets.boxes).generalized
        cross_entropy = optax.softmax_cross_entropy(logits, wanted)
        return cross_entropy + L1_WEIGHT * distance + OVERLAP_WEIGHT * (1 - generalized)

    def loss(self, outputs: Float[Array, "n outputs"], targets: Found, smoothing: float) -> Float[Array, " n"]:
        return self._assigned(self.decode(outputs), targets, smoothing)[0].mean(-1)

    def right(self, outputs: Float[Array, "n outputs"], targets: Found) -> Bool[Array, " n"]:
        """Every object of the scene has its class right and an intersection over union of at least one half."""
        matched = self.matched(outputs, targets)
        classes = matched.classes.argmax(-1) == targets.classes
        return (classes & (scenes.overlap(matched.boxes, targets.boxes).ratio >= RIGHT_OVERLAP)).all(-1)

    def matched(self, outputs: Float[Array, "n outputs"], targets: Found) -> Found:
        """What the network found, in the order of the true objects."""
        found = self.decode(outputs)
        slots = self._assigned(found, targets, 0.0)[1][..., None]
        return Found(*(jnp.take_along_axis(part, slots, axis=1) for part in (found.classes, found.boxes)))


def task(config: TrialConfig, image_shape: Shape, classes: int) -> Classification | Localization:
    """The task that the settings name, on images of this shape.

    Raises:
        RequestError: the model is unknown; or the settings ask for objects to locate, and the model only classifies or
            its answers are those of an image and its mirror image.
    """
    model = models.known(config.network.model)
    objects = config.scene.objects
    if not objects:
        return Classification(image_shape, classes, config.training, model.rejection_logit)
    if model.only_classifies:
        raise RequestError(f"objects={objects}: {config.network.model} only classifies, so must be 0")
    require(not config.training.mirror, "mirror", True, f"false with objects={objects}, since boxes are not averaged")
    return Localization(image_shape, classes, objects, config.scene.canvas, config.training)
