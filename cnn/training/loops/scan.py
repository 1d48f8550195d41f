"""The loop for accelerators: all replicas and many steps are one program, on all devices of a machine or of many.

On each device, replicas run side by side (`vmap`) in groups, and group after group (`lax.map`). Where there are more
devices than replicas, each batch is divided among devices too (`mesh.shape`). An epoch is cut into pieces (`pieces`),
which change no bit, and an evaluation into pieces of some batches. The data set must lie on the devices as a whole.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import NamedSharding, PartitionSpec
from jax.stages import Wrapped

from cnn.data.batches import Images, Resident, members, padded
from cnn.errors import require
from cnn.network import summary
from cnn.network.spread import BATCH_AXIS, Spread
from cnn.training.loops.loop import Pace, Stopped, named
from cnn.training.loops.mesh import REPLICA_AXIS, Shape, mesh, placed, shape
from cnn.training.loops.pieces import Pieces, run_steps
from cnn.training.step import Answers, Program, Replica, Totals, TrainState

EVERYWHERE = PartitionSpec()  # how arrays lie on the devices: all of them on each
BY_REPLICA = PartitionSpec(REPLICA_AXIS)
BY_BATCH = PartitionSpec(BATCH_AXIS)
BY_BOTH = PartitionSpec(REPLICA_AXIS, BATCH_AXIS)
# Batches of an evaluation that a device computes in one program. For a TPU v5e, the compiler estimates four batches at
# 1.3 times the cycles of one, since most of it comes before the first (benchmarks/README.md).
BATCHES = 4


class ScanLoop:
    """One program for many steps of all replicas, and one for some batches of an evaluation on each device.

    Args:
        program: what is compiled.
        devices: that share the work.
        together: how many replicas a device computes side by side.

    Raises:
        RequestError: the program's batches are not `Resident`.
    """

    batch_size = 1000  # of the replicas that a device computes side by side, all together

    def __init__(self, program: Program, devices: Sequence[jax.Device], together: int) -> None:
        kind = type(program.batches).__name__
        require(isinstance(program.batches, Resident), "batches", kind, "Resident where many steps are one program")
        self.program = program
        self.devices = devices
        self.together = together
        self._compiled: dict[Shape, Compiled] = {}
        self._pieces: defaultdict[int, Pieces] = defaultdict(Pieces)  # by the number of replicas

    def _shape(self, replicas: int) -> Shape:
        network = self.program.network, self.program.task.image_shape
        size = self.program.batches.size
        return shape(replicas, len(self.devices), size, summary.images_together(*network), summary.by_image(*network))

    def sharing(self, replicas: int) -> int:
        chosen = self._shape(replicas)
        size = self.program.batches.size
        return min(replicas, chosen.replica) * Spread(chosen.batch, size).busy

    def compiled(self, replicas: int) -> "Compiled":
        """The programs for so many replicas."""
        chosen = self._shape(replicas)
        if chosen not in self._compiled:
            self._compiled[chosen] = Compiled(self.program, self.devices, chosen, self.together)
        return self._compiled[chosen]

    def start(self, replicas: Sequence[Replica]) -> TrainState:
        compiled = self.compiled(len(replicas))
        state: TrainState = compiled.init(compiled.stack(replicas))
        return state

    def warm_up(self, states: TrainState, replicas: Sequence[Replica], data: Images) -> None:
        compiled = self.compiled(len(replicas))
        spare = jax.tree.map(jnp.copy, states)  # a piece donates its states, which are then gone
        totals = compiled.stack([Totals.zero() for _ in replicas])
        jax.block_until_ready(compiled.steps(spare, totals, compiled.stack(replicas), compiled.everywhere(data), 0, 0))

    def epoch(
        self,
        states: TrainState,
        totals: list[Totals],
        replicas: Sequence[Replica],
        data: Images,
        epoch: int,
        pace: Pace,
    ) -> tuple[TrainState, list[Totals]]:
        compiled = self.compiled(len(replicas))
        pieces = self._pieces[len(replicas)]
        stacked = compiled.stack(replicas)
        on_all = compiled.everywhere(data)
        sums = compiled.stack(totals)
        step = pace.first
        while count := pace.begins(step, pieces.length):
            with named(epoch * self.program.batches.steps_per_epoch + step):
                states, sums = pieces.timed(count, compiled.steps, states, sums, stacked, on_all, epoch, count)
            step += count
        return states, compiled.unstacked(sums, len(replicas))

    def evaluate(
        self,
        states: TrainState,
        replicas: Sequence[Replica],
        data: Images,
        parts: Sequence[np.ndarray],
        stop: Callable[[], bool],
    ) -> list[tuple[Totals, Answers]]:
        compiled = self.compiled(len(replicas))
        stacked = compiled.stack(replicas)
        on_all = compiled.everywhere(data)
        size = max(self.batch_size // compiled.side_by_side(len(replicas)), 1)
        batches = [padded(members(part, self.program.task.objects), size) for part in parts]
        axis = compiled.mesh.shape[BATCH_AXIS]
        piece = min(BATCHES, -(-len(batches[0][1]) // axis)) * axis
        indices = [_filled(places, piece) for places, _ in batches]
        mask = _filled(batches[0][1], piece)
        found: list[list[tuple[Totals, Answers]]] = []
        running = None
        for first in range(0, len(mask), piece):
            if stop():
                raise Stopped
            now = slice(first, first + piece)
            given = compiled.stack([places[now] for places in indices], BY_BOTH), compiled.put(mask[now], BY_BATCH)
            before = running
            running = compiled.evaluate(states, stacked, on_all, *given)  # while the host fetches what was before
            found += [] if before is None else [compiled.unstacked(before, len(parts))]
        found.append(compiled.unstacked(running, len(parts)))
        return [_joined(pieces, len(part)) for pieces, part in zip(zip(*found, strict=True), parts, strict=True)]

    def unstack(self, states: TrainState, count: int) -> list[TrainState]:
        return self.compiled(count).unstacked(states, count, jnp.asarray)

    def stack(self, states: Sequence[TrainState]) -> TrainState:
        stacked: TrainState = self.compiled(len(states)).stack(states)
        return stacked


class Compiled:
    """The programs for one shape of the mesh. What differs between replicas is stacked along a first axis.

    Args:
        program: what is compiled.
        devices: that share the work.
        shape: how they share it.
        together: how many replicas a device computes side by side.
    """

    def __init__(self, program: Program, devices: Sequence[jax.Device], shape: Shape, together: int) -> None:
        self.mesh = mesh(devices, shape)
        self.together = together
        self._program = dataclasses.replace(
            program, forms=program.forms.over(Spread(shape.batch, program.batches.size))
        )
        by = BY_REPLICA
        self.init = self._jit(jax.vmap(program.init), (by,), by)
        self.steps = self._jit(self._steps, (by, by, by, EVERYWHERE, EVERYWHERE, EVERYWHERE), (by, by), donated=(0, 1))
        self.evaluate = self._jit(self._evaluate, (by, by, EVERYWHERE, BY_BOTH, BY_BATCH), (by, BY_BOTH))
        self._copied = jax.jit(lambda leaves: leaves, out_shardings=NamedSharding(self.mesh, EVERYWHERE))

    def _jit(
        self, function: Callable[..., Any], arguments: Any, results: Any, donated: tuple[int, ...] = ()
    ) -> Wrapped:
        # `forms.spread` writes out each sum over devices. So JAX need not follow which values differ between devices.
        shared = jax.shard_map(function, mesh=self.mesh, in_specs=arguments, out_specs=results, check_vma=False)
        return jax.jit(shared, donate_argnums=donated)

    def _steps(
        self, states: TrainState, totals: Totals, replicas: Replica, data: Images, epoch: Array, count: Array
    ) -> tuple[TrainState, Totals]:
        def group(states: TrainState, totals: Totals, replicas: Replica) -> tuple[TrainState, Totals]:
            given = data, jax.vmap(self._program.order, (0, None))(replicas, epoch)

            def step(states: TrainState, totals: Totals) -> tuple[TrainState, Totals]:
                return self._program.steps(states, totals, replicas, given)

            return run_steps(step, states, totals, count)

        return self._in_groups(group, states, totals, replicas)

    def _evaluate(
        self, states: TrainState, replicas: Replica, data: Images, indices: Array, mask: Array
    ) -> tuple[Totals, Answers]:
        def one(state: TrainState, replica: Replica, indices: Array) -> tuple[Totals, Answers]:
            def batch(batch: tuple[Array, Array]) -> tuple[Totals, Answers]:
                return self._program.evaluate(state, replica, batch[0], data.take(batch[0]), batch[1])

            sums, answers = lax.map(batch, (indices, mask))
            return jax.tree.map(lambda leaf: leaf.sum(0), sums).replace(bad_step=sums.bad_step.max(0)), answers

        sums, answers = self._in_groups(jax.vmap(one), states, replicas, indices)
        spread = self._program.forms.spread
        if spread.devices > 1:
            sums = jax.tree.map(spread.sum, sums).replace(bad_step=sums.bad_step)
        return sums, answers

    def _in_groups(self, function: Callable[..., Any], *members: Any) -> Any:
        """A function of stacked replicas, of at most `together` at a time."""
        count = len(jax.tree.leaves(members)[0])
        if count <= self.together:
            return function(*members)
        groups = jax.tree.map(lambda leaf: leaf.reshape(-1, self.together, *leaf.shape[1:]), members)
        results = lax.map(lambda group: function(*group), groups)
        return jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), results)

    def side_by_side(self, replicas: int) -> int:
        """How many of so many replicas a device computes side by side."""
        return min(-(-replicas // self.mesh.shape[REPLICA_AXIS]), self.together)

    def stack(self, trees: Sequence[Any], spec: PartitionSpec = BY_REPLICA) -> Any:
        """What each replica has, stacked and divided among the devices; the last one fills the places that are left."""
        axis = self.mesh.shape[REPLICA_AXIS]
        share = -(-len(trees) // axis)
        together = self.side_by_side(len(trees))
        share = -(-share // together) * together
        rows = [jax.device_get(jax.tree.leaves(tree)) for tree in trees]
        rows += [rows[-1]] * (share * axis - len(rows))
        columns = self.put([np.stack(leaves) for leaves in zip(*rows, strict=True)], spec)
        return jax.tree.unflatten(jax.tree.structure(trees[0]), columns)

    def everywhere(self, arrays: Any) -> Any:
        """The same arrays on each device; where they are there already, nothing is copied."""
        return self.put(arrays, EVERYWHERE)

    def put(self, arrays: Any, spec: PartitionSpec) -> Any:
        """Arrays on the devices."""
        return placed(arrays, NamedSharding(self.mesh, spec))

    def unstacked(self, tree: Any, count: int, array: Callable[..., Any] = np.asarray) -> list[Any]:
        """What each of so many replicas has, by default in arrays of the host."""
        leaves, structure = jax.tree.flatten(tree)
        on_host = jax.device_get(self._copied(leaves) if self.mesh.is_multi_process else leaves)
        return [jax.tree.unflatten(structure, [array(leaf[place]) for leaf in on_host]) for place in range(count)]


def _filled(batches: np.ndarray, piece: int) -> np.ndarray:
    """The batches of an evaluation with empty ones at the end, so that each piece has equally many."""
    more = -len(batches) % piece
    return np.concatenate([batches, np.zeros((more, *batches.shape[1:]), batches.dtype)])


def _joined(pieces: Sequence[tuple[Totals, Answers]], count: int) -> tuple[Totals, Answers]:
    """The sums over all pieces of an evaluation, and the answers to its first `count` examples: the rest is padding."""
    totals, answers = zip(*pieces, strict=True)
    rows = jax.tree.map(lambda *leaves: np.concatenate([row for leaf in leaves for row in leaf])[:count], *answers)
    return Totals.of(totals), rows
