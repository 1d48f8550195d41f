"""One replica: its state, its training step and its exact evaluation. Pure functions; `replicas` compiles them.

Random numbers come from named streams folded with the seed and, for order, augmentation and dropout, with the epoch or
the step; a resumed run draws the numbers that an uninterrupted one would.
"""

import dataclasses
import functools
import zlib
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from cnn.config import TrainingConfig
from cnn.data import preprocess
from cnn.network.layers import Sequence
from cnn.training.tasks import Images, Task

WARMUP = 0.2  # share of the steps in which the learning rate rises


class TrainState(flax.struct.PyTreeNode):
    """What training changes: steps done, parameters, batch-normalisation statistics and the optimiser's state.

    Replicas that run in one program are stacked along a first axis, here and in the classes below.
    """

    step: Int[Array, "*replicas"]
    params: Any
    statistics: Any
    optimizer: Any


class Replica(flax.struct.PyTreeNode):
    """What makes a replica this one: its seed, highest learning rate, training images, and their mean and deviation."""

    seed: Int[Array, "*replicas"]
    learning_rate: Float[Array, "*replicas"]
    train_indices: Int[Array, "*replicas n_train"]
    mean: Float[Array, "*replicas c"]
    deviation: Float[Array, "*replicas c"]


class Totals(flax.struct.PyTreeNode):
    """Sums over images, never means of means; `bad_step` is the first step whose loss was not finite, or -1."""

    loss: Float[Array | np.ndarray, "*replicas"]
    correct: Int[Array | np.ndarray, "*replicas"]
    count: Int[Array | np.ndarray, "*replicas"]
    bad_step: Int[Array | np.ndarray, "*replicas"]

    @classmethod
    def zero(cls) -> "Totals":
        """The sums over no image."""
        return cls(jnp.float32(0), jnp.int32(0), jnp.int32(0), jnp.int32(-1))

    @classmethod
    def of(cls, parts: "Totals") -> "Totals":
        """The sums over the images of all parts, which are stacked along the first axis."""
        loss, correct, count = (leaf.sum(0) for leaf in map(jnp.asarray, (parts.loss, parts.correct, parts.count)))
        return cls(loss, correct, count, jnp.asarray(parts.bad_step).max(0))


class Batch(flax.struct.PyTreeNode):
    """The examples of one step: augmented uint8 images, their targets, and the key of the step's dropout."""

    images: UInt8[Array, "batch height width c"]
    targets: Any
    dropout: Key[Array, ""]


class Gradient(flax.struct.PyTreeNode):
    """Sums over the images of a batch, or of a part of it; the statistics are those after it."""

    params: Any
    loss: Float[Array, ""]
    correct: Int[Array, ""]
    statistics: Any


class Answers(flax.struct.PyTreeNode):
    """What an evaluation saw of each example: the network's outputs, what was wanted, and whether that was right."""

    right: Bool[Array | np.ndarray, "*n"]
    outputs: Float[Array | np.ndarray, "*n outputs"]
    targets: Any


def stream(seed: int | Int[Array, ""], name: str) -> Key[Array, ""]:
    """The key of a named stream of random numbers: init, shuffle, augment or dropout.

    Example:
        >>> bool((stream(0, "init") == stream(0, "shuffle")).all())
        False
    """
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()) & 0x7FFFFFFF)


@dataclasses.dataclass(frozen=True)
class Program:
    """What is compiled once: a network, its task, how it learns, and how long. Seeds and rates are arguments."""

    network: Sequence
    task: Task
    training: TrainingConfig
    steps_per_epoch: int
    micro_batch: int  # images whose gradient a CPU computes together; only dropout's masks depend on it

    def optimizer(self, learning_rate: float | Array) -> optax.GradientTransformation:
        """AdamW (Loshchilov and Hutter 2019) under a linear warm-up and a cosine decay to 0 (Smith 2018, "1cycle")."""
        total = self.training.epochs * self.steps_per_epoch
        unit = optax.warmup_cosine_decay_schedule(0.0, 1.0, max(int(WARMUP * total), 1), total + 1)
        return optax.adamw(
            lambda count: learning_rate * unit(count + 1),
            weight_decay=self.training.weight_decay,
            mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
        )

    def init(self, replica: Replica) -> TrainState:
        """The state before the first step."""
        image = jnp.zeros((1, *self.task.image_shape), jnp.float32)
        variables = dict(self.network.init(stream(replica.seed, "init"), image))
        params = variables.pop("params")
        return TrainState(jnp.int32(0), params, variables, self.optimizer(replica.learning_rate).init(params))

    def shuffle(self, replica: Replica, epoch: int | Array) -> Int[Array, " n_train"]:
        """The training images in the order of an epoch."""
        return jax.random.permutation(jax.random.fold_in(stream(replica.seed, "shuffle"), epoch), replica.train_indices)

    def step(
        self, state: TrainState, totals: Totals, replica: Replica, data: Images, order: Int[Array, " n_train"]
    ) -> tuple[TrainState, Totals]:
        """One step of the optimiser on the next batch of the order, and its sums added to the totals."""
        batch = self.batch(state.step, replica, data, order)
        gradient = self.gradient(
            self.weights(state.params), state.statistics, replica, batch, 0, self.training.batch_size
        )
        return self.update(state, totals, replica, [gradient])

    def batch(self, step: Int[Array, ""], replica: Replica, data: Images, order: Int[Array, " n_train"]) -> Batch:
        """The examples of a step."""
        examples = data.take(self._members(order, step % self.steps_per_epoch))
        key = jax.random.fold_in(stream(replica.seed, "augment"), step)
        images, targets = self.task.training_examples(key, examples)
        return Batch(images, targets, jax.random.fold_in(stream(replica.seed, "dropout"), step))

    def weights(self, params: Any) -> Any:
        """The parameters in the precision that a step computes in; a network's layers take either."""
        return jax.tree.map(lambda leaf: leaf.astype(self.training.precision), params)

    def gradient(
        self, params: Any, statistics: Any, replica: Replica, batch: Batch, start: int | Int[Array, ""], size: int
    ) -> Gradient:
        """The gradient over `size` images of a batch, from `start` on."""
        images, targets = jax.tree.map(
            lambda leaf: lax.dynamic_slice_in_dim(leaf, start, size), (batch.images, batch.targets)
        )
        x = preprocess.normalize(images, replica.mean, replica.deviation, self.training.precision)
        loss = functools.partial(self._loss, x=x, targets=targets, dropout=jax.random.fold_in(batch.dropout, start))
        grads, rest = jax.grad(loss, has_aux=True)(params, statistics)
        return Gradient(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), grads), *rest)

    def none(self, params: Any, statistics: Any) -> Gradient:
        """The gradient over no image."""
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params)
        return Gradient(zeros, jnp.float32(0), jnp.int32(0), statistics)

    def update(
        self, state: TrainState, totals: Totals, replica: Replica, parts: list[Gradient]
    ) -> tuple[TrainState, Totals]:
        """The optimiser's step on the gradient over a batch, given over its parts, and its sums added to the totals."""
        size = self.training.batch_size
        gradient = functools.reduce(add, parts)
        grads = jax.tree.map(lambda leaf: leaf / size, gradient.params)
        updates, optimizer = self.optimizer(replica.learning_rate).update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        finite = jnp.isfinite(gradient.loss)
        totals = Totals(
            totals.loss + gradient.loss,
            totals.correct + gradient.correct,
            totals.count + size,
            jnp.where((totals.bad_step < 0) & ~finite, state.step, totals.bad_step),
        )
        return TrainState(state.step + 1, params, gradient.statistics, optimizer), totals

    def _members(self, order: Array, batch: Array) -> Int[Array, "batch objects"]:
        """The images of a batch; the second objects of its examples come from the batch half an epoch away."""
        size, columns = self.training.batch_size, []
        for number in range(self.task.objects):
            start = (batch + number * (self.steps_per_epoch // 2)) % self.steps_per_epoch * size
            columns.append(jnp.roll(lax.dynamic_slice_in_dim(order, start, size), number))
        return jnp.stack(columns, axis=1)

    def _loss(self, params: Any, statistics: Any, *, x: Array, targets: Any, dropout: Array) -> tuple[Array, tuple]:
        variables = {"params": params, **statistics}
        outputs, statistics = self.network.apply(
            variables, x, train=True, rngs={"dropout": dropout}, mutable=list(statistics)
        )
        outputs = outputs.astype(jnp.float32)
        loss = self.task.loss(outputs, targets, self.training.label_smoothing).sum()
        return loss, (loss, self.task.right(outputs, targets).sum(), statistics)

    def evaluate(
        self,
        state: TrainState,
        replica: Replica,
        indices: Int[Array | np.ndarray, "batch objects"],
        batch: Images,
        mask: Bool[Array | np.ndarray, " batch"],
    ) -> tuple[Totals, Answers]:
        """The sums over the examples of a padded batch that the mask admits, and the answer to each example."""
        images, targets = self.task.test_examples(indices, batch)
        x = preprocess.normalize(images, replica.mean, replica.deviation, self.training.precision)
        variables = {"params": self.weights(state.params), **state.statistics}
        outputs = jnp.asarray(self.network.apply(variables, x), jnp.float32)
        losses, right = self.task.loss(outputs, targets, 0.0), self.task.right(outputs, targets) & mask
        sums = Totals((losses * mask).sum(), right.sum(), jnp.sum(mask), jnp.int32(-1))
        return sums, Answers(right, outputs, targets)


def add(first: Gradient, second: Gradient) -> Gradient:
    """The gradient over the images of both parts; the second is the later one."""
    sums = jax.tree.map(jnp.add, first.replace(statistics=None), second.replace(statistics=None))
    return sums.replace(statistics=second.statistics)


def members(part: np.ndarray, objects: int) -> np.ndarray:
    """The images that make the examples of an evaluation, [n, objects]: each is the first of one example.

    Example:
        >>> members(np.array([7, 8, 9]), 2).tolist()
        [[7, 9], [8, 7], [9, 8]]
    """
    return np.stack([np.roll(part, number) for number in range(objects)], axis=1)


def padded(indices: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices [n, ...] cut into batches of `size`, the last filled up, and a mask, so that every one counts once.

    Example:
        >>> padded(np.array([7, 8, 9]), 2)[1].tolist()
        [[True, True], [True, False]]
    """
    batches = -(-len(indices) // size)
    filled = np.zeros((batches * size, *indices.shape[1:]), np.int32)
    filled[: len(indices)] = indices
    return filled.reshape(batches, size, *indices.shape[1:]), (np.arange(len(filled)) < len(indices)).reshape(-1, size)
