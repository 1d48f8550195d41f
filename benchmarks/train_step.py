"""How long one training step takes: this project, plain Flax Linen, and PyTorch, in turn.

    python -m benchmarks.train_step
    python -m benchmarks.train_step --networks=A,B --batch_sizes=256 --rounds=15 --output=train_step.json

Networks (3x3 filters, 2x2 max pooling, a hidden dense layer, 10 classes):

- A: 28x28x1, widths 32 and 64, 256 hidden units.
- B: 32x32x3, widths 32, 64 and 128, 256 hidden units. The next eight are B with one or two changes.
- batch, ghost: with batch normalisation, of all images or of 16 at a time.
  The peers have no ghost batches, and take all images.
- two: with two convolutions in each block; two_batch, two_ghost: also normalised.
- average, stride: with average pooling, or a convolution that moves by two cells in the place of pooling.
- average_head: with the mean of each channel in the place of the hidden layer.
- lenet5: LeNet-5 of today on 28x28x1. resnet: three residual blocks on 32x32x3.
- sweep: the deepest network of the main sweep on digits, 8x8x1, widths 16, 32 and 64, 128 hidden units.
- recipe_mnist, recipe_cifar10: the networks of `experiments.train`: two convolutions in a block, ghost batches of 16,
  the mean of each channel; three blocks from width 16 on 28x28x1, four from width 32 on 32x32x3.

Each is measured with every batch size. The last table has for each side the geometric mean of its ratios over all of
these. A setting alone does not make a processor with AVX-512 stand for one without: XLA's convolutions come from a
library that asks the processor itself (benchmarks/README.md says how that was answered for the columns of AVX2).

Every side learns by stochastic gradient descent with momentum. This project's step is the step of its training loop: it
also gathers the batch from the uint8 images on the device, normalises it and counts the right answers. The peers have
one batch of floats ready. This project's process keeps the memory that it frees, as each of its commands does
(`experiments.command.memory`); the peers' processes are as they come. Each side has a process of its own. In each round
all sides do `--steps` steps in turn, after a first call that is not timed.

The table has three numbers for each side. `ms` is the median time of a step. `times this project` is the ratio to this
project's time in the same round and precision, with the lowest and highest round in brackets. `share of matrix product`
compares the step's rate, for 2 * batch * (3 * macs - macs of the first layer) operations, with the rate at which this
machine multiplies matrices in that precision, measured in the same rounds.
"""

import contextlib
import itertools
import math
import os
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks import peers, report
from benchmarks.problems import LEARNING_RATE, MOMENTUM, PROBLEMS, Problem, gflop
from benchmarks.turns import Side, Unavailable, take_turns
from cnn import machine


def this_project(problem: Problem, precision: str, steps: int) -> Callable[[], float]:
    """Steps of this project."""
    from benchmarks import ours  # here, so that a peer's process does not load it

    return ours.train(problem, precision, steps)


def matrix_product(problem: Problem, precision: str, steps: int) -> Callable[[], object]:
    """One product of large matrices, whatever the network."""
    return machine.matrix_product(precision)


OURS = "this project"
PRODUCT = "matrix product"
SIDES: dict[str, tuple[Callable[..., Callable[[], object]], *tuple[bool, ...]]] = {
    OURS: (this_project,),
    "plain Flax Linen": (peers.plain_flax,),
    "PyTorch": (peers.pytorch,),
    "PyTorch, compiled": (peers.pytorch, True),
    PRODUCT: (matrix_product,),
}
Seconds = dict[tuple[str, str], list[float]]  # of a turn in each round, by precision and side


def measure(
    network: str, batch_size: int, precisions: Sequence[str], names: Sequence[str], rounds: int, steps: int
) -> list[dict[str, Any]]:
    """A row for each precision and side on one network."""
    problem = PROBLEMS[network]._replace(batch_size=batch_size)
    sides: dict[tuple[str, str], Side] = {}
    reasons: dict[tuple[str, str], str] = {}
    with contextlib.ExitStack() as stack:
        for precision, name in itertools.product(precisions, [*names, PRODUCT]):
            build, *more = SIDES[name]
            try:
                side = Side(build, problem, precision, steps, *more)
            except Unavailable as unavailable:
                reasons[precision, name] = str(unavailable)
            else:
                sides[precision, name] = stack.enter_context(contextlib.closing(side))
        seconds = take_turns(sides, rounds)
    return [
        {"network": network, "batch": batch_size, "precision": key[0], "side": key[1], "reason": reasons.get(key)}
        | _numbers(key, seconds, steps, gflop(problem))
        for key in itertools.product(precisions, names)
    ]


def _numbers(key: tuple[str, str], seconds: Seconds, steps: int, operations: float) -> dict[str, Any]:
    """The numbers of a side, `None` where it did not run; there is a ratio for each round."""
    precision = key[0]
    rate = machine.matrix_product_gflop() / float(np.median(seconds[precision, PRODUCT]))
    own = seconds.get(key)
    ours = seconds.get((precision, OURS))
    ms = 1e3 * float(np.median(own)) / steps if own else None
    return {
        "ms": ms,
        "ms_of_rounds": [1e3 * value / steps for value in own] if own else None,
        "ratios": [value / base for value, base in zip(own, ours, strict=True)] if own and ours else None,
        "gflop": operations,
        "matrix_product_gflop_per_second": rate,
        "share": operations / (ms / 1e3) / rate if ms else None,
    }


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A row as the table has it."""
    ratio = report.spread(row["ratios"], 2) if row["ratios"] else "-"
    reason = row["reason"] and f"- ({textwrap.shorten(row['reason'], 60)})"
    return {
        **{name: str(row[name]) for name in ("network", "batch", "precision", "side")},
        "ms": f"{row['ms']:.2f}" if row["ms"] else "-",
        "times this project": reason or ratio,
        "share of matrix product": f"{row['share']:.0%}" if row["share"] else "-",
    }


def means(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """For each precision and side the geometric mean of its ratios, and how many networks and batches have one."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["ratios"] and row["side"] != OURS:
            found.setdefault((row["precision"], row["side"]), []).append(float(np.median(row["ratios"])))
    return [
        {
            "precision": precision,
            "side": side,
            "n": str(len(ratios)),
            "times this project": f"{math.exp(np.log(ratios).mean()):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        }
        for (precision, side), ratios in found.items()
    ]


def main(options: flags.FlagValues) -> None:
    """Measure network by network, print the tables, and write them where asked."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # the peers run there too
    rows: list[dict[str, Any]] = []
    settings = {"rounds": options.rounds, "steps": options.steps, "rate": LEARNING_RATE, "momentum": MOMENTUM}
    for network, size in itertools.product(options.networks, map(int, options.batch_sizes)):
        rows += measure(network, size, options.precision, options.sides, options.rounds, options.steps)
        report.write(options.output, settings, {"rows": rows})  # a run that is ended early leaves what it has measured
    print(report.table([cells(row) for row in rows]))
    rates: dict[str, list[float]] = {}
    for row in rows:
        rates.setdefault(row["precision"], []).append(row["matrix_product_gflop_per_second"])
    products = ", ".join(f"{np.median(own):.0f} ({precision})" for precision, own in rates.items())
    print(f"\n{options.rounds} rounds of {options.steps} steps on {machine.processor()}, {machine.cores()} cores, with")
    print(f"{', '.join(machine.instructions())}. Matrix products, GFLOP/s: {products}\n")
    if len(options.sides) > 1:
        print(report.table(means(rows)))


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    choices = {
        "networks": (list(PROBLEMS), list(PROBLEMS)),
        "precision": (["float32"], ["float32", "bfloat16"]),
        "sides": ([name for name in SIDES if name != PRODUCT], [name for name in SIDES if name != PRODUCT]),
    }
    for name, (default, known) in choices.items():
        flags.DEFINE_list(name, default, f"which of {', '.join(known)}", flag_values=options)
        flags.register_validator(
            name,
            lambda chosen, known=known: set() < set(chosen) <= set(known),
            f"must be of {', '.join(known)}, one or more",
            flag_values=options,
        )
    flags.DEFINE_list("batch_sizes", ["64", "256"], "images in a step, one number or more", flag_values=options)
    flags.register_validator(
        "batch_sizes",
        lambda sizes: bool(sizes) and all(size.isdigit() and int(size) for size in sizes),
        "must be integers above 0, one or more",
        flag_values=options,
    )
    flags.DEFINE_integer("rounds", 9, "turns of each side", lower_bound=1, flag_values=options)
    flags.DEFINE_integer("steps", 10, "training steps of a turn", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
