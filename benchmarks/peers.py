"""One training step as others would write it: plain Flax Linen and PyTorch, each the way its documentation teaches.

Every peer has the same layers and the same optimiser as this project, and one batch of random floats that stays in
memory. So a peer neither gathers nor normalises images, which this project's step does. Each function here prepares
some steps in a row, and returns a function that does the steps, waits, and returns the loss of the last step. Libraries
are imported inside the functions, so that the process of one side does not load another's. PyTorch takes a thread for
each core that it may use.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import peer_networks
from benchmarks.problems import CLASSES, LEARNING_RATE, MOMENTUM, Problem
from benchmarks.turns import Unavailable
from cnn.machine import cores


def batch(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Random images [n, height, width, c] as float32, and labels [n] as int32."""
    random = np.random.default_rng(0)
    images = random.normal(size=(problem.batch_size, *problem.image_shape)).astype(np.float32)
    return images, random.integers(0, CLASSES, problem.batch_size).astype(np.int32)


def plain_flax(problem: Problem, precision: str, steps: int) -> Callable[[], float]:
    """Steps of the network of Linen's layers: one jitted function on the whole batch, with its state donated."""
    import jax
    import jax.numpy as jnp
    import optax

    network = peer_networks.flax_network(problem, precision)
    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)
    images, labels = map(jnp.asarray, batch(problem))

    def loss(params: dict, rest: dict, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, Any]:
        outputs, changed = network.apply({"params": params, **rest}, images, mutable=list(rest))
        logits = jnp.asarray(outputs, jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), dict(changed)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: tuple, images: jax.Array, labels: jax.Array) -> tuple[tuple, jax.Array]:
        params, rest, momentum = state
        (value, rest), gradient = jax.value_and_grad(loss, has_aux=True)(params, rest, images, labels)
        updates, momentum = optimizer.update(gradient, momentum)
        return (optax.apply_updates(params, updates), rest, momentum), value

    rest = dict(jax.jit(network.init)(jax.random.key(0), images[:1]))
    params = rest.pop("params")
    state = (params, rest, optimizer.init(params))

    def run() -> float:
        nonlocal state
        for _ in range(steps):
            state, value = step(state, images, labels)
        jax.block_until_ready(state)
        return float(value)

    return run


def use_every_core() -> dict[str, Any]:
    """Give PyTorch a thread for each core that this project uses; its default is the number of physical cores.

    Returns:
        PyTorch's version and its number of threads.
    """
    import torch

    torch.set_num_threads(cores())
    return {"torch": str(torch.__version__), "torch_threads": torch.get_num_threads()}


def pytorch(problem: Problem, precision: str, steps: int, compiled: bool = False) -> Callable[[], float]:
    """Steps of the network of PyTorch's layers on channels-last images; bfloat16 uses autocast.

    Raises:
        Unavailable: PyTorch is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise Unavailable("PyTorch is not installed") from None
    use_every_core()
    network = peer_networks.torch_network(problem).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, MOMENTUM)
    forward = torch.compile(network) if compiled else network
    images, labels = map(torch.from_numpy, batch(problem))
    images = images.permute(0, 3, 1, 2).to(memory_format=torch.channels_last)
    labels = labels.long()
    lower = torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()

    def run() -> float:
        for _ in range(steps):
            optimizer.zero_grad()
            with lower:
                loss = torch.nn.functional.cross_entropy(forward(images), labels)
            loss.backward()
            optimizer.step()
        return loss.item()

    return run
