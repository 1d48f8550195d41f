"""How often the rule of `cnn.study.answer` picks each depth, on simulated sweeps whose true accuracies are known.

The model: depth d has the true accuracy a[d]. On seed s its network has the accuracy p = a[d] + u[s] + e[d, s]. Here u
is the effect of a seed's split and order on every depth alike, normal with deviation 0.003; e is their effect on one
trial, normal with deviation 0.002. The validation accuracy is the share of right images among 5000 (a tenth of
CIFAR-10) or 144 (of digits), a binomial number with probability p (clipped to [0, 1]). It is drawn anew for each depth.
Real depths share their validation images and often their mistakes, so the real paired noise is somewhat smaller.

`noise-free` is the depth that the rule takes if it knows the true accuracies. Where a step equals the margin exactly
(0.001 and 0.002 a block), the true answer itself lies on the edge of the rule. `coverage` is how often the 95 % t
interval of a depth's mean holds the true accuracy, over all depths, among the intervals that exist.

    python -m benchmarks.answer_simulation
    python -m benchmarks.answer_simulation --repeats=200 --output=answer_simulation.json
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks import report
from cnn.study import rule

MARGIN = 0.002
SEED_DEVIATION = 0.003
TRIAL_DEVIATION = 0.002
SEEDS = (3, 5, 10, 40)
IMAGES = (5000, 144)
SHAPES = {
    "equal": (0.98, 0.98, 0.98, 0.98),
    "0.001 a block": (0.98, 0.981, 0.982, 0.983),
    "0.002 a block": (0.98, 0.982, 0.984, 0.986),
    "0.005 a block": (0.97, 0.975, 0.98, 0.985),
    "plateau": (0.97, 0.985, 0.99, 0.9905),
}


def sweeps(truth: Sequence[float], seeds: int, images: int, repeats: int, generator: np.random.Generator) -> np.ndarray:
    """Validation accuracies [repeats, depths, seeds] under the model above, for true accuracies [depths]."""
    shared = generator.normal(0, SEED_DEVIATION, (repeats, 1, seeds))
    own = generator.normal(0, TRIAL_DEVIATION, (repeats, len(truth), seeds))
    accuracy = np.clip(np.asarray(truth)[:, None] + shared + own, 0, 1)
    return generator.binomial(images, accuracy) / images


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
    """One row for each number of validation images, shape and number of seeds: the rule's picks and the coverage."""
    generator = np.random.default_rng(seed)
    rows = []
    for images in IMAGES:
        for shape, truth in SHAPES.items():
            for seeds in SEEDS:
                accuracy = sweeps(truth, seeds, images, repeats, generator)
                best = rule.choose(np.array(truth)[:, None], MARGIN).chosen
                row = {"images": images, "true accuracies": shape, "seeds": seeds, "noise-free": best}
                row |= {f"picks {depth}": float(share) for depth, share in enumerate(picks(accuracy))}
                rows.append(row | {"coverage": coverage(accuracy, truth)})
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
    seconds = time.perf_counter() - started
    print(f"\n{options.repeats} repeats of each row, margin {MARGIN}, seed {options.seed}; {seconds:.0f} s")
    settings = {"repeats": options.repeats, "seed": options.seed, "margin": MARGIN, "shapes": SHAPES}
    settings |= {"seed_deviation": SEED_DEVIATION, "trial_deviation": TRIAL_DEVIATION}
    report.write(options.output, settings, {"rows": rows})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_integer("repeats", 2000, "simulated sweeps of each row", lower_bound=1, flag_values=options)
    flags.DEFINE_integer("seed", 0, "seed of the random numbers", lower_bound=0, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
