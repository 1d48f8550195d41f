"""How the loop over the steps runs: two strategies, one for CPUs and one for accelerators, and which is used where.

Both do the same steps on the same random numbers; they differ in what the compiler sees.
"""

import functools
import operator
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cnn.training.step import Answers, Batch, Gradient, Program, Replica, Totals, TrainState, add, members, padded
from cnn.training.tasks import Images

# For what runs once: the initial weights' random numbers take 0.6 s to compile this way, and 3.3 s to compile well.
RUN_ONCE = {"xla_backend_optimization_level": 0}


class Pace:
    """How far an epoch goes before it returns: to its end, or where `pause` asks for a stop between two steps.

    Replicas in threads of their own all do the same steps: whoever sees the request lets nobody begin a step that none
    has begun. At least one step is done, so that a run that is stopped again and again gets somewhere.
    """

    def __init__(self, first: int, end: int, pause: Callable[[], bool]) -> None:
        self.first, self.end, self.pause = first, end, pause
        self.begun, self.lock = first, Lock()

    def begins(self, step: int) -> bool:
        """Whether to do this step of the epoch."""
        with self.lock:
            if self.first < self.begun < self.end and self.pause():
                self.end = self.begun
            if step < self.end:
                self.begun = max(self.begun, step + 1)
            return step < self.end


@runtime_checkable
class Strategy(Protocol):
    """How replicas run: `states` is whatever the strategy keeps them in."""

    batch_size: int  # of an evaluation

    def start(self, replicas: list[Replica]) -> Any:
        """The states before the first step."""

    def warm_up(self, states: Any, replicas: list[Replica], data: Images) -> None:
        """Compile the training step, so that no epoch's seconds include it."""

    def epoch(
        self, states: Any, totals: list[Totals], replicas: list[Replica], data: Images, epoch: int, pace: Pace
    ) -> tuple[Any, list[Totals]]:
        """The states after an epoch, or after its steps up to `pace.end`, and its sums so far.

        The old states and sums must not be used again. A replica that diverged in an earlier epoch may stay as it is.
        """

    def evaluate(
        self, states: Any, replicas: list[Replica], data: Images, parts: list[np.ndarray]
    ) -> list[tuple[Totals, Answers]]:
        """For each replica the sums over its part of the data, and the answer to each image in it."""

    def unstack(self, states: Any) -> list[TrainState]:
        """One state for each replica."""

    def stack(self, states: list[TrainState]) -> Any:
        """The inverse of `unstack`."""


class PythonLoop:
    """Compiled functions dispatched from Python: for CPUs.

    XLA runs a convolution inside a compiled loop on one core and without its fast kernels, 2 to 100 times slower;
    outside, dispatch costs little. Nor does it keep several cores busy with the few images that fit a core's cache. So
    each core takes micro-batches of its own, and where a step is too short to be divided, replicas of their own: two
    trainings in threads take 0.74 of the time (digits) that they take one after another on two cores. What is added to
    what does not depend on which thread does it. A network without convolutions would gain from the scan: a step of
    28x28x1 takes 0.49 of the time, where one of the digits' ConvNet takes 4.3 times as long. All of it is measured in
    benchmarks/lowerings.py.
    """

    batch_size = 128  # larger batches leave the cache and are slower

    def __init__(self, program: Program) -> None:
        self.program = program
        size, micro_batch = program.training.batch_size, program.micro_batch
        parts = [(start, min(micro_batch, size - start)) for start in range(0, size, micro_batch)]
        count = min(cores(), len(parts))
        self.lanes = [parts[lane::count] for lane in range(count)]  # each adds its own parts, in order
        self.init = jax.jit(program.init, compiler_options=RUN_ONCE)
        self.shuffle = jax.jit(program.shuffle)
        self.step: Callable[..., tuple[TrainState, Totals]] = jax.jit(program.step, donate_argnums=(0, 1))
        self.evaluate_batch = jax.jit(program.evaluate)
        self.take = jax.jit(Images.take)
        if len(parts) > 1:
            self.batch = jax.jit(program.batch)
            self.weights = jax.jit(program.weights)
            self.none = jax.jit(program.none)
            self.gradient = jax.jit(_added(program), static_argnums=5, donate_argnums=6)
            self.update = jax.jit(program.update, donate_argnums=(0, 1))
            self.step = self._divided_step
        self.threads = ThreadPoolExecutor(cores())

    def _divided_step(
        self, state: TrainState, totals: Totals, replica: Replica, data: Images, order: Array
    ) -> tuple[TrainState, Totals]:
        """`Program.step` with the batch divided among the cores."""
        batch, weights = self.batch(state.step, replica, data, order), self.weights(state.params)
        gradients = self.threads.map(functools.partial(self._lane, weights, state, replica, batch), self.lanes)
        return self.update(state, totals, replica, list(gradients))

    def _lane(
        self, weights: Any, state: TrainState, replica: Replica, batch: Batch, parts: list[tuple[int, int]]
    ) -> Gradient:
        total = self.none(state.params, state.statistics)
        for start, size in parts:
            total = self.gradient(weights, state.statistics, replica, batch, start, size, total)
        return jax.block_until_ready(total)

    def start(self, replicas: list[Replica]) -> list[TrainState]:
        return [self.init(replica) for replica in replicas]

    def warm_up(self, states: list[TrainState], replicas: list[Replica], data: Images) -> None:
        spare = jax.tree.map(jnp.copy, states[0])  # the step takes its state away
        jax.block_until_ready(self.step(spare, Totals.zero(), replicas[0], data, self.shuffle(replicas[0], 0)))

    def epoch(
        self,
        states: list[TrainState],
        totals: list[Totals],
        replicas: list[Replica],
        data: Images,
        epoch: int,
        pace: Pace,
    ) -> tuple[list[TrainState], list[Totals]]:
        def one(stop: Event, state: TrainState, totals: Totals, replica: Replica) -> tuple[TrainState, Totals]:
            if 0 <= totals.bad_step < epoch * self.program.steps_per_epoch:
                return state, totals
            order, step = self.shuffle(replica, epoch), pace.first
            while not stop.is_set() and pace.begins(step):
                state, totals = self.step(state, totals, replica, data, order)
                step += 1
            return state, jax.device_get(totals)

        after, sums = zip(*_in_threads(one, states, totals, replicas))
        return list(after), list(sums)

    def evaluate(
        self, states: list[TrainState], replicas: list[Replica], data: Images, parts: list[np.ndarray]
    ) -> list[tuple[Totals, Answers]]:
        def one(stop: Event, state: TrainState, replica: Replica, part: np.ndarray) -> tuple[Totals, Answers]:
            def one_batch(indices: np.ndarray, mask: np.ndarray) -> tuple[Totals, Answers] | None:
                if stop.is_set():
                    return None
                batch = self.take(data, indices)
                return jax.device_get(self.evaluate_batch(state, replica, indices, batch, mask))

            batches = padded(members(part, self.program.task.objects), self.batch_size)
            sums, answers = zip(*self.threads.map(one_batch, *batches))
            gathered = jax.tree.map(lambda *parts: np.concatenate(parts)[: len(part)], *answers)
            return jax.device_get(Totals.of(jax.tree.map(lambda *parts: np.stack(parts), *sums))), gathered

        return _in_threads(one, states, replicas, parts)

    def unstack(self, states: list[TrainState]) -> list[TrainState]:
        return states

    def stack(self, states: list[TrainState]) -> list[TrainState]:
        return states


def _added(program: Program) -> Callable[..., Gradient]:
    """`Program.gradient` added to what a thread has already."""

    def gradient(
        params: Any, statistics: Any, replica: Replica, batch: Batch, start: Array, size: int, total: Gradient
    ) -> Gradient:
        return add(total, program.gradient(params, statistics, replica, batch, start, size))

    return gradient


class OneProgram:
    """All replicas in one program, `vmap` of a `lax.scan` over the steps of an epoch: for accelerators.

    What is in one program cannot be stopped inside: requests wait for the end of the epoch.
    """

    batch_size = 1000

    def __init__(self, program: Program) -> None:
        self.objects = program.task.objects
        self.init = jax.jit(jax.vmap(program.init))

        def epoch(
            state: TrainState, totals: Totals, replica: Replica, data: Images, number: int | Array, steps: int
        ) -> tuple[TrainState, Totals]:
            order = program.shuffle(replica, number)

            def step(carry: tuple[TrainState, Totals], _: None) -> tuple[tuple[TrainState, Totals], None]:
                return program.step(*carry, replica, data, order), None

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

    def start(self, replicas: list[Replica]) -> TrainState:
        return self.init(_stack(replicas))

    def warm_up(self, states: TrainState, replicas: list[Replica], data: Images) -> None:
        """Nothing: a spare epoch costs more than it tells, so the first one's seconds include compilation."""

    def epoch(
        self, states: TrainState, totals: list[Totals], replicas: list[Replica], data: Images, epoch: int, pace: Pace
    ) -> tuple[TrainState, list[Totals]]:
        steps = pace.end - pace.first  # fewer than an epoch's where a CPU's checkpoint inside one is continued
        states, sums = self.run_epoch(states, _stack(totals), _stack(replicas), data, epoch, steps)
        return states, jax.device_get(_unstack(sums, len(replicas)))

    def evaluate(
        self, states: TrainState, replicas: list[Replica], data: Images, parts: list[np.ndarray]
    ) -> list[tuple[Totals, Answers]]:
        batches = [padded(members(part, self.objects), self.batch_size) for part in parts]
        indices, mask = jnp.stack([batch[0] for batch in batches]), batches[0][1]
        found = self.run_evaluate(states, _stack(replicas), data, indices, mask)
        totals, answers = (jax.device_get(_unstack(tree, len(parts))) for tree in found)
        rows = [
            jax.tree.map(lambda leaf, n=len(part): leaf.reshape(-1, *leaf.shape[2:])[:n], one)
            for one, part in zip(answers, parts)
        ]
        return list(zip(totals, rows))

    def unstack(self, states: TrainState) -> list[TrainState]:
        return _unstack(states, len(states.step))

    def stack(self, states: list[TrainState]) -> TrainState:
        return _stack(states)


def _in_threads(function: Callable[..., Any], *lists: list[Any]) -> list[Any]:
    """`function(stop, ...)` on each row, a thread each; where this thread is interrupted, `stop` tells the others."""
    stop = Event()
    with ThreadPoolExecutor(max_workers=len(lists[0])) as threads:
        try:
            return list(threads.map(functools.partial(function, stop), *lists))
        except BaseException:
            stop.set()
            raise


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unstack(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(operator.itemgetter(index), tree) for index in range(count)]


@functools.lru_cache(maxsize=16)
def strategy(program: Program) -> Strategy:
    """How the loop runs on this machine's device. Kept, so that a network compiles once for all its seeds and rates."""
    return PythonLoop(program) if jax.default_backend() == "cpu" else OneProgram(program)


def largest_group() -> int:
    """How many replicas are best run together: on a CPU one for each core, up to 4; more was not measured."""
    if jax.default_backend() != "cpu":
        return 16
    return min(cores(), 4)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
