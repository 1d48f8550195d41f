"""How long a small sweep over depths takes: this project, and the loops that others would write, as whole processes.

    TFDS_DATA_DIR=... python -m benchmarks.sweep_beside
    TFDS_DATA_DIR=... python -m benchmarks.sweep_beside --rounds=1 --output=sweep_beside.json

By default: MNIST, 1, 2 and 3 blocks, learning rates 0.001 and 0.003, 2 tuning seeds, 3 other seeds, 2 epochs. So each
side trains 21 networks. For each depth, 2 rates x 2 tuning seeds are trained, and validation data choose the rate; then
3 seeds are trained at that rate, and tested. Every side has the same seeds, splits (a tenth validates), networks (width
16, doubled in each block, 128 hidden units) and batches of 64 images, and AdamW under a one-cycle schedule. Images are
neither moved nor mirrored. Each epoch ends with the validation accuracy.

- this project: `python -m experiments.sweep_blocks`. Beside the accuracies it leaves the folders of its trials with
  their checkpoints, the answer, a picture and the page.
- plain Flax Linen, PyTorch: `benchmarks.peers_sweep`, with the loops of `benchmarks.sweep_flax` and
  `benchmarks.sweep_torch`, which differ in what their docstrings say. They leave the accuracies.

A run is timed from the start of its process to its end, with the data in this project's cache. A cold run finds no
compiled program; a warm run finds those of the cold run before it. PyTorch compiles nothing, so it has one run. In each
round every side has its turn. The peers run on the CPU, so this project does too.

The first table has the median seconds with the lowest and the highest round, and the ratios to this project's cold and
warm run of the same round, with the same three numbers. The second has each depth's mean test accuracy and its 95 % t
interval over the seeds, by which a reader sees whether all sides learn equally well.
"""

import csv
import json
import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from benchmarks import processes, report
from benchmarks.peers_sweep import FLAX, PYTORCH, Depth
from benchmarks.turns import Unavailable
from cnn.config import NetworkConfig, SweepConfig, TrainingConfig, to_json

OURS = "this project"
COLD = "cold"
WARM = "warm"
ALIKE = "-"  # cold and warm are the same
RATES = (1e-3, 3e-3)
WIDTH = 16


class Run(NamedTuple):
    """A run of one side: when, how, its seconds, and what it found for each depth."""

    round: int
    side: str
    start: str  # cold, warm, or alike
    seconds: float
    depths: list[Depth]


def settings(dataset: str, blocks: Sequence[int], seeds: int, epochs: int) -> SweepConfig:
    """The settings of every side."""
    return SweepConfig(
        dataset=dataset,
        blocks=tuple(blocks),
        learning_rates=RATES,
        seeds=seeds,
        network=NetworkConfig(width=WIDTH),
        training=TrainingConfig(epochs=epochs),
    )


def command_line(config: SweepConfig) -> list[str]:
    """The flags that give `experiments.sweep_blocks` these settings, whatever the data set's own defaults."""
    training = config.training
    return [
        f"--dataset={config.dataset}",
        f"--blocks={','.join(map(str, config.blocks))}",
        f"--learning_rates={','.join(map(str, config.learning_rates))}",
        f"--seeds={config.seeds}",
        f"--epochs={training.epochs}",
        f"--width={config.network.width}",
        f"--hidden={config.network.hidden}",
        f"--shift={training.shift}",
        f"--flip={training.flip}",
    ]


def depths_of(table: Path) -> list[Depth]:
    """What a sweep of this project found for each depth, from its `results.csv`."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for blocks in dict.fromkeys(row["blocks"] for row in rows):
        own = [row for row in rows if row["blocks"] == blocks]
        compared = [row for row in own if row["phase"] == "compare"]
        accuracies = [float(row["test_accuracy"]) for row in compared]
        found.append(Depth(int(blocks), float(compared[0]["learning_rate"]), accuracies, len(own)))
    return found


def ours(number: int, config: SweepConfig, folder: Path) -> list[Run]:
    """A cold and a warm sweep of this project, each in a work folder of its own."""
    runs = []
    for start in (COLD, WARM):
        workdir = folder / start
        own = (f"--workdir={workdir}", f"--compiled_dir={folder / 'compiled'}")
        finished = processes.python("-m", "experiments.sweep_blocks", *command_line(config), *own)
        runs.append(Run(number, OURS, start, finished.seconds, depths_of(workdir / "results.csv")))
    return runs


def plain_flax(number: int, config: SweepConfig, folder: Path) -> list[Run]:
    """A cold and a warm sweep of plain Flax Linen."""
    return [_peer(number, FLAX, start, config, f"--compiled_dir={folder / 'compiled'}") for start in (COLD, WARM)]


def pytorch(number: int, config: SweepConfig, folder: Path) -> list[Run]:
    """A sweep of PyTorch.

    Raises:
        Unavailable: PyTorch is not installed.
    """
    if find_spec("torch") is None:
        raise Unavailable("PyTorch is not installed")
    return [_peer(number, PYTORCH, ALIKE, config)]


def _peer(number: int, side: str, start: str, config: SweepConfig, *more: str) -> Run:
    own = (f"--library={side}", f"--settings={json.dumps(to_json(config))}", *more)
    finished = processes.python("-m", "benchmarks.peers_sweep", *own)
    return Run(number, side, start, finished.seconds, [Depth(**depth) for depth in json.loads(finished.output)])


SIDES = {OURS: ours, FLAX: plain_flax, PYTORCH: pytorch}


def speed(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each side and start: the seconds of each round, and the ratios to this project's in that round."""
    seconds: dict[tuple[str, str], dict[int, float]] = {}
    for run in runs:
        seconds.setdefault((run.side, run.start), {})[run.round] = run.seconds
    rows = []
    for (side, start), own in seconds.items():
        row: dict[str, Any] = {"side": side, "start": start, "seconds": list(own.values())}
        for base in (COLD, WARM):
            theirs = seconds.get((OURS, base))
            row[f"ratios_{base}"] = theirs and [value / theirs[number] for number, value in own.items()]
        rows.append(row)
    return rows


def learnt(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each side and depth: the test accuracy of each seed, its mean over the runs, and trainings of a run."""
    rows = []
    for side in dict.fromkeys(run.side for run in runs):
        for depths in zip(*(run.depths for run in runs if run.side == side), strict=True):
            accuracies = np.mean([depth.test_accuracies for depth in depths], axis=0).tolist()
            row = {"side": side, "blocks": depths[0].blocks, "test_accuracies": accuracies}
            rows.append(row | {"learning_rate": depths[0].learning_rate, "trainings": depths[0].trainings})
    return rows


def speed_cells(row: dict[str, Any]) -> dict[str, str]:
    """A row of `speed` as the first table has it."""
    ratios = {base: row[f"ratios_{base}"] for base in (COLD, WARM)}
    return {
        "side": row["side"],
        "start": row["start"],
        "n": str(len(row["seconds"])),
        "seconds": report.spread(row["seconds"], 1),
        **{f"times {OURS}, {base}": report.spread(own, 2) if own else "-" for base, own in ratios.items()},
    }


def learnt_cells(row: dict[str, Any]) -> dict[str, str]:
    """A row of `learnt` as the second table has it."""
    from cnn.study.statistics import moments
    from cnn.study.words import percent

    found = moments(row["test_accuracies"])
    return {
        "side": row["side"],
        "blocks": str(row["blocks"]),
        "trainings": str(row["trainings"]),
        "learning rate": f"{row['learning_rate']:g}",
        "test accuracy %": percent(found.mean, found.low, found.high) or "-",
    }


def main(options: flags.FlagValues) -> None:
    """Run all sides in turn, print both tables, and write them where asked."""
    from cnn.data import datasets

    os.environ["JAX_PLATFORMS"] = "cpu"  # PyTorch runs there too
    datasets.load(options.dataset)  # puts it into the cache
    config = settings(options.dataset, list(map(int, options.blocks)), options.seeds, options.epochs)
    runs: list[Run] = []
    reasons: dict[str, str] = {}
    for number in range(options.rounds):
        for side in options.sides:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    runs += SIDES[side](number, config, Path(folder))
                except Unavailable as unavailable:
                    reasons[side] = str(unavailable)
            # A benchmark that is ended early leaves what it has measured.
            measured = {"speed": speed(runs), "learnt": learnt(runs), "not_measured": reasons}
            report.write(options.output, {"rounds": options.rounds, **to_json(config)}, measured)
    tables = [[speed_cells(row) for row in speed(runs)], [learnt_cells(row) for row in learnt(runs)]]
    print("\n\n".join(report.table(table) for table in tables if table))
    for side, reason in reasons.items():
        print(f"\n{side}: not measured, {reason}.")


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    known = ", ".join(SIDES)
    flags.DEFINE_list("sides", list(SIDES), f"which of {known}", flag_values=options)
    flags.register_validator(
        "sides",
        lambda chosen: bool(chosen) and set(chosen) <= set(SIDES),
        f"must be of {known}, one or more",
        flag_values=options,
    )
    flags.DEFINE_string("dataset", "mnist", "a data set of ten classes", flag_values=options)
    flags.DEFINE_list("blocks", "1,2,3", "depths, each an integer", flag_values=options)
    flags.register_validator(
        "blocks",
        lambda depths: bool(depths) and all(map(str.isdigit, depths)) and len(set(map(int, depths))) == len(depths),
        "must be integers, one or more, none twice",
        flag_values=options,
    )
    flags.DEFINE_integer("seeds", 3, "seeds that compare the depths", lower_bound=1, flag_values=options)
    flags.DEFINE_integer("epochs", 2, "epochs of each training", lower_bound=1, flag_values=options)
    flags.DEFINE_integer("rounds", 3, "turns of each side", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
