"""How much longer a training step takes with each normalisation than without, on this machine.

    python -m benchmarks.normalizations --rounds=7
    python -m benchmarks.normalizations --networks=B --batch_sizes=64 --output=normalizations.json

The networks are B and `two` of `benchmarks.problems`, without normalisation and with each kind: `batch` over all images
of the batch, `ghost` over parts of 16, `group` and `layer` within an image. They do `--steps` steps in turn, in each
round, after a first call that compiles. The table has the median milliseconds of a step, and the ratio to the step
without normalisation in the same round: its median, lowest and highest value.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from benchmarks import ours, report
from benchmarks.problems import PROBLEMS
from cnn.machine import cores
from cnn.network.normalization import NORMALIZATIONS

NETWORKS = ("B", "two")
WITHOUT = "none"


class Row(NamedTuple):
    """A network with a normalisation: milliseconds of its step, and of that without, in each round."""

    network: str
    batch: int
    normalization: str
    ms_of_rounds: list[float]
    without: list[float]

    def cells(self) -> dict[str, str]:
        """The row as the table has it."""
        ratios = np.divide(self.ms_of_rounds, self.without).tolist()
        names = {"network": self.network, "batch": str(self.batch), "normalisation": self.normalization}
        return {**names, "ms": f"{np.median(self.ms_of_rounds):.2f}", "times without": report.spread(ratios, 2)}


def measure(network: str, batch: int, rounds: int, steps: int) -> list[Row]:
    """Time a network with each normalisation, in turn."""
    problem = PROBLEMS[network]._replace(batch_size=batch)
    runs: dict[str, Callable[[], float]] = {}
    for kind in NORMALIZATIONS:
        own = problem._replace(network=dataclasses.replace(problem.network, normalization=kind))
        runs[kind] = ours.train(own, "float32", steps)
        runs[kind]()  # compiles
    ms: dict[str, list[float]] = {kind: [] for kind in runs}
    for _ in range(rounds):
        for kind, run in runs.items():
            started = time.perf_counter()
            run()
            ms[kind].append(1e3 * (time.perf_counter() - started) / steps)
    return [Row(network, batch, kind, ms[kind], ms[WITHOUT]) for kind in NORMALIZATIONS]


def main(options: flags.FlagValues) -> None:
    """Measure every network, print the table, and write it where asked."""
    jax.config.update("jax_platforms", "cpu")  # only there a step depends much on what a normalisation shares
    sizes = [int(size) for size in options.batch_sizes]
    pairs = [(network, batch) for batch in sizes for network in options.networks]
    rows = [row for pair in pairs for row in measure(*pair, options.rounds, options.steps)]
    print(report.table([row.cells() for row in rows]))
    print(f"\n{options.rounds} rounds of {options.steps} steps, {cores()} cores")
    settings = {"rounds": options.rounds, "steps": options.steps}
    report.write(options.output, settings, {"rows": [row._asdict() for row in rows]})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_list("networks", list(NETWORKS), f"of {', '.join(PROBLEMS)}", flag_values=options)
    flags.DEFINE_list("batch_sizes", ["64", "256"], "images of a step", flag_values=options)
    flags.DEFINE_integer("rounds", 7, "how often each network is timed", lower_bound=1, flag_values=options)
    flags.DEFINE_integer("steps", 10, "training steps of a round", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)
    flags.register_validator(
        "networks",
        lambda names: bool(names) and set(names) <= set(PROBLEMS),
        f"must be of {', '.join(PROBLEMS)}, one or more",
        flag_values=options,
    )
    flags.register_validator(
        "batch_sizes",
        lambda sizes: bool(sizes) and all(size.isdigit() and int(size) and int(size) % 16 == 0 for size in sizes),
        "must be multiples of 16, the images of a ghost batch",
        flag_values=options,
    )


if __name__ == "__main__":
    report.run(main, define_flags)
