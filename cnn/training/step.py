"""A replica's state, training step and exact evaluation, and the step of several at once. `loops` compiles these.

Images stay uint8 until a step has taken its batch. Sums, losses and the state are float32 in every precision.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from cnn.backends import PRECISIONS, multiplying
from cnn.data import preprocess
from cnn.data.batches import Batches, Images, named_key
from cnn.network.forms import Forms
from cnn.network.layers import Chain
from cnn.trained.network import forward
from cnn.training.optimizer import Optimizer
from cnn.training.tasks import Task


class TrainState(flax.struct.PyTreeNode):
    """What training changes: steps done, parameters, batch-normalisation statistics and the optimiser's state.

    Replicas that run in one program are stacked along a first axis, here and in the classes below.
    """

    step: Int[Array, "*replicas"]
    params: Any
    statistics: Any
    optimizer: Any


class Replica(flax.struct.PyTreeNode):
    """What differs between replicas: seed, highest learning rate, training images, and their mean and deviation."""

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
    def of(cls, parts: Sequence["Totals"]) -> "Totals":
        """The sums over the images of all parts, added up on the host in the order of the parts."""
        rows = jax.device_get([(part.loss, part.correct, part.count, part.bad_step) for part in parts])
        *sums, bad_steps = zip(*rows, strict=True)
        loss, correct, count = (np.asarray(functools.reduce(np.add, column)) for column in sums)
        return cls(loss, correct, count, np.asarray(max(bad_steps)))


class Batch(flax.struct.PyTreeNode):
    """The examples of one step: augmented uint8 images, their targets, and the key of the step's dropout."""

    images: UInt8[Array, "*replicas batch height width c"]
    targets: Any
    dropout: Key[Array, "*replicas"]


class Gradient(flax.struct.PyTreeNode):
    """Sums over the images of a batch or of a part of it, and the batch-normalisation statistics after these images."""

    params: Any
    loss: Float[Array, "*replicas"]
    correct: Int[Array, "*replicas"]
    statistics: Any


class Answers(flax.struct.PyTreeNode):
    """The evaluation of each example: the network's outputs, the targets, and whether the outputs are right."""

    right: Bool[Array | np.ndarray, "*n"]
    outputs: Float[Array | np.ndarray, "*n outputs"]
    targets: Any


@dataclass(frozen=True)
class Program:
    """What is compiled once. Seeds and learning rates are arguments of the compiled functions.

    Args:
        network: what learns.
        task: what the network learns to do.
        batches: where a step finds its examples.
        optimizer: returns the gradient transformation for a highest learning rate.
        forms: the form of each operation on this machine.
        micro_batch: images whose gradient a CPU computes together.
        precision: of a step's images, activations and weights.
        label_smoothing: share of the target that is spread evenly over the classes.
    """

    network: Chain
    task: Task
    batches: Batches
    optimizer: Optimizer
    forms: Forms
    micro_batch: int
    precision: str = "float32"
    label_smoothing: float = 0.0

    def init(self, replica: Replica) -> TrainState:
        """The state before the first step."""
        image = jnp.zeros((1, *self.task.image_shape), jnp.float32)
        variables = dict(self.network.init(named_key(replica.seed, "init"), image, forms=self.forms))
        params = variables.pop("params")
        return TrainState(jnp.int32(0), params, variables, self.optimizer(replica.learning_rate).init(params))

    def order(self, replica: Replica, epoch: int | Array) -> Any:
        """The training images in the order of an epoch."""
        return self.batches.order(replica.seed, replica.train_indices, epoch)

    def step(self, state: TrainState, totals: Totals, replica: Replica, given: Any) -> tuple[TrainState, Totals]:
        """One step of the optimiser on what `Batches.feed` gives for it; the batch's sums are added to the totals."""
        batch = self.batch(state.step, replica, given)
        gradient = self.gradient(self.weights(state.params), state.statistics, replica, batch, 0, self.batches.size)
        return self.update(state, totals, replica, [gradient])

    def batch(self, step: Int[Array, ""], replica: Replica, given: Any) -> Batch:
        """The examples of a step, augmented."""
        examples = self.batches.examples(given, step)
        key = jax.random.fold_in(named_key(replica.seed, "augment"), step)
        images, targets = self.task.training_examples(key, examples)
        return Batch(images, targets, jax.random.fold_in(named_key(replica.seed, "dropout"), step))

    def weights(self, params: Any) -> Any:
        """The parameters in the precision that a step computes in."""
        return jax.tree.map(lambda leaf: leaf.astype(PRECISIONS[self.precision].dtype), params)

    def gradient(
        self, params: Any, statistics: Any, replica: Replica, batch: Batch, start: int | Int[Array, ""], size: int
    ) -> Gradient:
        """The gradient over `size` images of a batch, from `start` on."""
        images, targets = jax.tree.map(
            lambda leaf: lax.dynamic_slice_in_dim(leaf, start, size), (batch.images, batch.targets)
        )
        given = self._normalized(replica, images), targets, batch.dropout
        loss = functools.partial(self._loss, self.forms.at(start))
        grads, rest = jax.grad(loss, has_aux=True)(params, statistics, *given)
        return _gradient(grads, rest)

    def _normalized(self, replica: Replica, images: Array) -> Array:
        return preprocess.normalize(images, replica.mean, replica.deviation, PRECISIONS[self.precision].dtype)

    def _loss(
        self,
        forms: Forms,
        params: Any,
        statistics: Any,
        x: Array,
        targets: Any,
        dropout: Array,
        counts: Array | None = None,
    ) -> tuple[Array, tuple[Array, Array, Any]]:
        variables = {"params": params, **statistics}
        with multiplying(self.precision):
            outputs, statistics = self.network.apply(
                variables, x, train=True, forms=forms, rngs={"dropout": dropout}, mutable=list(statistics)
            )
        outputs = outputs.astype(jnp.float32)
        losses = self.task.loss(outputs, targets, self.label_smoothing)
        right = self.task.right(outputs, targets)
        if counts is not None:
            losses = jnp.where(counts, losses, 0)
            right = right & counts
        loss = losses.sum()
        return loss, (loss, right.sum(), statistics)

    def steps(
        self, states: TrainState, totals: Totals, replicas: Replica, given: tuple[Images, Array]
    ) -> tuple[TrainState, Totals]:
        """`step` of several replicas side by side; all but the data has a first axis for them.

        Each device computes its part of each batch, as `forms.spread` says. The gradient is that of the sum of all
        losses: XLA then knows the gradient of the weights of a convolution by its `batch_group_count`, and has kernels
        for it. By `vmap` of the gradients it would be a convolution whose filters are as large as images.
        """
        spread = self.forms.spread
        batches = jax.vmap(self.batch, (0, 0, (None, 0)))(states.step, replicas, given)
        images, targets = jax.tree.map(jax.vmap(spread.own), (batches.images, batches.targets))
        x = jax.vmap(self._normalized)(replicas, images)
        counts = spread.counts()

        def loss(params: Any) -> tuple[Array, tuple[Array, Array, Any]]:
            each = functools.partial(self._loss, self.forms, counts=counts)
            losses, rest = jax.vmap(each)(params, states.statistics, x, targets, batches.dropout)
            return losses.sum(), rest

        gradient = _gradient(*jax.grad(loss, has_aux=True)(self.weights(states.params)))
        if spread.devices > 1:
            sums = jax.tree.map(spread.sum, gradient.replace(statistics=None))
            gradient = sums.replace(statistics=gradient.statistics)
        return jax.vmap(self.update)(states, totals, replicas, [gradient])

    def none(self, params: Any, statistics: Any) -> Gradient:
        """The gradient over no image."""
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params)
        return Gradient(zeros, jnp.float32(0), jnp.int32(0), statistics)

    def update(
        self, state: TrainState, totals: Totals, replica: Replica, parts: list[Gradient]
    ) -> tuple[TrainState, Totals]:
        """Apply the optimiser to a batch's gradient, the sum of the parts; add the batch's sums to the totals."""
        size = self.batches.size
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

    def evaluate(
        self,
        state: TrainState,
        replica: Replica,
        indices: Int[Array | np.ndarray, "batch objects"],
        batch: Images,
        mask: Bool[Array | np.ndarray, " batch"],
    ) -> tuple[Totals, Answers]:
        """The sums over those examples of a padded batch where the mask is true, and the answer to each example."""
        images, targets = self.task.test_examples(indices, batch)
        variables = {"params": state.params, **state.statistics}
        scale = (replica.mean, replica.deviation)
        outputs = forward(self.network, self.forms, self.precision, variables, images, *scale, self.task.mirror)
        losses = self.task.loss(outputs, targets, 0.0)
        right = self.task.right(outputs, targets) & mask
        sums = Totals((losses * mask).sum(), right.sum(), jnp.sum(mask), jnp.int32(-1))
        return sums, Answers(right, outputs, targets)


def _gradient(grads: Any, rest: tuple[Array, Array, Any]) -> Gradient:
    return Gradient(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), grads), *rest)


def add(first: Gradient, second: Gradient) -> Gradient:
    """The gradient over the images of both parts; the second is the later one."""
    sums = jax.tree.map(jnp.add, first.replace(statistics=None), second.replace(statistics=None))
    return sums.replace(statistics=second.statistics)
