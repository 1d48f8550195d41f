"""From the results of a study to its answer: best learning rates, the recommended depth, and how sure we are.

Results are a DataFrame with one row for each trial, as in `results.csv`: `phase` (tune or compare), a variant column
(`blocks`, or another named by `by`), `learning_rate`, `seed`, `status` (done, diverged, failed), `parameters`, `macs`,
`val_accuracy`, `test_accuracy`, `train_seconds`; unknown is NaN, accuracies are fractions. Validation accuracy alone
chooses; test accuracy describes. Variants that are numbers are taken in ascending order, others as they first appear.

Example:
    >>> import pandas as pd
    >>> results = pd.DataFrame({
    ...     "phase": "compare", "blocks": [1, 1, 2, 2], "learning_rate": 1e-3, "seed": [0, 1, 0, 1], "status": "done",
    ...     "parameters": [10, 10, 20, 20], "macs": [100, 100, 200, 200], "train_seconds": 1.0,
    ...     "val_accuracy": [0.96, 0.97, 0.98, 0.98], "test_accuracy": [0.95, 0.97, 0.98, 0.985]})
    >>> recommend(results, margin=0.002)
    2
    >>> answer(results, dataset="mnist", match="width", margin=0.002)["indistinguishable"]
    [1]
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnn.study import statistics
from cnn.study.tuning import BestRate, best_learning_rates, plain, values_of

if TYPE_CHECKING:  # only its methods are called here, so `--help` need not wait for the import
    import pandas as pd

SIGNIFICANCE = 0.05  # of the family of comparisons with the recommended depth


class Choice(NamedTuple):
    """The index of the depth that the rule chose (`None` where no trial finished), and what it saw of each depth."""

    chosen: int | None
    shortfall: np.ndarray  # [depths], best mean minus this mean; inf where no trial finished
    allowance: np.ndarray  # [depths], max(margin, standard error of the paired difference)


def compared_trials(results: "pd.DataFrame", by: str = "blocks") -> "pd.DataFrame":
    """The trials that compare: phase compare, each variant at its best learning rate.

    A work folder whose grid has grown may hold older comparison trials at another rate; these do not count.

    Raises:
        ValueError: a variant has two such trials of one seed.
    """
    compared = results[results["phase"] == "compare"]
    for variant, best in best_learning_rates(results, by).items():
        compared = compared[(compared[by] != variant) | (compared["learning_rate"] == best.learning_rate)]
    repeated = compared[compared.duplicated([by, "seed"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise ValueError(f"{by}={row[by]}, seed={row['seed']}: two comparison trials, where one is expected")
    return compared


def choose(accuracy: np.ndarray, margin: float) -> Choice:
    """The rule on an array: the first row whose mean is within reach of the best row's.

    Within reach: short of the best mean by at most max(margin, SE). SE is the standard error (ddof 1) of the difference
    to the best row, paired by seed; below two common seeds it is 0. The one-standard-error rule of Breiman et al.
    (1984), paired, and with a margin that a block must earn however many seeds there are. A row with an unknown value
    (a trial diverged, say) is ranked only where every row has one, and then on the seeds it shares with the best.

    Args:
        accuracy: [depths, seeds], validation accuracies from the shallowest to the deepest; NaN where unknown.
        margin: accuracy that a block must earn.

    >>> choose(np.array([[0.96, 0.97], [0.98, 0.98]]), margin=0.002)  # short by 0.015, SE 0.005
    Choice(chosen=1, shortfall=array([0.015, 0.   ]), allowance=array([0.005, 0.002]))
    """
    accuracy = np.asarray(accuracy, float)
    complete = ~np.isnan(accuracy).any(axis=1)
    if complete.any():
        accuracy = np.where(complete[:, None], accuracy, np.nan)
    known = np.ma.masked_invalid(accuracy)
    mean = np.ma.filled(known.mean(axis=1), -np.inf)
    if not np.isfinite(mean).any():
        return Choice(None, np.full(len(mean), np.inf), np.full(len(mean), margin))
    best = int(np.argmax(mean >= mean.max() - statistics.RESOLUTION))  # of equally good depths, the smallest
    difference = known[best] - known
    error = difference.std(axis=1, ddof=1) / np.sqrt(np.maximum(difference.count(axis=1), 1))
    shortfall = np.ma.filled(difference.mean(axis=1), np.inf)
    allowance = np.maximum(margin, np.ma.filled(error, 0.0))
    return Choice(int(np.argmax(shortfall <= allowance + statistics.RESOLUTION)), shortfall, allowance)


def recommend(results: "pd.DataFrame", margin: float, by: str = "blocks") -> Any:
    """The smallest depth within reach of the best on validation data (`choose`); `None` where no trial finished."""
    variants = values_of(results, by)
    chosen = choose(by_seed(compared_trials(results, by), "val_accuracy", variants, by), margin).chosen
    return None if chosen is None else variants[chosen]


def answer(
    results: "pd.DataFrame",
    *,
    dataset: str,
    match: str,
    margin: float,
    correct: Mapping[Any, np.ndarray] | None = None,
    by: str = "blocks",
) -> dict[str, Any]:
    """What `answer.json` holds: the recommended depth, and for each depth its accuracy, intervals, cost and p-value.

    Args:
        results: one row for each trial, as the module says.
        dataset: name of the data set.
        match: what the depths have in common: width, parameters or macs.
        margin: validation accuracy that a block must earn.
        correct: by depth, boolean [seeds, images]: which test images each finished seed has right; for the bootstrap.
        by: the variant column. It names the keys: `recommended_blocks` and `blocks`.

    Returns:
        Plain values for JSON, `None` where unknown. Intervals are 95 %. `p_adjusted` is a paired t-test on test
        accuracy against the recommended depth, Holm-adjusted; `indistinguishable` are the other depths with a finished
        trial whose `p_adjusted` is unknown or at least 0.05. `shortfall` and `allowance` are the rule's two sides.
    """
    trials, variants, rates = compared_trials(results, by), values_of(results, by), best_learning_rates(results, by)
    choice = choose(by_seed(trials, "val_accuracy", variants, by), margin)
    adjusted = _adjusted_p_values(by_seed(trials, "test_accuracy", variants, by), choice.chosen)
    depths = []
    for index, variant in enumerate(variants):
        depth = {by: variant, **describe(trials[trials[by] == variant], rates.get(variant))}
        own = (correct or {}).get(variant)
        interval = None if own is None else statistics.bootstrap_interval(own)
        depth["test_bootstrap_low"], depth["test_bootstrap_high"] = interval or (None, None)
        ranked = bool(np.isfinite(choice.shortfall[index]))
        depth["shortfall"] = float(choice.shortfall[index]) if ranked else None
        depth["allowance"] = float(choice.allowance[index]) if ranked else None
        depth["p_adjusted"] = adjusted.get(index)
        depths.append(depth)
    others = [depth for index, depth in enumerate(depths) if choice.chosen not in (None, index) and depth["n"]]
    return {
        f"recommended_{by}": None if choice.chosen is None else variants[choice.chosen],
        "rule": _rule(depths, margin, by),
        "margin": float(margin),
        "indistinguishable": [
            depth[by] for depth in others if depth["p_adjusted"] is None or depth["p_adjusted"] >= SIGNIFICANCE
        ],
        "dataset": dataset,
        "match": match,
        "depths": depths,
    }


def variant_name(by: str, value: Any) -> str:
    """A variant in words.

    >>> variant_name("blocks", 1), variant_name("blocks", 2), variant_name("pooling", "max")
    ('1 block', '2 blocks', 'pooling=max')
    """
    return f"{value} block{'' if value == 1 else 's'}" if by == "blocks" else f"{by}={value}"


def table(answer: Mapping[str, Any]) -> str:
    """The depths of an answer as a table in Markdown: test accuracy in percent with its t interval, cost, p-value.

    A star marks the recommended depth; `-` is unknown.
    """
    from tabulate import tabulate

    by = variant_column(answer)
    chosen = answer[f"recommended_{by}"]
    rows = [
        {
            by: f"{depth[by]} *" if depth[by] == chosen and chosen is not None else str(depth[by]),
            "test accuracy %": percent(depth["test_mean"], depth["test_low"], depth["test_high"]),
            "validation %": percent(depth["val_mean"]),
            "n": depth["n"],
            "diverged": depth["diverged"],
            "failed": depth["failed"],
            **cost_cells(depth),
            "p (Holm)": cell(depth["p_adjusted"], ".2g"),
        }
        for depth in answer["depths"]
    ]
    left = (by, "test accuracy %")
    align = ["left" if name in left else "right" for name in (rows[0] if rows else ())]
    return tabulate(rows, headers="keys", tablefmt="github", missingval="-", disable_numparse=True, colalign=align)


def sentence(answer: Mapping[str, Any]) -> str:
    """The answer in one sentence, then a short one for each thing to know: rates at the edge, divergence, failures."""
    unfinished = [
        _unfinished(answer, "diverged", ""),
        _unfinished(answer, "failed", "; the same command tries them again"),
    ]
    parts = [_verdict(answer), _edges(answer), *unfinished]
    if answer["dataset"] == "digits":
        parts.append("360 test images of digits cannot separate close depths.")
    return " ".join(part for part in parts if part)


def variant_column(answer: Mapping[str, Any]) -> str:
    """The column that an answer is about, such as `blocks`."""
    return next(key for key in answer if key.startswith("recommended_")).removeprefix("recommended_")


def cell(value: float | None, form: str) -> str | None:
    """A number in its format, where it is known."""
    return None if value is None else format(value, form)


def cost_cells(row: Mapping[str, Any]) -> dict[str, str | None]:
    """What a variant's line of a table says of its training and cost."""
    return {
        "learning rate": cell(row["learning_rate"], "g"),
        "parameters": cell(row["parameters"], ","),
        "multiply-accumulates": cell(row["macs"], ","),
        "seconds": cell(row["train_seconds"], ".1f"),
    }


def percent(mean: float | None, low: float | None = None, high: float | None = None) -> str | None:
    """A fraction in percent with its interval, without the sign: for a table.

    >>> percent(0.98, 0.97, 0.99)
    '98.00 [97.00, 99.00]'
    """
    if mean is None:
        return None
    interval = "" if low is None or high is None else f" [{points(low):.2f}, {points(high):.2f}]"
    return f"{points(mean):.2f}{interval}"


def points(share: float) -> float:
    """A fraction in percent as it is written, with two decimals, so that what is shown as 0 has no sign.

    >>> points(-0.00001), points(-0.0123)
    (0.0, -1.23)
    """
    return round(100 * share, 2) + 0.0


def mean_in_words(found: Mapping[str, Any]) -> str:
    """A mean fraction in percent, with its interval and the number of seeds: for a sentence.

    Args:
        found: `n`, `mean`, `low` and `high`, as `statistics.moments` gives them.

    >>> mean_in_words({"n": 5, "mean": 0.98, "low": 0.97, "high": 0.99})
    '98.00 % (95% interval 97.00 to 99.00, n=5)'
    """
    if found["mean"] is None:
        return "an unknown share (no trial finished)"
    known = [f"n={found['n']}"]
    if found["low"] is not None:
        known.insert(0, f"95% interval {points(found['low']):.2f} to {points(found['high']):.2f}")
    return f"{points(found['mean']):.2f} % ({', '.join(known)})"


def _verdict(answer: Mapping[str, Any]) -> str:
    by, dataset = variant_column(answer), answer["dataset"]
    chosen = answer[f"recommended_{by}"]
    if chosen is None:
        return f"No recommendation on {dataset}: no trial finished."
    depth = next(depth for depth in answer["depths"] if depth[by] == chosen)
    accuracy = mean_in_words({"n": depth["n"], **{name: depth[f"test_{name}"] for name in ("mean", "low", "high")}})
    return (
        f"On {dataset}, use {variant_name(by, chosen)}: mean test accuracy {accuracy}; "
        f"{_comparison(answer, by, chosen)}."
    )


def _comparison(answer: Mapping[str, Any], by: str, chosen: Any) -> str:
    """The end of the verdict: which depths cannot be told apart from the chosen one."""
    others = [depth[by] for depth in answer["depths"] if depth[by] != chosen and depth["n"]]
    alike = answer["indistinguishable"]
    if not others:
        return "no other depth to compare it with" if by == "blocks" else "nothing to compare it with"
    if not alike:
        return f"the data tell it apart from {_listed(by, others)}"
    return f"the data cannot tell it apart from {_listed(by, alike)}"


def _edges(answer: Mapping[str, Any]) -> str:
    by = variant_column(answer)
    edges: dict[float, list[Any]] = {}
    for depth in answer["depths"]:
        if depth["learning_rate_at_edge"]:
            edges.setdefault(depth["learning_rate"], []).append(depth[by])
    if not edges:
        return ""
    listed = _and([f"{rate:g} for {_listed(by, variants)}" for rate, variants in sorted(edges.items())])
    return f"The best learning rate lies at the edge of the grid ({listed}), so a wider grid may do better."


def _unfinished(answer: Mapping[str, Any], status: str, end: str) -> str:
    by = variant_column(answer)
    found = [
        f"{depth[status]} of {depth['n'] + depth['diverged'] + depth['failed']} at {variant_name(by, depth[by])}"
        for depth in answer["depths"]
        if depth[status]
    ]
    return f"Trials {status}: {_and(found)}{end}." if found else ""


def _listed(by: str, values: list[Any]) -> str:
    """Variants in words: `0, 1 and 3 blocks`."""
    if by != "blocks":
        return _and([variant_name(by, value) for value in values])
    return variant_name(by, values[0]) if len(values) == 1 else f"{_and(list(map(str, values)))} blocks"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def by_seed(trials: "pd.DataFrame", column: str, variants: list[Any], by: str) -> np.ndarray:
    """[variants, seeds] of the finished trials, NaN elsewhere."""
    done = trials[trials["status"] == "done"]
    known = done.reindex(columns=[by, "seed", column])  # no trial may have measured it
    return known.pivot(index=by, columns="seed", values=column).reindex(variants).to_numpy(float)


def _adjusted_p_values(test: np.ndarray, chosen: int | None) -> dict[int, float | None]:
    """By index of the other depths, from test accuracies [depths, seeds]."""
    if chosen is None:
        return {}
    others = (index for index in range(len(test)) if index != chosen)
    return statistics.holm({index: statistics.paired_p_value(test[chosen], test[index]) for index in others})


def describe(trials: "pd.DataFrame", best: BestRate | None) -> dict[str, Any]:
    """One variant's comparison trials in numbers: counts, moments, cost, and the rate (tuned, or the only one)."""
    done = trials[trials["status"] == "done"]
    rates = trials["learning_rate"].dropna().unique()
    rate = best.learning_rate if best else float(rates[0]) if len(rates) == 1 else None
    return {
        "learning_rate": rate,
        "learning_rate_at_edge": bool(best and best.at_edge),
        "n": len(done),
        "diverged": int((trials["status"] == "diverged").sum()),
        "failed": int((trials["status"] == "failed").sum()),
        **{
            f"{part}_{name}": value
            for part in ("val", "test")
            for name, value in statistics.moments(done[f"{part}_accuracy"].to_numpy(float)).items()
            if name != "n"
        },
        "parameters": _first(trials["parameters"]),
        "macs": _first(trials["macs"]),
        "train_seconds": float(done["train_seconds"].mean()) if done["train_seconds"].notna().any() else None,
    }


def _first(values: "pd.Series") -> Any:
    values = values.dropna()
    return plain(values.iloc[0]) if len(values) else None


def _rule(depths: list[dict[str, Any]], margin: float, by: str) -> str:
    """The rule in one sentence, with the numbers it was used with."""
    ranked = [depth for depth in depths if depth["shortfall"] is not None]
    best = min(ranked, key=lambda depth: depth["shortfall"], default=None)
    reference = f" ({variant_name(by, best[by])}: {best['val_mean']:.4f})" if best else ""
    kind = "depth" if by == "blocks" else "variant"
    unknown = (
        "" if any(depth["n"] > 1 for depth in ranked) else "; of one seed SE is unknown, so the margin alone counts"
    )
    order = "smallest" if by == "blocks" else "first"
    return (
        f"the {order} {kind} whose mean validation accuracy falls short of the best {kind}'s{reference} by at most "
        f"max(margin, SE), with margin {margin:g} and SE the standard error of the seed-paired difference{unknown}"
    )
