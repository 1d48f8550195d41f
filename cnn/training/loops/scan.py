"""The loop for accelerators: all replicas in one program, `vmap` of a `lax.scan` over the steps of an epoch.

A running program cannot be stopped, so a request to stop waits for the end of the epoch. Nor can it be given a batch:
the data set must lie on the device as a whole.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cnn.data.batches import Images, Resident, members, padded
from cnn.errors import require
from cnn.training.loops.loop import Pace, Stopped
from cnn.training.step import Answers, Program, Replica, Totals, TrainState


class ScanLoop:
    """One program for an epoch of all replicas, and one for an evaluation.

    Args:
        program: what is compiled.

    Raises:
        RequestError: the program's batches are not `Resident`.
    """

    batch_size = 1000

    def __init__(self, program: Program) -> None:
        kind = type(program.batches).__name__
        require(isinstance(program.batches, Resident), "batches", kind, "Resident where a whole epoch is one program")
        self.program = program
        self.init = jax.jit(jax.vmap(program.init))

        def epoch(
            state: TrainState, totals: Totals, replica: Replica, data: Images, number: int | Array, steps: int
        ) -> tuple[TrainState, Totals]:
            given = data, program.order(replica, number)

            def step(carry: tuple[TrainState, Totals], _: None) -> tuple[tuple[TrainState, Totals], None]:
                return program.step(*carry, replica, given), None

            return lax.scan(step, (state, totals), length=steps)[0]

        def evaluate(state: TrainState, replica: Replica, data: Images, indices: Any, mask: Any) -> tuple[Totals, Any]:
            def batch(batch: tuple[Array, Array]) -> tuple[Totals, Answers]:
                return program.evaluate(state, replica, batch[0], data.take(batch[0]), batch[1])

            sums, answers = lax.map(batch, (indices, mask))
            return Totals.of(sums), answers

        def epochs(states: TrainState, totals: Totals, replicas: Replica, data: Images, number: Any, steps: int) -> Any:
            return jax.vmap(functools.partial(epoch, steps=steps), in_axes=(0, 0, 0, None, None))(
                states, totals, replicas, data, number
            )

        self.run_epoch = jax.jit(epochs, static_argnums=5, donate_argnums=0)
        self.run_evaluate = jax.jit(jax.vmap(evaluate, in_axes=(0, 0, None, 0, None)))

    def start(self, replicas: Sequence[Replica]) -> TrainState:
        return self.init(_stack(replicas))

    def warm_up(self, states: TrainState, replicas: Sequence[Replica], data: Images) -> None:
        """Do nothing: a spare epoch would cost more than it saves. So the first epoch's seconds include compilation."""

    def epoch(
        self,
        states: TrainState,
        totals: list[Totals],
        replicas: Sequence[Replica],
        data: Images,
        epoch: int,
        pace: Pace,
    ) -> tuple[TrainState, list[Totals]]:
        steps = pace.end - pace.first  # less than an epoch after a CPU's checkpoint in the middle of one
        states, sums = self.run_epoch(states, _stack(totals), _stack(replicas), data, epoch, steps)
        return states, jax.device_get(_unstack(sums, len(replicas)))

    def evaluate(
        self,
        states: TrainState,
        replicas: Sequence[Replica],
        data: Images,
        parts: Sequence[np.ndarray],
        stop: Callable[[], bool],
    ) -> list[tuple[Totals, Answers]]:
        if stop():
            raise Stopped
        batches = [padded(members(part, self.program.task.objects), self.batch_size) for part in parts]
        indices = jnp.stack([batch[0] for batch in batches])
        stacked = self.run_evaluate(states, _stack(replicas), data, indices, batches[0][1])
        totals, answers = (jax.device_get(_unstack(tree, len(parts))) for tree in stacked)
        rows = [
            jax.tree.map(lambda leaf, n=len(part): leaf.reshape(-1, *leaf.shape[2:])[:n], one)
            for one, part in zip(answers, parts, strict=True)
        ]
        return list(zip(totals, rows, strict=True))

    def unstack(self, states: TrainState) -> list[TrainState]:
        return _unstack(states, len(states.step))

    def stack(self, states: Sequence[TrainState]) -> TrainState:
        return _stack(states)


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unstack(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(operator.itemgetter(index), tree) for index in range(count)]
