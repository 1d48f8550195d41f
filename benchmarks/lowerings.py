"""How much time the choices for a CPU save: lowerings, divided steps, threads, and steps in one program.

    python -m benchmarks.lowerings --rounds=7
    python -m benchmarks.lowerings --rounds=7 --output=lowerings.json

Each choice is timed in turn with the way without it, in several rounds of one run. The table has the medians in
milliseconds, the ratio of the medians, and the lowest and highest ratio of a round. Compilation and a first call are
not timed.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import ours, report
from benchmarks.problems import PROBLEMS
from cnn.config import NetworkConfig, TrainingConfig
from cnn.machine import cores
from cnn.network import forms, ops
from cnn.training.loops.threads import ThreadsLoop
from cnn.training.step import Totals

Pair = tuple[Callable[[], object], Callable[[], object]]
DIGITS = ((8, 8, 1), 16)  # image and width, here and below
MNIST = ((28, 28, 1), 16)
CIFAR = ((32, 32, 3), 32)


def _never(*given: object) -> bool:
    return False


def _first_anew(tiles: jax.Array, largest: jax.Array) -> jax.Array:
    """`forms._first` without the root, so that XLA computes it anew for each cell of a window."""
    first = jnp.zeros(largest.shape, jnp.float32)
    for number, cell in reversed(list(enumerate(forms._cells(tiles)))):
        first = jnp.where((cell == largest) | (cell != cell), jnp.float32(number), first)
    return first


FORMS = (  # what, a network of `benchmarks.problems` that has it, and without it: a name in `forms`, and in its place
    ("Winograd's form", "recipe_cifar10", "_deep", _never),
    ("Winograd's form", "two", "_deep", _never),
    ("Winograd's form", "B", "_deep", _never),
    ("folded columns", "lenet5", "_thin", _never),
    ("folded columns", "recipe_mnist", "_thin", _never),
    ("1x1 convolutions as products", "resnet", "_pointwise", _never),
    ("the first winner of a window in memory", "lenet5", "_first", _first_anew),
    ("the first winner of a window in memory", "B", "_first", _first_anew),
)


class Row(NamedTuple):
    """One line of the table."""

    what: str
    without_ms: float
    with_ms: float
    ratios: list[float]  # of each round

    def cells(self) -> dict[str, str]:
        """The line as the table has it."""
        ratio = f"{self.with_ms / self.without_ms:.2f} ({min(self.ratios):.2f} to {max(self.ratios):.2f})"
        times = {"ms without": f"{self.without_ms:.2f}", "ms with": f"{self.with_ms:.2f}"}
        return {"choice": self.what, **times, "ratio": ratio}


def timed(what: str, pair: Pair, rounds: int, calls: int = 1) -> Row:
    """Time two functions in turn; the first is the way without the choice."""
    for function in pair:
        jax.block_until_ready(function())
    seconds = np.array([[_seconds(function) for function in pair] for _ in range(rounds)]) / calls
    without, with_choice = np.median(seconds, axis=0)
    return Row(what, 1e3 * float(without), 1e3 * float(with_choice), (seconds[:, 1] / seconds[:, 0]).tolist())


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - started


def pooling() -> Pair:
    """Forward and backward of 2x2 maxima over 128 images of 28x28x32: `reduce_window`, and our own derivative."""
    x = jax.random.normal(jax.random.key(0), (128, 28, 28, 32))

    def gradient(pool: Callable[[jax.Array], jax.Array]) -> Callable[[], object]:
        return functools.partial(jax.jit(jax.grad(lambda x: (pool(x) ** 2).sum())), x)

    return gradient(lambda x: forms.PLAIN.max_pool2d(x, 2)), gradient(lambda x: forms.fast("cpu").max_pool2d(x, 2))


def small_map() -> Pair:
    """A 3x3 convolution of 64 images of 2x2x32 to 64 channels: XLA's convolution, and a matrix product."""
    x = jnp.ones((64, 2, 2, 32))
    kernel = jnp.ones((3, 3, 32, 64))

    def form(convolve: Callable[..., jax.Array]) -> Callable[[], object]:
        return functools.partial(jax.jit(lambda x, kernel: convolve(x, kernel, (1, 1), ((1, 1), (1, 1)))), x, kernel)

    return form(ops.correlate), form(forms.product)


def training(
    image: tuple[int, int, int],
    width: int,
    micro_batch: int,
    steps: int,
    replicas: int = 1,
    blocks: int = 3,
    batch_size: int = 64,
    in_pieces: bool = False,
) -> Callable[[], list[Totals]]:
    """`steps` training steps on random images, started by Python one by one or many in a program."""
    network = NetworkConfig(blocks=blocks, width=width)
    program = ours.random_program(image, network, TrainingConfig(batch_size=batch_size), steps)
    program = dataclasses.replace(program, micro_batch=micro_batch)
    loop = ThreadsLoop(program, cores(), ThreadPoolExecutor(cores()), in_pieces)
    return ours.epoch(loop, image, replicas)


def with_form(network: str, steps: int, name: str, other: Callable[..., object]) -> Pair:
    """Training steps of 64 images without one of the forms, and with it.

    Args:
        network: a name of `benchmarks.problems`.
        steps: of a turn.
        name: of a function of `cnn.network.forms`.
        other: what stands in its place without the form.
    """
    problem = PROBLEMS[network]
    programs = (ours.random_program(*problem[:2], TrainingConfig(batch_size=64), steps) for _ in range(2))
    loops = (ThreadsLoop(program, cores(), ThreadPoolExecutor(cores())) for program in programs)
    without, with_it = (ours.epoch(loop, problem.image_shape) for loop in loops)
    with mock.patch.object(forms, name, other):
        without()  # compiles
    return without, with_it


def in_turn(image: tuple[int, int, int], width: int, steps: int) -> Pair:
    """Two trainings one after another, and two trainings each in a thread of its own."""
    alone = training(image, width, 64, steps)
    return lambda: (alone(), alone()), training(image, width, 64, steps, replicas=2)


def one_program(
    image: tuple[int, int, int], width: int, blocks: int, steps: int, batch_size: int = 64, replicas: int = 1
) -> Pair:
    """Undivided steps that Python starts one by one, and many in one program."""
    one_by_one, in_pieces = (
        training(image, width, batch_size, steps, replicas, blocks, batch_size, in_pieces=own) for own in (False, True)
    )
    return one_by_one, in_pieces


def main(options: flags.FlagValues) -> None:
    """Time every pair, print the table, and write it where asked."""
    jax.config.update("jax_platforms", "cpu")  # the choices are a CPU's
    rounds = options.rounds
    steps = options.steps
    rows = [
        timed("2x2 maximum with its own derivative", pooling(), rounds),
        timed("3x3 convolution of 2x2 cells as a product", small_map(), rounds),
    ]
    for name, (image, width) in (("28x28x1, width 16", MNIST), ("32x32x3, width 32", CIFAR)):
        for size in (64, 256):
            whole, divided = (training(image, width, part, steps, batch_size=size) for part in (size, 16))
            rows.append(timed(f"a step of {size} divided by 16, {name}", (whole, divided), rounds, steps))
    image, width = CIFAR
    pair = training(image, width, 32, steps, blocks=1), training(image, width, 16, steps, blocks=1)
    rows.append(timed("a step of 64 divided by 16 instead of 32, 32x32x3, width 32, one block", pair, rounds, steps))
    for name, (image, width) in (("8x8x1, width 16", DIGITS), ("28x28x1, width 16", MNIST)):
        rows.append(
            timed(f"two trainings in threads, a step of {name}", in_turn(image, width, steps), rounds, 2 * steps)
        )
    for name, (image, width), blocks in (
        ("8x8x1, width 16", DIGITS, 3),
        ("28x28x1, no convolution", MNIST, 0),
    ):
        rows.append(timed(f"one program, a step of {name}", one_program(image, width, blocks, steps), rounds, steps))
    for size, replicas in ((64, 2), (256, 1), (256, 2)):
        ways = one_program(MNIST[0], MNIST[1], 0, steps, size, replicas)
        name = f"one program, a step of {replicas} x {size} x 28x28x1, no convolution"
        rows.append(timed(name, ways, rounds, replicas * steps))
    for what, network, name, other in FORMS:
        changed = with_form(network, steps, name, other)
        rows.append(timed(f"{what}, a step of 64 of {network}", changed, rounds, steps))
    print(report.table([row.cells() for row in rows]))
    print(f"\n{rounds} rounds; jax {jax.__version__}, {cores()} cores")
    report.write(options.output, {"rounds": rounds, "steps": steps}, {"rows": [row._asdict() for row in rows]})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_integer("rounds", 7, "how often each pair is timed", lower_bound=1, flag_values=options)
    flags.DEFINE_integer("steps", 20, "training steps of a round", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
