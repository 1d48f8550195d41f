"""The loop for CPUs: Python starts compiled functions, a batch is divided among the cores, replicas run in threads.

Inside a compiled loop, XLA runs a convolution on one core and without its fast kernels, 2 to 100 times slower. Outside
of such a loop, starting a function costs little. Nor does XLA keep several cores busy with the few images that fit into
one core's cache. So each core takes micro-batches of its own. Where a step is too short to be divided, each core takes
a replica of its own: on two cores, two trainings in threads take 0.55 of the time (digits) that they take one after
another. Sums are added in a fixed order, whichever thread computes them. A network without convolutions is faster with
many steps in one program (`pieces`) if they are short. A step of the digits' ConvNet takes 5.0 times as long there.
benchmarks/lowerings.py measures all of this.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnn.data.batches import members, padded
from cnn.training.loops.loop import Pace, Stopped, named
from cnn.training.loops.pieces import Pieces, run_steps
from cnn.training.loops.stages import Staged
from cnn.training.step import Answers, Batch, Gradient, Program, Replica, Totals, TrainState

# For programs that run once: drawing the initial weights compiles in 0.6 s this way, in 3.3 s with all optimisations.
RUN_ONCE = {"xla_backend_optimization_level": 0}
Step = Callable[[TrainState, Totals, Replica, Any], tuple[TrainState, Totals]]


class DividedStep:
    """`Program.step` with the batch divided among the cores: each adds up the gradients of its own micro-batches.

    Where a network needs sums over the whole batch, the gradient is computed in stages (`loops.stages`).

    Args:
        program: what is compiled.
        cores: how many micro-batches are computed side by side.
        pool: threads for them.
    """

    def __init__(self, program: Program, cores: int, pool: ThreadPoolExecutor) -> None:
        self.program = program
        self.parts = micro_batches(program)
        count = min(cores, len(self.parts))
        self.lanes = [range(lane, len(self.parts), count) for lane in range(count)]  # each adds its own parts, in order
        self.pool = pool
        self.batch = jax.jit(program.batch)
        self.weights = jax.jit(program.weights)
        self.none = jax.jit(program.none)
        self.update = jax.jit(program.update, donate_argnums=(0, 1))
        self.joined = jax.jit(_joined)
        self._staged: dict[int, Staged] = {}  # by the size of a micro-batch

    def __call__(self, state: TrainState, totals: Totals, replica: Replica, given: Any) -> tuple[TrainState, Totals]:
        batch = self.batch(state.step, replica, given)
        arguments = (self.weights(state.params), state.statistics, replica, batch)
        nothing = [self.none(state.params, state.statistics) for _ in self.lanes]
        return self.update(state, totals, replica, self._gradients(arguments, nothing))

    def _gradients(self, arguments: tuple[Any, ...], nothing: list[Gradient]) -> list[Gradient]:
        """The gradient of each lane, which adds to a gradient over no image of its own."""
        programs = [self._program(size, arguments, nothing[0]) for _, size in self.parts]
        flat = jax.tree.leaves(arguments)
        values = [program.start([*flat, start]) for program, (start, _) in zip(programs, self.parts, strict=True)]
        sums = [jax.tree.leaves(none) for none in nothing]
        for number in range(len(programs[0].stages)):

            def run(lane: range, sums: list[Array], number: int = number) -> list[list[Array]]:
                marks = [programs[part].run(number, values[part], sums) for part in lane]
                jax.block_until_ready((marks, sums))
                return marks

            found = itertools.chain(*self.pool.map(run, self.lanes, sums))
            marks = dict(zip(itertools.chain(*self.lanes), found, strict=True))
            if programs[0].stages[number].marks:
                joined = self.joined([marks[part] for part in range(len(self.parts))])
                for program, known in zip(programs, values, strict=True):
                    program.join(number, known, joined)
        structure = jax.tree.structure(nothing[0])
        return [
            jax.tree.unflatten(structure, programs[lane[-1]].leaves(values[lane[-1]], total))
            for lane, total in zip(self.lanes, sums, strict=True)
        ]

    def _program(self, size: int, arguments: tuple[Any, ...], none: Gradient) -> Staged:
        if size not in self._staged:
            statistics = len(jax.tree.leaves(none.statistics))  # these come last, and are not added up
            summed = [True] * (len(jax.tree.leaves(none)) - statistics) + [False] * statistics

            def gradient(params: Any, statistics: Any, replica: Replica, batch: Batch, start: Array) -> Gradient:
                return self.program.gradient(params, statistics, replica, batch, start, size)

            self._staged[size] = Staged(gradient, (*arguments, 0), summed)
        return self._staged[size]


def micro_batches(program: Program) -> list[tuple[int, int]]:
    """First image and size of each part of a batch."""
    size = program.batches.size
    return [(start, min(program.micro_batch, size - start)) for start in range(0, size, program.micro_batch)]


def _joined(parts: list[list[Array]]) -> list[Array]:
    """The sum of what each micro-batch has at each mark, in the order of the batch."""
    return [functools.reduce(jnp.add, values) for values in zip(*parts, strict=True)]


class ThreadsLoop:
    """Compiled functions that Python starts; a thread for each replica.

    Args:
        program: what is compiled.
        cores: how many cores this process may use.
        pool: a thread for each core, shared by all loops of the process.
        in_pieces: run many steps in one program; the data set must lie on the device as a whole.
    """

    batch_size = 128  # larger batches leave the cache and are slower

    def __init__(self, program: Program, cores: int, pool: ThreadPoolExecutor, in_pieces: bool = False) -> None:
        self.program = program
        self.pool = pool
        self.init = jax.jit(program.init, compiler_options=RUN_ONCE)
        self.order = jax.jit(program.order)
        divided = len(micro_batches(program)) > 1
        self.step: Step = DividedStep(program, cores, pool) if divided else jax.jit(program.step, donate_argnums=(0, 1))
        self.evaluate_batch = jax.jit(program.evaluate)
        self.pieces = Pieces() if in_pieces else None
        self.piece = jax.jit(self._piece, donate_argnums=(0, 1))

    def _piece(
        self, state: TrainState, totals: Totals, replica: Replica, given: Any, count: int | Array
    ) -> tuple[TrainState, Totals]:
        def step(state: TrainState, totals: Totals) -> tuple[TrainState, Totals]:
            return self.program.step(state, totals, replica, given)

        return run_steps(step, state, totals, count)

    def sharing(self, replicas: int) -> int:
        return 1

    def start(self, replicas: Sequence[Replica]) -> list[TrainState]:
        return [self.init(replica) for replica in replicas]

    def warm_up(self, states: list[TrainState], replicas: Sequence[Replica], data: Any) -> None:
        spare = jax.tree.map(jnp.copy, states[0])  # a step donates its state, which is then gone
        given = next(self.program.batches.feed(data, self.order(replicas[0], 0), 0))
        if self.pieces is None:
            jax.block_until_ready(self.step(spare, Totals.zero(), replicas[0], given))
        else:
            jax.block_until_ready(self.piece(spare, Totals.zero(), replicas[0], given, 0))

    def epoch(
        self,
        states: list[TrainState],
        totals: list[Totals],
        replicas: Sequence[Replica],
        data: Any,
        epoch: int,
        pace: Pace,
    ) -> tuple[list[TrainState], list[Totals]]:
        def one(stop: Event, state: TrainState, totals: Totals, replica: Replica) -> tuple[TrainState, Totals]:
            if 0 <= int(totals.bad_step) < epoch * self.program.batches.steps_per_epoch:
                return state, totals
            given = self.program.batches.feed(data, self.order(replica, epoch), pace.first)
            step = pace.first
            before = epoch * self.program.batches.steps_per_epoch
            while not stop.is_set() and (count := pace.begins(step, self.pieces.length if self.pieces else 1)):
                with named(before + step):
                    if self.pieces is None:
                        state, totals = self.step(state, totals, replica, next(given))
                    else:
                        state, totals = self.pieces.timed(count, self.piece, state, totals, replica, next(given), count)
                step += count
            return state, jax.device_get(totals)

        after, sums = zip(*_in_threads(one, states, totals, replicas), strict=True)
        return list(after), list(sums)

    def evaluate(
        self,
        states: list[TrainState],
        replicas: Sequence[Replica],
        data: Any,
        parts: Sequence[np.ndarray],
        stop: Callable[[], bool],
    ) -> list[tuple[Totals, Answers]]:
        def one(failed: Event, state: TrainState, replica: Replica, part: np.ndarray) -> tuple[Totals, Answers]:
            def one_batch(indices: np.ndarray, mask: np.ndarray) -> tuple[Totals, Answers]:
                if failed.is_set() or stop():
                    raise Stopped
                batch = self.program.batches.take(data, indices)
                return jax.device_get(self.evaluate_batch(state, replica, indices, batch, mask))

            batches = padded(members(part, self.program.task.objects), self.batch_size)
            sums, answers = zip(*self.pool.map(one_batch, *batches), strict=True)
            gathered = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(part)], *answers)
            return Totals.of(sums), gathered

        return _in_threads(one, states, replicas, parts)

    def unstack(self, states: list[TrainState], count: int) -> list[TrainState]:
        return states

    def stack(self, states: Sequence[TrainState]) -> list[TrainState]:
        return list(states)


def _in_threads(function: Callable[..., Any], *lists: Sequence[Any]) -> list[Any]:
    """Call `function(stop, ...)` for each row, in threads. If this thread is interrupted, it sets `stop` for them."""
    stop = Event()
    with ThreadPoolExecutor(max_workers=len(lists[0])) as threads:
        try:
            return list(threads.map(functools.partial(function, stop), *lists))
        except BaseException:
            stop.set()
            raise
