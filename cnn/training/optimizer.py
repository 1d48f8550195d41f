"""The optimiser of every training: AdamW under a learning rate that rises and then falls to 0.

Example:
    >>> import jax.numpy as jnp
    >>> optimizer = adamw(TrainingConfig(), steps=10)(1e-3)
    >>> state = optimizer.init({"kernel": jnp.ones((2, 2))})
"""

from collections.abc import Callable

import jax
import optax
from jax import Array

from cnn.config import TrainingConfig

Optimizer = Callable[[float | Array], optax.GradientTransformation]  # its argument: the highest learning rate
WARMUP = 0.2  # share of the steps in which the learning rate rises


def adamw(training: TrainingConfig, steps: int) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019) under a linear warm-up and a cosine decay to 0 (Smith 2018, "1cycle").

    Biases and the parameters of normalisations do not decay.

    Args:
        training: gives the weight decay.
        steps: number of steps of the whole training.
    """

    def optimizer(learning_rate: float | Array) -> optax.GradientTransformation:
        unit = optax.warmup_cosine_decay_schedule(0.0, 1.0, max(int(WARMUP * steps), 1), steps + 1)
        return optax.adamw(
            lambda count: learning_rate * unit(count + 1),
            weight_decay=training.weight_decay,
            mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
        )

    return optimizer
