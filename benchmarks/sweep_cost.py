"""How the cost of the main job grows: wall time and peak memory by depths, seeds, epochs and examples.

    python -m benchmarks.sweep_cost
    python -m benchmarks.sweep_cost --depths=3 --epochs=10 --examples=1437 --seeds=2,4,8,16

Each run is `python -m experiments.sweep_blocks` on digits, with one learning rate and width 16. The digits are repeated
up to the number of training examples. A run is timed from the start of its process to its end; its memory is the peak.
One setting varies, while each other setting has the second of its values, or its only one. A setting with one value
does not vary. The point at which all settings have their second value is on the line of each: it is measured once, and
stands in the table once for each setting that varies. Depths 1, 2, 3 mean the blocks 0; 0,1; 0,1,2. Every run has a
work folder of its own. A cold run finds nothing compiled; a warm run finds the programs of the cold run.

The second table has the straight lines of least squares, value = start + slope * setting, and r^2, the share of the
variance that the line explains. Depths differ in cost, so their points need not lie on a line.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import processes, report

SETTINGS = ("depths", "seeds", "epochs", "examples")
RUNS = ("cold", "warm")


def points(values: dict[str, list[int]]) -> list[tuple[str, dict[str, int]]]:
    """Which setting varies, and all settings, for each point of the plan.

    Example:
        >>> points({"depths": [1, 2], "seeds": [5]})
        [('depths', {'depths': 1, 'seeds': 5}), ('depths', {'depths': 2, 'seeds': 5})]
    """
    base = {name: several[min(1, len(several) - 1)] for name, several in values.items()}
    varied = {name: several for name, several in values.items() if len(several) > 1}
    return [(name, base | {name: value}) for name, several in varied.items() for value in several]


def measure(settings: dict[str, int], folder: Path) -> dict[str, dict[str, float]]:
    """Seconds and MiB of a cold and of a warm sweep."""
    data = folder / "digits.npz"
    _write_digits(data, settings["examples"])
    blocks = ",".join(map(str, range(settings["depths"])))
    asked = [f"--{name}={settings[name]}" for name in ("seeds", "epochs")]
    asked += [f"--dataset={data}", f"--blocks={blocks}", "--learning_rates=1e-3", "--width=16"]
    found = {}
    for run in RUNS:
        own = [f"--workdir={folder / run}", f"--compiled_dir={folder / 'compiled'}"]
        finished = processes.python("-m", "experiments.sweep_blocks", *asked, *own)
        found[run] = {"seconds": finished.seconds, "mib": finished.peak_mib}
    return found


def _write_digits(path: Path, examples: int) -> None:
    """The digits with their training part cut or repeated to a number of examples."""
    from cnn.data import datasets

    digits = datasets.load("digits")
    parts: dict[str, Any] = {"x_test": digits.test_images, "y_test": digits.test_labels}
    for name, part in (("x_train", digits.train_images), ("y_train", digits.train_labels)):
        parts[name] = np.resize(part, (examples, *part.shape[1:]))
    np.savez(path, **parts)


def fit(rows: list[dict[str, Any]], setting: str, run: str) -> dict[str, Any]:
    """The straight lines of a setting's points: seconds and memory."""
    from scipy import stats

    own = [row for row in rows if row["varies"] == setting]
    lines = {}
    for what in ("seconds", "mib"):
        line = stats.linregress([row["settings"][setting] for row in own], [row[run][what] for row in own])
        lines[what] = {"start": float(line.intercept), "slope": float(line.slope), "r2": float(line.rvalue**2)}
    return {"setting": setting, "run": run, **lines}


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A point as the first table has it."""
    numbers = {f"{run}, s": f"{row[run]['seconds']:.1f}" for run in RUNS}
    numbers |= {f"{run}, MiB": f"{row[run]['mib']:.0f}" for run in RUNS}
    return {"varies": row["varies"], **{name: f"{value:,}" for name, value in row["settings"].items()}, **numbers}


def line_cells(line: dict[str, Any]) -> dict[str, str]:
    """A fit as the second table has it."""
    seconds = line["seconds"]
    mib = line["mib"]
    return {
        "setting": line["setting"],
        "run": line["run"],
        "seconds": f"{seconds['start']:.2f} {seconds['slope']:+.3g} each",
        "r^2": f"{seconds['r2']:.3f}",
        "MiB": f"{mib['start']:.0f} {mib['slope']:+.2g} each",
        "r^2 of MiB": f"{mib['r2']:.3f}",
    }


def main(options: flags.FlagValues) -> None:
    """Run all points, print both tables, and write them where asked."""
    rows: list[dict[str, Any]] = []
    found: dict[tuple[int, ...], dict[str, dict[str, float]]] = {}
    for varies, settings in points({name: sorted(map(int, options[name].value or ())) for name in SETTINGS}):
        point = tuple(settings.values())
        if point not in found:
            with tempfile.TemporaryDirectory() as folder:
                found[point] = measure(settings, Path(folder))
        rows.append({"varies": varies, "settings": settings, **found[point]})
    lines = [fit(rows, name, run) for name in dict.fromkeys(row["varies"] for row in rows) for run in RUNS]
    print(f"{report.table(list(map(cells, rows)))}\n\n{report.table(list(map(line_cells, lines)))}")
    report.write(options.output, {name: options[name].value for name in SETTINGS}, {"rows": rows, "lines": lines})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    defaults = {"depths": "1,2,3,4", "seeds": "2,4,8", "epochs": "5,10,20", "examples": "1437,2874,5748"}
    for name, values in defaults.items():
        flags.DEFINE_list(name, values, f"numbers of {name}, each an integer", flag_values=options)
        flags.register_validator(name, _are_counts, "must be integers above 0, one or more", flag_values=options)
    flags.register_multi_flags_validator(
        SETTINGS, _vary, "one of them must have two values or more, no value twice: a line needs two points", options
    )
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


def _vary(values: dict[str, list[str]]) -> bool:
    return any(len(several) > 1 for several in values.values()) and all(
        len(set(map(int, several))) == len(several) for several in values.values()
    )


def _are_counts(values: list[str]) -> bool:
    return bool(values) and all(value.isdigit() and int(value) > 0 for value in values)


if __name__ == "__main__":
    report.run(main, define_flags)
