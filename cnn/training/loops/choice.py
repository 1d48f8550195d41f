"""Decides for a machine which loop runs, how many replicas run together, and how a batch is divided.

`cnn.backends` has what suits each kind of device; this file says what follows for a program on a machine.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax

from cnn import backends
from cnn.config import TrialConfig
from cnn.data.batches import Resident
from cnn.machine import Machine
from cnn.network import summary
from cnn.network.layers import Chain, Shape, Signal, Visit
from cnn.training.loops.loop import Loop
from cnn.training.loops.scan import ScanLoop
from cnn.training.loops.threads import ThreadsLoop
from cnn.training.step import Program

SMALL_STEP = 2**24  # multiply-accumulates of a batch forward, of a network without convolutions
CACHE = 2 * 2**20  # bytes of a layer's output that fit into a core's cache beside everything else


def loop(program: Program, machine: Machine, devices: Sequence[jax.Device], pool: ThreadPoolExecutor) -> Loop:
    """The loop that runs a program on a machine and its devices.

    Where the host gives the batches, Python starts each step.
    """
    row = backends.of(machine.backend)
    if not isinstance(program.batches, Resident):
        return ThreadsLoop(program, machine.cores, pool)
    steps = (row.small_loop if _small(program) else row.loop).value
    if len(devices) == 1 and (machine.backend == "cpu" or steps == "steps"):
        return ThreadsLoop(program, machine.cores, pool, in_pieces=steps == "program")
    return ScanLoop(program, devices, (row.together_wide if _wide(program) else row.together).value)


def _wide(program: Program) -> bool:
    """Whether the network convolves, and each convolution has many filters."""
    filters = [visit.after.shape[-1] for visit in _convolutions(program)]
    return min(filters, default=0) >= backends.WIDE


def _small(program: Program) -> bool:
    """Whether the network has no convolution and a step few multiplications, so that to start steps takes the time."""
    image_shape = program.task.image_shape
    macs = program.batches.size * summary.cost(program.network, image_shape).macs
    return macs <= SMALL_STEP and not _convolutions(program)


def _convolutions(program: Program) -> list[Visit]:
    """The convolutions of the network: layers that multiply, and take images."""
    visits = program.network.visits(Signal(program.task.image_shape))
    images = [visit for visit in visits if len(visit.before.shape) == 3]
    return [visit for visit in images if visit.layer.multiply_accumulates(visit.before.shape)]


def largest_group(machine: Machine, stream: bool = False) -> int:
    """How many replicas are best run together; in threads at most one for each core.

    Args:
        machine: where they run.
        stream: whether the host gives them their batches, for which they run in threads, on one device.
    """
    group = backends.of(machine.backend).group.value
    threads = stream or (machine.backend == "cpu" and machine.devices == 1)
    return min(machine.cores, group) if threads else group * machine.devices


def advice(precision: str, machine: Machine) -> str | None:
    """A line for whoever trains in a precision that a machine has no gain from; None where there is nothing to say.

    On a processor with AVX512_BF16, networks A and B of benchmarks/train_step.py take 1.27 and 1.47 times as long in
    bfloat16 as in float32. One with AMX was not measured. A CPU multiplies TensorFloat-32 as float32.
    """
    untested = precision == "bfloat16" and "amx_bf16" in machine.instructions
    if precision not in backends.of(machine.backend).slower.value or untested:
        return None
    same = "float32 takes as long" if precision == "tensorfloat32" else "float32 is faster"
    return f"precision={precision!r}: {same} on this processor ({machine.cpu})"


def micro_batch(config: TrialConfig, network: Chain, image_shape: Shape, machine: Machine) -> int:
    """How many examples a core computes at once: so few that the output of the widest layer stays in the core's cache.

    benchmarks/lowerings.py measures this. Each micro-batch adds its gradient to a sum, so the layer's output should be
    no smaller than the gradient. With one block at 32x32 (a million parameters), 16 images at once take longer than 32.
    A small batch is not divided.
    """
    size = config.training.batch_size
    rows = summary.rows(network, image_shape)
    largest = max(math.prod(row.output_shape) for row in rows)
    if machine.backend != "cpu" or size * largest * 4 < CACHE:
        return size
    balanced = 2 ** round(math.log2(2 * size * largest / sum(row.parameters for row in rows)))
    whole = summary.images_together(network, image_shape)
    share = -(-size // max(min(balanced, size // 16), 1))
    return -(-share // whole) * whole
