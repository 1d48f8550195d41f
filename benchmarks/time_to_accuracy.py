"""Seconds to an accuracy: this project's whole run, and PyTorch's own example or a good script in PyTorch.

    python -m benchmarks.time_to_accuracy
    python -m benchmarks.time_to_accuracy --ours='--recipe=quick --epochs=3' --output=time_to_accuracy.json
    python -m benchmarks.time_to_accuracy --peer=recipe --dataset=cifar10 --target=0.9 --seeds=3 --nowarm --ours='...'

This project is `python -m experiments.train` with the data set and the flags of `--ours`, timed from the start of the
process to its end, with the data in the cache. A cold run finds no compiled program; a warm run finds those of the cold
run; `--nowarm` leaves it out. The test accuracy is read once, at the end. The peer is one of two:

- `example`, `benchmarks.peers_mnist`: only its training is timed, with its data in memory, until the end of the first
  epoch whose test accuracy reaches `--target`. That favours it, since it reads the test set after each epoch.
- `recipe`, `benchmarks.peers_recipe`: the same idea of network, by a recipe of its own; its whole process is timed too,
  and it reads the test set once.

All sides run in turn, a seed of each, in one command. The table has the median seconds with the lowest and the highest;
accuracies are means with 95 % t intervals; the last column is the ratio of the medians. A run that did not reach the
target counts as infinitely long (`-`).
"""

import json
import math
import os
import shlex
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import peers_mnist, processes, report

COLD = "this project, cold"
WARM = "this project, warm"
EXAMPLE = "PyTorch's example"
RECIPE = "PyTorch, by its own recipe"
PEERS = {"example": EXAMPLE, "recipe": RECIPE}


def ours(dataset: str, seed: int, arguments: list[str], warm: bool) -> list[dict[str, Any]]:
    """A cold run and perhaps a warm one of the same seed, each in a work folder of its own."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for side in (COLD, WARM) if warm else (COLD,):
            workdir = Path(folder) / side
            own = (
                f"--dataset={dataset}",
                f"--seed={seed}",
                f"--workdir={workdir}",
                f"--compiled_dir={folder}/compiled",
            )
            finished = processes.python("-m", "experiments.train", *own, *arguments)
            result = json.loads((workdir / "result.json").read_text())
            measured = {"seconds": finished.seconds, "accuracy": result["test_accuracy"] or 0.0}
            runs.append({"side": side, "seed": seed, **measured, "epochs": result["epochs"]})
    return runs


def example(dataset: str, seed: int, target: float, epochs: int) -> dict[str, Any]:
    """A run of the example: its last epoch, which is the first that reached the target if any did."""
    own = (f"--dataset={dataset}", f"--seed={seed}", f"--target={target}", f"--epochs={epochs}")
    finished = processes.python("-m", "benchmarks.peers_mnist", *own)
    found = json.loads(finished.output)
    last = found["epochs"][-1]
    measured = {"seconds": last["seconds"], "accuracy": last["accuracy"], "process_seconds": finished.seconds}
    return {"side": EXAMPLE, "seed": seed, **measured, "epochs": last["epoch"]}


def recipe(dataset: str, seed: int, arguments: list[str]) -> dict[str, Any]:
    """A run of PyTorch's recipe, with more flags of `benchmarks.peers_recipe`."""
    finished = processes.python("-m", "benchmarks.peers_recipe", f"--dataset={dataset}", f"--seed={seed}", *arguments)
    found = json.loads(finished.output)
    return {"side": RECIPE, "seed": seed, "seconds": finished.seconds, **found}


def summarize(runs: list[dict[str, Any]], target: float) -> list[dict[str, Any]]:
    """A row for each side that ran; a run that did not reach the target counts as infinitely long."""
    from cnn.study.statistics import t_interval

    rows = []
    for side in dict.fromkeys(run["side"] for run in runs):
        own = [run for run in runs if run["side"] == side]
        accuracies = [run["accuracy"] for run in own]
        seconds = [run["seconds"] if run["accuracy"] >= target else math.inf for run in own]
        row = {"side": side, "n": len(own), "seconds": [_finite(f(seconds)) for f in (np.median, min, max)]}
        row |= {"accuracy": float(np.mean(accuracies)), "interval": t_interval(accuracies)}
        rows.append(row | {"reached": sum(accuracy >= target for accuracy in accuracies)})
    medians = {row["side"]: row["seconds"][0] for row in rows}
    peer = next((medians[side] for side in PEERS.values() if side in medians), None)
    return [row | {"ratio": _ratio(row["seconds"][0], peer)} for row in rows]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _ratio(seconds: float | None, peer: float | None) -> float | None:
    return seconds / peer if seconds is not None and peer is not None else None


def cells(row: dict[str, Any], target: float) -> dict[str, str]:
    """A row as the table has it."""
    median, low, high = ("-" if value is None else f"{value:.1f}" for value in row["seconds"])
    interval = row["interval"]
    return {
        "run": row["side"],
        "n": str(row["n"]),
        "seconds": f"{median} ({low} to {high})",
        "test accuracy %": f"{100 * row['accuracy']:.2f}"
        + (f" [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]" if interval else ""),
        f"reached {target:.1%}": f"{row['reached']} of {row['n']}",
        "ratio to PyTorch": "-" if row["ratio"] is None else f"{row['ratio']:.3f}",
    }


def main(options: flags.FlagValues) -> None:
    """Run all sides, print the table, and write it where asked."""
    from cnn.data import datasets

    os.environ["JAX_PLATFORMS"] = "cpu"  # PyTorch runs there too
    datasets.load(options.dataset)  # puts it into the cache
    peer_seeds = options.peer_seeds if find_spec("torch") else 0
    runs = []
    for seed in range(max(options.seeds, peer_seeds)):
        if seed < options.seeds:
            runs += ours(options.dataset, seed, shlex.split(options.ours), options.warm)
        if seed < peer_seeds and options.peer == "recipe":
            runs.append(recipe(options.dataset, seed, shlex.split(options.theirs)))
        elif seed < peer_seeds:
            runs.append(example(options.dataset, seed, options.target, options.epochs))
    rows = summarize(runs, options.target)
    print(report.table([cells(row, options.target) for row in rows]))
    if not find_spec("torch"):
        print(f"\n{PEERS[options.peer]}: PyTorch is not installed.")
    settings = {name: options[name].value for name in ("dataset", "target", "peer", "epochs", "ours", "theirs", "warm")}
    report.write(options.output, settings, {"rows": rows, "runs": runs})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_string("dataset", "mnist", "a data set of this project", flag_values=options)
    flags.DEFINE_string("ours", "--recipe=quick", "more flags of experiments.train", flag_values=options)
    flags.DEFINE_enum("peer", "example", list(PEERS), "what runs in PyTorch", flag_values=options)
    flags.DEFINE_string("theirs", "", "more flags of benchmarks.peers_recipe", flag_values=options)
    flags.DEFINE_integer("seeds", 10, "runs of this project", lower_bound=1, flag_values=options)
    flags.DEFINE_bool("warm", True, "run this project twice for each seed", flag_values=options)
    flags.DEFINE_integer("peer_seeds", 3, "runs in PyTorch", lower_bound=0, flag_values=options)
    flags.DEFINE_float("target", 0.99, "test accuracy to reach", 0.0, 1.0, flag_values=options)
    flags.DEFINE_integer("epochs", peers_mnist.EPOCHS, "most epochs of the example", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
