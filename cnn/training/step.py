"""One replica: its state, its training step and its exact evaluation. Pure functions; `replicas` compiles them.

Random numbers come from named streams folded with the seed and, for order, augmentation and dropout, with the epoch or
the step; a resumed run draws the numbers that an uninterrupted one would.
"""

import dataclasses
import operator
import zlib
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

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
    micro_batch: int  # images whose gradient is computed together; only dropout's masks depend on it

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
        size = self.training.batch_size
        key = jax.random.fold_in(stream(replica.seed, "augment"), state.step)
        batch = data.take(self._members(order, state.step % self.steps_per_epoch))
        images, targets = self.task.training_examples(key, batch)
        x = preprocess.normalize(images, replica.mean, replica.deviation)
        dropout = jax.random.fold_in(stream(replica.seed, "dropout"), state.step)
        grads, (loss, correct, statistics) = self._gradient(state, x, targets, dropout)
        updates, optimizer = self.optimizer(replica.learning_rate).update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        totals = Totals(
            totals.loss + loss * size,
            totals.correct + correct,
            totals.count + size,
            jnp.where((totals.bad_step < 0) & ~jnp.isfinite(loss), state.step, totals.bad_step),
        )
        return TrainState(state.step + 1, params, statistics, optimizer), totals

    def _members(self, order: Array, batch: Array) -> Int[Array, "batch objects"]:
        """The images of a batch; the second objects of its examples come from the batch half an epoch away."""
        size, columns = self.training.batch_size, []
        for number in range(self.task.objects):
            start = (batch + number * (self.steps_per_epoch // 2)) % self.steps_per_epoch * size
            columns.append(jnp.roll(lax.dynamic_slice_in_dim(order, start, size), number))
        return jnp.stack(columns, axis=1)

    def _gradient(self, state: TrainState, x: Array, targets: Any, dropout: Array) -> tuple[Any, tuple]:
        """The gradient over the batch, summed over micro-batches; the barrier has them computed one after another."""
        gradient, total = jax.grad(self._loss, has_aux=True), None
        for start in range(0, len(x), self.micro_batch):
            part, wanted = jax.tree.map(operator.itemgetter(slice(start, start + self.micro_batch)), (x, targets))
            if total is not None:
                part, total = lax.optimization_barrier((part, total))
            key = jax.random.fold_in(dropout, start)
            grads, (loss, correct, statistics) = gradient(state.params, state.statistics, part, wanted, key)
            added = jax.tree.map(lambda leaf, share=len(part) / len(x): leaf * share, (grads, loss))
            added = (*added, correct)
            total = added if total is None else jax.tree.map(jnp.add, total, added)
        grads, loss, correct = total
        return grads, (loss, correct, statistics)

    def _loss(self, params: Any, statistics: Any, x: Array, targets: Any, dropout: Array) -> tuple[Array, tuple]:
        variables = {"params": params, **statistics}
        outputs, statistics = self.network.apply(
            variables, x, train=True, rngs={"dropout": dropout}, mutable=list(statistics)
        )
        loss = self.task.loss(outputs, targets, self.training.label_smoothing).mean()
        return loss, (loss, self.task.right(outputs, targets).sum(), statistics)

    def evaluate(
        self,
        state: TrainState,
        totals: Totals,
        replica: Replica,
        indices: Int[Array | np.ndarray, "batch objects"],
        batch: Images,
        mask: Bool[Array | np.ndarray, " batch"],
    ) -> tuple[Totals, Answers]:
        """The totals with the examples of a padded batch that the mask admits, and the answer to each example."""
        images, targets = self.task.test_examples(indices, batch)
        x = preprocess.normalize(images, replica.mean, replica.deviation)
        outputs = self.network.apply({"params": state.params, **state.statistics}, x)
        losses, right = self.task.loss(outputs, targets, 0.0), self.task.right(outputs, targets) & mask
        sums = (totals.loss + (losses * mask).sum(), totals.correct + right.sum(), totals.count + mask.sum())
        return Totals(*sums, totals.bad_step), Answers(right, outputs, targets)


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
