"""Decides for a machine which loop runs, how many replicas run together, and how a batch is divided.

Only this file and `cnn.network.forms` decide by backend; both get the backend as an argument.
"""

import math
from concurrent.futures import ThreadPoolExecutor

from cnn.config import TrialConfig
from cnn.machine import Machine
from cnn.network import summary
from cnn.network.layers import Chain, Shape
from cnn.training.loops.loop import Loop
from cnn.training.loops.scan import ScanLoop
from cnn.training.loops.threads import ThreadsLoop
from cnn.training.step import Program

CACHE = 2 * 2**20  # bytes of a layer's output that fit into a core's cache beside everything else


def loop(program: Program, machine: Machine, pool: ThreadPoolExecutor) -> Loop:
    """The loop that runs a program on a machine."""
    return ThreadsLoop(program, machine.cores, pool) if machine.backend == "cpu" else ScanLoop(program)


def largest_group(machine: Machine) -> int:
    """How many replicas are best run together: on a CPU one for each core, up to 4 (more were not measured)."""
    return min(machine.cores, 4) if machine.backend == "cpu" else 16


def advice(precision: str, machine: Machine) -> str | None:
    """A line for whoever trains in a precision that a machine has no gain from; None where there is nothing to say.

    On a processor with AVX512_BF16, networks A and B of benchmarks/train_step.py take 1.46 and 1.34 times as long in
    bfloat16 as in float32. One with AMX was not measured.
    """
    if machine.backend != "cpu" or precision != "bfloat16" or "amx_bf16" in machine.instructions:
        return None
    return f"precision={precision!r}: float32 is faster on this processor ({machine.cpu})"


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
