"""How often the rule of `cnn.study.rule` picks each depth, on simulated sweeps whose true accuracies are known.

The model: depth d has the true error e[d]. On seed s its network has the accuracy p = 1 - e[d] + u[s] + v[d, s]. Here u
is the effect of a seed's split and order on every depth alike, and v their effect on one trial, both normal. The
validation accuracy is the share of right images. Two depths of one seed share their images and often their mistakes: an
image is drawn once for all depths with the probability `correlation`, otherwise for each depth anew, so that this is
the correlation between two depths of equal accuracy. `DATA` has the numbers of three data sets.

The true errors are multiples of the best depth's, so that one list serves every data set. `noise-free` is the depth
that the rule takes if it knows the true errors. `coverage` is how often the 95 % t interval of a depth's mean holds the
true accuracy, over all depths, among the intervals that exist.

    python -m benchmarks.answer_simulation
    python -m benchmarks.answer_simulation --repeats=200 --output=answer_simulation.json
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import flags

from benchmarks import report
from cnn.config import SweepConfig
from cnn.study import rule

MARGIN = SweepConfig().margin
SEEDS = (3, 5, 10, 20)
MARGINS = (0.0, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Data:
    """The noise of sweeps on a data set: of the commands that benchmarks/README.md names."""

    error: float  # of the best depth
    images: int  # that validate: a tenth of the training images
    correlation: float  # between two depths, of being right about an image
    seed_deviation: float
    trial_deviation: float


DATA = {
    "digits": Data(0.014, 144, 0.6, 0.002, 0.003),
    "mnist": Data(0.01, 6000, 0.5, 0.0005, 0.0008),
    "cifar10": Data(0.23, 5000, 0.6, 0.003, 0.003),
}
SHAPES = {  # true errors, as multiples of the best
    "equal": (1.0, 1.0, 1.0, 1.0),
    "2 % less a block": (1 / 0.98**3, 1 / 0.98**2, 1 / 0.98, 1.0),
    "10 % less a block": (1 / 0.9**3, 1 / 0.9**2, 1 / 0.9, 1.0),
    "30 % less a block": (1 / 0.7**3, 1 / 0.7**2, 1 / 0.7, 1.0),
    "plateau": (2.5, 1.5, 1.02, 1.0),
}
WANTED = {
    "equal": 0,
    "10 % less a block": 3,
    "30 % less a block": 3,
    "plateau": 2,
}  # the depth that an expert would take


def accuracies(data: Data, shape: str) -> tuple[float, ...]:
    """The true accuracy of each depth."""
    return tuple(1 - multiple * data.error for multiple in SHAPES[shape])


def sweeps(truth: Sequence[float], seeds: int, data: Data, repeats: int, generator: np.random.Generator) -> np.ndarray:
    """Validation accuracies [repeats, depths, seeds] under the model above, for true accuracies [depths]."""
    shared = generator.normal(0, data.seed_deviation, (repeats, 1, seeds))
    own = generator.normal(0, data.trial_deviation, (repeats, len(truth), seeds))
    accuracy = np.clip(np.asarray(truth)[:, None] + shared + own, 0, 1)
    return right_images(accuracy, data, generator) / data.images


def right_images(accuracy: np.ndarray, data: Data, generator: np.random.Generator) -> np.ndarray:
    """How many images each depth has right: [repeats, depths, seeds], for accuracies of the same shape.

    An image that is drawn once for all depths is right for every depth whose accuracy is above one uniform number. So
    the better depths are right about all such images that a worse one is right about: a chain of binomial numbers.
    """
    once = generator.binomial(data.images, data.correlation, accuracy[:, :1].shape)
    anew = generator.binomial(data.images - once, accuracy)
    order = np.argsort(-accuracy, axis=1)
    sorted_accuracy = np.take_along_axis(accuracy, order, axis=1)
    chain = np.empty(accuracy.shape, int)
    left = once[:, 0]
    before = np.ones(left.shape)
    for place in range(accuracy.shape[1]):
        current = sorted_accuracy[:, place]
        left = generator.binomial(left, np.divide(current, before, out=np.zeros_like(current), where=before > 0))
        chain[:, place] = left
        before = current
    found = np.empty_like(chain)
    np.put_along_axis(found, order, chain, axis=1)
    return found + anew


def picks(accuracy: np.ndarray, margin: float = MARGIN) -> np.ndarray:
    """Share of the sweeps [repeats, depths, seeds] in which the rule takes each depth: [depths], of sum 1."""
    chosen = np.array([rule.choose(sweep, margin).chosen for sweep in accuracy], int)
    return np.bincount(chosen, minlength=accuracy.shape[1]) / len(accuracy)


def coverage(accuracy: np.ndarray, truth: Sequence[float]) -> float:
    """How often the 95 % t interval over seeds holds the true accuracy; sweeps without variance have no interval."""
    from scipy import stats

    mean = accuracy.mean(axis=-1)
    error = stats.sem(accuracy, axis=-1)
    known = np.ptp(accuracy, axis=-1) > 0
    low, high = stats.t.interval(0.95, accuracy.shape[-1] - 1, loc=mean, scale=np.where(known, error, 1.0))
    held = (low <= np.asarray(truth)) & (np.asarray(truth) <= high)
    return float(held[known].mean())


def simulate(repeats: int, seed: int) -> list[dict[str, Any]]:
    """One row for each data set, shape and number of seeds: the rule's picks and the coverage."""
    generator = np.random.default_rng(seed)
    rows = []
    for name, data in DATA.items():
        for shape in SHAPES:
            truth = accuracies(data, shape)
            for seeds in SEEDS:
                accuracy = sweeps(truth, seeds, data, repeats, generator)
                best = rule.choose(np.array(truth)[:, None], MARGIN).chosen
                row = {"data": name, "true errors": shape, "seeds": seeds, "noise-free": best}
                row |= {f"picks {depth}": float(share) for depth, share in enumerate(picks(accuracy))}
                rows.append(row | {"coverage": coverage(accuracy, truth)})
    return rows


def compare_margins(repeats: int, seed: int, seeds: int = 5) -> list[dict[str, Any]]:
    """One row for each data set and shape of `WANTED`: how often each margin leads to the wanted depth."""
    generator = np.random.default_rng(seed)
    rows = []
    for name, data in DATA.items():
        for shape, wanted in WANTED.items():
            accuracy = sweeps(accuracies(data, shape), seeds, data, repeats, generator)
            shares = {f"margin {margin:g}": float(picks(accuracy, margin)[wanted]) for margin in MARGINS}
            rows.append({"data": name, "true errors": shape, "wanted": wanted, **shares})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown, shares in percent."""
    from tabulate import tabulate

    shown = [{k: f"{v:.1%}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    return tabulate(shown, headers="keys", tablefmt="github")


def main(options: flags.FlagValues) -> None:
    """Simulate, print the table and how long it took, and write the rows where asked."""
    started = time.perf_counter()
    rows = simulate(options.repeats, options.seed)
    print(table(rows))
    margins = compare_margins(options.repeats, options.seed)
    print(f"\n{table(margins)}")
    seconds = time.perf_counter() - started
    print(f"\n{options.repeats} repeats of each row, margin {MARGIN}, seed {options.seed}; {seconds:.0f} s")
    settings = {"repeats": options.repeats, "seed": options.seed, "margin": MARGIN, "shapes": SHAPES}
    settings |= {"data": {name: dataclasses.asdict(data) for name, data in DATA.items()}}
    report.write(options.output, settings, {"rows": rows, "margins": margins})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_integer("repeats", 2000, "simulated sweeps of each row", lower_bound=1, flag_values=options)
    flags.DEFINE_integer("seed", 0, "seed of the random numbers", lower_bound=0, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
