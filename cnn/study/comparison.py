"""Variants of a network side by side: means with intervals, and differences to a reference, paired by seed.

The main job ranks depths and recommends one (`analysis`); every other experiment states a claim and compares. Results
are rows as in `results.csv`. The tests describe; no test example chooses anything.

Example:
    >>> import pandas as pd
    >>> results = pd.DataFrame({
    ...     "phase": "compare", "pooling": ["max", "max", "stride", "stride"], "learning_rate": 1e-3,
    ...     "seed": [0, 1, 0, 1], "status": "done", "parameters": 10, "macs": 100, "train_seconds": 1.0,
    ...     "val_accuracy": 0.9, "test_accuracy": [0.98, 0.97, 0.96, 0.96]})
    >>> found = compare(results, by="pooling", reference="max")
    >>> row = found["variants"][1]
    >>> round(row["difference"]["mean"], 3), round(row["difference"]["p_adjusted"], 3)
    (-0.015, 0.205)
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnn.config import NetworkConfig
from cnn.data.datasets import Dataset
from cnn.network import models, summary
from cnn.network.layers import Shape
from cnn.progress import Progress
from cnn.study import grid, statistics
from cnn.study.analysis import (
    SIGNIFICANCE,
    by_seed,
    cell,
    compared_trials,
    cost_cells,
    describe,
    mean_in_words,
    percent,
    points,
)
from cnn.study.tuning import best_learning_rates, values_of
from cnn.training.runs import TrialFolder, write_json

if TYPE_CHECKING:
    import pandas as pd

ACCURACY = "test_accuracy"


class Finished(NamedTuple):
    """A study whose trials have run, and its work folder."""

    study: grid.Study
    results: "pd.DataFrame"
    workdir: Path

    @property
    def compared(self) -> "pd.DataFrame":
        """The trials that compare, whatever became of them."""
        return compared_trials(self.results, self.study.column)

    @property
    def done(self) -> "pd.DataFrame":
        """The finished trials that compare."""
        return self.compared[self.compared["status"] == "done"]

    def arrays(self, variant: Any, seed: int) -> dict[str, np.ndarray]:
        """What the experiment measured on one trained network; empty where that trial has not finished."""
        trials = self.done
        rates = trials[(trials[self.study.column] == variant) & (trials["seed"] == seed)]["learning_rate"]
        cells = self.study.cells("compare", {variant: tuple(map(float, rates))}, range(seed, seed + 1))
        return TrialFolder(self.workdir / "trials" / cells[0].name).arrays() if cells else {}


class Report(NamedTuple):
    """What an experiment ends in."""

    table: str
    sentence: str
    pictures: list[Path]
    failed: int


def equal_parameters(
    network: NetworkConfig, reference: NetworkConfig, image_shape: Shape, outputs: int
) -> NetworkConfig:
    """The network with the width (an MLP: hidden units) that gives it as many parameters as the reference has.

    Raises:
        RequestError: the nearest is more than 2 % away.

    Example:
        >>> equal_parameters(NetworkConfig(model="mlp"), NetworkConfig(blocks=2, width=16), (28, 28, 1), 10).hidden
        206
    """
    wanted = summary.cost(models.build(reference, image_shape, outputs), image_shape).parameters
    return summary.matched(network, "parameters", wanted, image_shape, outputs)


@contextlib.contextmanager
def run(
    study: grid.Study, dataset: Dataset, workdir: Path | None, progress: Progress = Progress()
) -> Iterator[Finished]:
    """Run what is missing of a study, in its default work folder if none is given; see `grid.running`."""
    workdir = workdir or study.default_workdir()
    with grid.running(study, dataset, workdir, progress) as results:
        yield Finished(study, results, workdir)


def report(
    finished: Finished,
    found: Mapping[str, Any],
    sentence: str,
    draw: Mapping[str, Callable[[Path], None]],
    titles: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Report:
    """Leave `answer.json` and the pictures in the work folder, while `run` still holds it.

    Args:
        finished: the study.
        found: what `compare` gave; it goes into the table and into `answer.json`, and its `notes` end the sentence.
        sentence: what the measurement says.
        draw: writes a picture to a path, by the name of the picture.
        titles: as for `table`.
        more: what else belongs into `answer.json`.
    """
    study = finished.study
    names = {"experiment": study.experiment, "dataset": study.config.dataset}
    sentence = f"{sentence} {notes(found, study.config.dataset)}".strip()
    write_json(finished.workdir / "answer.json", {**names, **found, **(more or {}), "sentence": sentence})
    pictures = {finished.workdir / f"{name}.png": write for name, write in draw.items()}
    for path, write in pictures.items():
        write(path)
    failed = int((finished.results["status"] == "failed").sum())
    return Report(table(found, titles), sentence, list(pictures), failed)


def compare(
    results: "pd.DataFrame", *, by: str, reference: Any, metric: str = ACCURACY, others: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Every variant's accuracy, cost and measurements, and how far it lies from the reference.

    Args:
        results: one row for each trial.
        by: the variant column.
        reference: the variant that the others are compared with.
        metric: the column that the differences and tests are about.
        others: more columns to give means and intervals of.

    Returns:
        Plain values for JSON, `None` where unknown: `by`, `reference`, `metric`, and `variants`, each with its costs,
        counts, `measured` (for each column `n`, `mean`, `std`, `low`, `high`: a 95 % t interval), `difference` to the
        reference on the metric (the same, and `p_adjusted`: paired t-test, Holm-adjusted) and `seconds_ratio`, its
        training time over the reference's, seed by seed (the same again; seeds that trained together share one timing,
        which counts once in `n`). The last two are `None` for the reference itself.
    """
    trials, variants, rates = compared_trials(results, by), values_of(results, by), best_learning_rates(results, by)
    columns = list(dict.fromkeys((metric, *others)))
    values = {column: by_seed(trials, column, variants, by) for column in columns}
    base = values[metric][variants.index(reference)]
    compared = {variant: row for variant, row in zip(variants, values[metric]) if variant != reference}
    adjusted = statistics.holm({variant: statistics.paired_p_value(base, row) for variant, row in compared.items()})
    seconds = by_seed(trials, "train_seconds", variants, by)
    ratios = seconds / seconds[variants.index(reference)]
    rows = []
    for index, variant in enumerate(variants):
        row = {by: variant, **describe(trials[trials[by] == variant], rates.get(variant))}
        row["measured"] = {column: statistics.moments(values[column][index]) for column in columns}
        row["difference"] = row["seconds_ratio"] = None
        if variant != reference:
            row["difference"] = {**statistics.moments(compared[variant] - base), "p_adjusted": adjusted[variant]}
            row["seconds_ratio"] = statistics.moments(np.unique(ratios[index]))  # together: one timing, not several
        rows.append(row)
    return {"by": by, "reference": reference, "metric": metric, "variants": rows}


def table(comparison: Mapping[str, Any], titles: Mapping[str, str] | None = None) -> str:
    """The variants as a table in Markdown: what was measured, in percent with 95 % intervals, and what it costs.

    Args:
        comparison: as `compare` gives it.
        titles: heads of the columns that are shown, by their names; by default the metric alone.
    """
    from tabulate import tabulate

    titles = titles or {comparison["metric"]: "test accuracy %"}
    rows = [_line(comparison, row, titles) for row in comparison["variants"]]
    align = ["left", *["left"] * len(titles), "left", *["right"] * (len(rows[0]) - len(titles) - 2)]
    return tabulate(rows, headers="keys", tablefmt="github", missingval="-", disable_numparse=True, colalign=align)


def _line(comparison: Mapping[str, Any], row: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, Any]:
    by, difference = comparison["by"], row["difference"] or dict.fromkeys(("mean", "low", "high", "p_adjusted"))
    found = {title: _percent(row["measured"][column]) for column, title in titles.items()}
    unfinished = row["diverged"] + row["failed"]
    return {
        by.replace("_", " "): row[by],
        **found,
        f"difference to {comparison['reference']}": _percent(difference),
        "p (Holm)": cell(difference["p_adjusted"], ".2g"),
        "n": f"{row['n']}" + (f" of {row['n'] + unfinished}" if unfinished else ""),
        **cost_cells(row),
    }


def _percent(found: Mapping[str, Any]) -> str | None:
    return percent(found["mean"], found["low"], found["high"])


def versus(comparison: Mapping[str, Any], variant: Any) -> str:
    """How a variant differs from the reference, in words: points, interval and p-value.

    The interval has the sign of the words: where it reaches below 0, the data allow the opposite too.

    Example:
        >>> row = {"pooling": "stride", "difference": {"mean": -0.02, "low": -0.03, "high": -0.01, "p_adjusted": 0.004}}
        >>> versus({"by": "pooling", "variants": [row]}, "stride")
        '2.00 points less (95% interval 1.00 to 3.00, p = 0.004)'
    """
    found = _row(comparison, variant)["difference"]
    if found is None or found["mean"] is None:
        return "an unknown number of points more or less (no common seed finished)"
    in_points = points(found["mean"])
    word = "apart" if in_points == 0 else "less" if in_points < 0 else "more"
    known = []
    if found["low"] is not None:
        ends = [points(found[end]) for end in ("low", "high")]
        low, high = sorted(0 - end for end in ends) if in_points < 0 else ends
        known.append(f"95% interval {low:.2f} to {high:.2f}")
    if found["p_adjusted"] is not None:
        known.append(f"p = {found['p_adjusted']:.2g}")
    return f"{abs(in_points):.2f} points {word}" + (f" ({', '.join(known)})" if known else "")


def accuracy(comparison: Mapping[str, Any], variant: Any, column: str = ACCURACY) -> str:
    """A variant's mean in words, with its interval and the number of seeds: its accuracy, or another measurement.

    Example:
        >>> measured = {"test_accuracy": {"n": 5, "mean": 0.98, "low": 0.97, "high": 0.99}}
        >>> accuracy({"by": "pooling", "variants": [{"pooling": "max", "measured": measured}]}, "max")
        '98.00 % (95% interval 97.00 to 99.00, n=5)'
    """
    return mean_in_words(_row(comparison, variant)["measured"][column])


def share(comparison: Mapping[str, Any], variant: Any) -> str:
    """What a variant costs, as shares of the reference's cost; the time with its interval, paired by seed.

    Example:
        >>> time = {"n": 3, "mean": 0.8, "low": None, "high": None}
        >>> rows = [{"at": "a", "parameters": 10, "macs": 100, "seconds_ratio": None}]
        >>> rows.append({"at": "b", "parameters": 5, "macs": 120, "seconds_ratio": time})
        >>> share({"by": "at", "reference": "a", "variants": rows}, "b")
        '50% of the parameters, 120% of the multiply-accumulates and 80% of the training time (3 timings)'
    """
    own, reference = _row(comparison, variant), _row(comparison, comparison["reference"])
    parameters, macs = (own[cost] / reference[cost] for cost in ("parameters", "macs"))
    time = own["seconds_ratio"]
    if time is None or time["mean"] is None:
        return f"{parameters:.0%} of the parameters and {macs:.0%} of the multiply-accumulates"
    known = [f"{time['n']} timing{'' if time['n'] == 1 else 's'}"]
    if time["low"] is not None:
        known.insert(0, f"95% interval {100 * time['low']:.0f} to {100 * time['high']:.0f}")
    return (
        f"{parameters:.0%} of the parameters, {macs:.0%} of the multiply-accumulates and {time['mean']:.0%} of the "
        f"training time ({', '.join(known)})"
    )


def _row(comparison: Mapping[str, Any], variant: Any) -> Mapping[str, Any]:
    return next(row for row in comparison["variants"] if row[comparison["by"]] == variant)


def verdict(comparison: Mapping[str, Any], reference: str) -> str:
    """Which variants the tests tell apart from the reference, on which side, and which they do not.

    Args:
        comparison: as `compare` gives it, on a metric of which more is better.
        reference: the reference in words.

    Example:
        >>> stride, average = {"mean": -0.01, "p_adjusted": 0.01}, {"mean": 0.01, "p_adjusted": 0.3}
        >>> rows = {"max": None, "stride": stride, "average": average}
        >>> rows = [{"at": name, "difference": difference} for name, difference in rows.items()]
        >>> verdict({"by": "at", "reference": "max", "variants": rows}, "max pooling")
        'Worse than max pooling: stride; not to be told apart from max pooling: average.'
    """
    by, rows = comparison["by"], comparison["variants"]
    names: dict[str, list[str]] = {"worse": [], "alike": [], "better": []}
    for row in rows:
        if row[by] != comparison["reference"]:
            names[_side(row["difference"])].append(str(row[by]))
    kinds = {"worse": "worse than", "alike": "not to be told apart from", "better": "better than"}
    parts = [f"{kind} {reference}: {', '.join(names[side])}" for side, kind in kinds.items() if names[side]]
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _side(difference: Mapping[str, Any] | None) -> str:
    """On which side of the reference a difference lies, where its adjusted p-value is below 0.05."""
    if difference is None or difference["p_adjusted"] is None or difference["p_adjusted"] >= SIGNIFICANCE:
        return "alike"
    return "better" if difference["mean"] > 0 else "worse"


def notes(comparison: Mapping[str, Any], dataset: str) -> str:
    """What a reader must know beside the numbers: rates at the edge of the grid, trials that did not finish.

    Example:
        >>> row = {"at": "a", "learning_rate": 3e-3, "learning_rate_at_edge": True, "n": 4, "diverged": 1, "failed": 0}
        >>> notes({"by": "at", "variants": [row]}, "mnist")
        'The best learning rate lies at the edge of the grid for a (0.003). Trials diverged: 1 of 5 at a.'
    """
    by, rows = comparison["by"], comparison["variants"]
    parts = []
    edges = [f"{row[by]} ({row['learning_rate']:g})" for row in rows if row["learning_rate_at_edge"]]
    if edges:
        parts.append(f"The best learning rate lies at the edge of the grid for {', '.join(edges)}.")
    for status in ("diverged", "failed"):
        tried = {row[by]: row["n"] + row["diverged"] + row["failed"] for row in rows}
        found = [f"{row[status]} of {tried[row[by]]} at {row[by]}" for row in rows if row[status]]
        if found:
            parts.append(f"Trials {status}: {', '.join(found)}.")
    if dataset == "digits":
        parts.append("360 test images of digits cannot separate close variants.")
    return " ".join(parts)
