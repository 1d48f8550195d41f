"""Charts of how networks learned: accuracy by epoch, and validation accuracy by learning rate.

Example:
    >>> curves = Curves("1 block", 1, {0: {1: 0.9, 2: 0.95}, 1: {1: 0.8, 2: 0.97}}, "validation")
    >>> [chart.title for chart in learning_curves([curves]).options["accuracy"].charts]
    ['1 block']
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn.show.charts import (
    ACCENT,
    BAD,
    OTHER,
    Spec,
    colours,
    domain,
    drawing,
    layer,
    log_domain,
    number,
    plain,
    tooltip,
)
from cnn.show.parts import Cell, Chart, Choice, Panels, Table, percent, written
from cnn.study.results import Row, Summary
from cnn.training.metrics import Epoch

HEIGHT = 260
PANEL = 170
FEW = 3  # points of a line that is so short that it gets a mark at each
MEAN = {"type": "point", "filled": True, "size": 50, "opacity": 1}


@dataclass(frozen=True)
class Curves:
    """How the trainings of one variant went: for each seed an accuracy, as a fraction, by epoch."""

    title: str
    variant: Any
    seeds: Mapping[int, Mapping[int, float]]
    images: str  # which ones the accuracy is of: validation or training


def curves_of(title: str, variant: Any, epochs: Mapping[int, Sequence[Epoch]]) -> Curves:
    """The curves in the metrics of each seed: on validation images, or on training images where there are none.

    Not each epoch is validated where more images validate than learn.
    """
    validated = any(epoch.val_accuracy is not None for own in epochs.values() for epoch in own)
    name = "val_accuracy" if validated else "train_accuracy"
    seeds = {
        seed: {epoch.epoch: value for epoch in own if (value := getattr(epoch, name)) is not None}
        for seed, own in epochs.items()
    }
    known = {seed: own for seed, own in seeds.items() if own}
    return Curves(title, variant, known, "validation" if validated else "training")


def learning_curves(several: Sequence[Curves]) -> Choice:
    """A panel for each variant: each seed thin, their mean thick; as accuracy, or as error on a log scale."""
    options = {
        name: Panels([_panel(place, curves, log, several) for place, curves in enumerate(several)], _table(several))
        for name, log in {"accuracy": False, "error, on a log scale": True}.items()
    }
    return Choice("curves", "Show", options)


def _shown(values: Iterable[float], log: bool) -> list[float | None]:
    """Percent right or, on a log scale, wrong; an error of 0 has no place there."""
    return [(100 * (1 - value) or None) if log else 100 * value for value in values]


def _panel(place: int, curves: Curves, log: bool, all_curves: Sequence[Curves]) -> Chart:
    seeds = [{"seed": seed, **_points(own, log)} for seed, own in curves.seeds.items()]
    mean = _mean(curves)
    lines = [own for each in all_curves for own in each.seeds.values()]
    every = [value for own in lines for value in _shown(own.values(), log) if value]
    quantity = f"{curves.images} {'error' if log else 'accuracy'} (%)"
    spread = log_domain(every) if log else domain(every, high=100.0)
    scale: dict[str, Any] = {"domain": spread if every else [1.0, 100.0]}
    y = number("value", quantity, **scale, **({"type": "log"} if log else {}))
    y["axis"] = {"tickCount": 5, **({"format": "~g"} if log else {})}
    longest = max((epoch for own in lines for epoch in own), default=0)
    x = number("epoch", "epoch", domain=[1, longest] if longest > 1 else [0.5, 1.5])
    x["axis"] = {"tickMinStep": 1, "tickCount": 5, "grid": False, "format": "d"}
    steps: list[Spec] = [{"flatten": ["epoch", "value"]}]
    few = max(map(len, curves.seeds.values()), default=0) <= FEW
    points = max(map(len, lines), default=0)
    dots = {"color": OTHER, "size": 12} if points < 2 else False  # one point is no line
    thin = {"type": "line", "strokeWidth": 1, "opacity": 0.5, "color": OTHER, "tooltip": False, "point": dots}
    thick = {"type": "line", "strokeWidth": 2.5, "color": ACCENT, "point": {"color": ACCENT} if few else False}
    layers = [
        layer(seeds, thin, of_variants=False, transform=steps, x=x, y=y, detail={"field": "seed"}),
        layer(
            [_points(mean, log)],
            thick,
            of_variants=False,
            transform=steps,
            x=x,
            y=y,
            tooltip=tooltip(epoch="epoch", value=quantity),
        ),
    ]
    ends = f"The mean ends at {100 * mean[max(mean)]:.2f} %." if mean else "No training finished an epoch."
    name = f"curves-{'error' if log else 'accuracy'}-{place}"
    return Chart(
        name,
        curves.title,
        f"{curves.images.capitalize()} accuracy by epoch, {curves.title}. {ends}",
        drawing(layers, PANEL),
        variant=curves.variant,
        height=PANEL,
    )


def _points(accuracies: Mapping[int, float], log: bool) -> dict[str, Any]:
    """Accuracies by epoch as a line's two lists."""
    return {"epoch": list(accuracies), "value": _shown(accuracies.values(), log)}


def _mean(curves: Curves) -> dict[int, float]:
    """The mean over the seeds, of the epochs that every seed has."""
    several = list(curves.seeds.values())
    shared = [epoch for epoch in several[0] if all(epoch in own for own in several)] if several else []
    return {epoch: float(np.mean([own[epoch] for own in several])) for epoch in shared}


def _table(several: Sequence[Curves]) -> Table:
    means = [_mean(curves) for curves in several]
    cells = [
        [written(epoch, "d"), *(percent(own.get(epoch)) for own in means)]
        for epoch in sorted({epoch for own in means for epoch in own})
    ]
    images = " and ".join(dict.fromkeys(curves.images for curves in several))
    return Table(f"Mean {images} accuracy by epoch, in percent.", ("epoch", *(each.title for each in several)), cells)


def rates_chart(tuned: Sequence[Row], summaries: Sequence[Summary], column: str) -> Chart:
    """Validation accuracy by learning rate, a line for each variant; the chosen rate is ringed, an edge flagged.

    Args:
        tuned: the tuning trials.
        summaries: of each variant, in order.
        column: what the variants are values of.
    """
    names = [summary.variant for summary in summaries]
    chosen = {summary.variant: summary.learning_rate for summary in summaries}
    edges = {summary.variant for summary in summaries if summary.learning_rate_at_edge}
    tried = [each for name in names for each in _by_rate(name, [row for row in tuned if row.variant == name])]
    means = [each for each in tried if each["n"]]
    best = [each | {"edge": "at the edge"} for each in means if each["rate"] == chosen[each["variant"]]]
    flagged = [each for each in best if each["variant"] in edges]
    x = number("rate", "learning rate", type="log", domain=log_domain([each["rate"] for each in means]))
    x["axis"] = {"format": "~g", "values": sorted({each["rate"] for each in means}), "labelOverlap": True}
    y = number("accuracy", "validation accuracy (%)", domain=domain([each["accuracy"] for each in means], high=100.0))
    seen = [name for name in names if any(each["variant"] == name for each in means)]
    colour = colours("variant", names, column, values=seen)
    shown = tooltip(variant=column, rate="learning rate", accuracy="mean validation %", n="seeds")
    layers = [
        layer(means, {"type": "line", "strokeWidth": 1.5, "tooltip": False}, x=x, y=y, color=colour),
        layer(means, MEAN, x=x, y=y, color=colour, tooltip=shown),
        layer(best, {"type": "point", "size": 220, "strokeWidth": 2, "filled": False}, x=x, y=y, color=colour),
        layer(flagged, {"type": "text", "dy": -16, "color": BAD}, transform=_TOP, x=x, y=y, text=plain("edge")),
    ]
    words = ", ".join(f"{each['variant']}: {each['rate']:g}" for each in best)
    return Chart(
        "rates",
        "The learning rate of each, chosen on validation images (ringed)",
        f"Mean validation accuracy of the tuning seeds by learning rate. Chosen: {words}.",
        drawing(layers, HEIGHT),
        Table(
            "Mean validation accuracy of the tuning seeds, in percent.",
            (column, "learning rate", "validation %", "seeds", "diverged or collapsed", "chosen"),
            [
                [
                    _name(each["variant"]),
                    Cell(f"{each['rate']:g}", each["rate"]),
                    written(each["accuracy"], ".2f"),
                    written(each["n"], "d"),
                    written(each["lost"], "d"),
                    Cell("yes" if each["rate"] == chosen[each["variant"]] else ""),
                ]
                for each in tried
            ],
            variants=[each["variant"] for each in tried],
        ),
        height=HEIGHT,
    )


_TOP: list[Spec] = [  # of the marks of one rate the highest, so that words do not lie on one another
    {"joinaggregate": [{"op": "max", "field": "accuracy", "as": "top"}], "groupby": ["rate"]},
    {"filter": "datum.accuracy === datum.top"},
]


def _by_rate(name: Any, tuned: Sequence[Row]) -> list[dict[str, Any]]:
    """The tuning trials of a variant at each rate: their mean accuracy in percent, how many count, how many do not."""
    tried = []
    for rate in sorted({row.learning_rate for row in tuned if row.learning_rate}):
        own = [row for row in tuned if row.learning_rate == rate]
        values = [row.value("val_accuracy") for row in own if row.done]
        mean = 100 * float(np.mean(values)) if values else None
        lost = len(own) - len(values)
        tried.append({"variant": name, "rate": float(rate), "accuracy": mean, "n": len(values), "lost": lost})
    return tried


def _name(variant: Any) -> Cell:
    return written(variant, "d") if isinstance(variant, int) else Cell(str(variant))
