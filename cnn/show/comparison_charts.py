"""The charts of a comparison: what was measured of each variant, how far each lies from the reference, and lines.

Numbers are in percent, and differences in points.

Example:
    >>> from cnn.study.comparison import compare
    >>> from cnn.training.folder import Result
    >>> accuracies = {"max": [0.98, 0.97], "stride": [0.96, 0.96]}
    >>> rows = [Row("compare", name, 1e-3, seed, Result("done", test_accuracy=value, train_seconds=1.0))
    ...         for name, values in accuracies.items() for seed, value in enumerate(values)]
    >>> poolings = compare(rows, column="pooling", reference="max")
    >>> [cell.text for cell in differences(poolings, "test accuracy").table.rows[0]]
    ['stride', '-1.50', '-7.85', '4.85', '0.2']
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn.show.charts import (
    ACCENT,
    BAD,
    GOOD,
    INK,
    OTHER,
    Spec,
    Values,
    colours,
    domain,
    drawing,
    estimated,
    layer,
    number,
    plain,
    tooltip,
)
from cnn.show.parts import Cell, Chart, Table, percent, written
from cnn.study.comparison import Comparison, Variant
from cnn.study.results import Row, compared
from cnn.study.words import side

MEAN = {"type": "point", "filled": True, "size": 90, "opacity": 1}
ROW = 46  # pixels of a variant's row
LINES_HEIGHT = 260
COLOURS = {"worse": BAD, "alike": INK, "better": GOOD}


@dataclass(frozen=True)
class Lines:
    """How a measurement changes with what was varied along a horizontal axis.

    Attributes:
        columns: for each place on the axis, the measurement there.
        along: what varies along the axis.
        log: whether the axis is logarithmic.
    """

    columns: Mapping[Any, str]
    along: str
    log: bool = False


def by_variant(
    comparison: Comparison, rows: Sequence[Row], metric: str, label: str, marked: Mapping[str, float] | None = None
) -> Chart:
    """What was measured of each variant: a dot for each seed, and the mean with its 95 % interval.

    Args:
        comparison: the variants.
        rows: the trials that the comparison was made from.
        metric: the measurement.
        label: the measurement in words.
        marked: what else to mark on the axis: fractions by their names.
    """
    done = [row for row in compared(rows) if row.done and not np.isnan(row.value(metric))]
    seeds = [{"variant": row.variant, "seed": row.seed, "value": 100 * row.value(metric)} for row in done]
    known = [_mean(each, metric, comparison) for each in comparison.variants if each.measured[metric].mean is not None]
    lines = [{"value": 100 * share, "name": name} for name, share in (marked or {}).items()]
    ends = [each[end] for each in known for end in ("low", "high")] + [each["value"] for each in (*seeds, *lines)]
    x = number("value", f"{label} (%)", domain=domain(ends, low=0.0, high=100.0))
    y = _rows(comparison)
    dot = {"type": "point", "filled": True, "size": 34, "opacity": 0.55, "color": OTHER, "yOffset": 10}
    shown = tooltip(variant=comparison.column, value=f"mean {label} %", low="from", high="to", n="seeds")
    layers = [
        layer(seeds, dot, x=x, y=y, tooltip=tooltip(variant=comparison.column, seed="seed", value=f"{label} %")),
        *_means(known, x, y, shown),
    ]
    if lines:
        words = {"type": "text", "align": "left", "dx": 4, "baseline": "top", "color": BAD}
        layers.append(layer(lines, {"type": "rule", "color": BAD, "strokeDash": [4, 3]}, of_variants=False, x=x))
        layers.append(layer(lines, words, of_variants=False, x=x, y={"value": 2}, text=plain("name")))
    height = ROW * len(comparison.variants)
    return Chart(
        f"by-variant-{metric}".replace("_", "-"),
        f"{label[:1].upper()}{label[1:]} of each: dots are seeds, means have 95 % intervals",
        f"Mean {label}: " + ", ".join(f"{each['variant']} {each['words']} %" for each in known) + ".",
        drawing(layers, height),
        Table(
            f"{label[:1].upper()}{label[1:]} in percent.",
            (comparison.column, "mean", "from", "to", "seeds"),
            [
                [
                    Cell(str(variant.name)),
                    *(percent(getattr(variant.measured[metric], name)) for name in ("mean", "low", "high")),
                    written(variant.measured[metric].n, "d"),
                ]
                for variant in comparison.variants
            ],
            variants=[variant.name for variant in comparison.variants],
        ),
        height=height,
    )


def _rows(comparison: Comparison) -> Spec:
    """The vertical channel of the variants; the reference's name is bold."""
    axis = {"labelLimit": 150, "grid": False, "domain": False, "ticks": False, "title": None}
    order = [variant.name for variant in comparison.variants]
    return {"field": "variant", "type": "nominal", "sort": order, "axis": axis}


def _means(values: Values, x: Spec, y: Spec, shown: list[Spec]) -> list[Spec]:
    """A mark for each mean, its interval as a line, and its number above."""
    line = {"type": "rule", "strokeWidth": 2}
    text = {"type": "text", "dy": -12, "fontWeight": "bold"}
    colour = plain("colour")
    return [
        layer(values, line, x=x | {"field": "low"}, x2={"field": "high"}, y=y, color=colour),
        layer(values, MEAN, x=x, y=y, color=colour, tooltip=shown),
        layer(values, text, x=x, y=y, text=plain("words"), color=colour),
    ]


def _mean(variant: Variant, metric: str, comparison: Comparison) -> dict[str, Any]:
    row = estimated(variant.measured[metric], "value")
    colour = ACCENT if variant.name == comparison.reference else INK
    return {"variant": variant.name, **row, "words": f"{row['value']:.2f}", "colour": colour}


def differences(comparison: Comparison, label: str, lower_is_better: bool = False) -> Chart | None:
    """How far each variant lies from the reference, paired by seed; None where no difference is known.

    Args:
        comparison: the variants.
        label: what the comparison is about, in words.
        lower_is_better: whether it is an error, of which less is better.
    """
    known = [each for each in comparison.others if each.difference is not None and each.difference.mean is not None]
    if not known:
        return None
    sides = {**COLOURS, "worse": GOOD, "better": BAD} if lower_is_better else COLOURS
    values = [_difference(variant, sides[side(variant)]) for variant in known]
    ends = [each[end] for each in values for end in ("low", "high")]
    x = number("value", "points", domain=domain([*ends, 0.0]))
    y = _rows(comparison)
    zero = {"type": "rule", "color": ACCENT, "strokeDash": [4, 3]}
    shown = tooltip(variant=comparison.column, value="difference", low="from", high="to", p="p")
    layers = [
        layer([{"value": 0.0}], zero, of_variants=False, x=x),
        *_means(values, x, y, shown),
    ]
    height = ROW * len(values)
    return Chart(
        f"differences-{comparison.metric}".replace("_", "-"),
        f"Difference in {label} to {comparison.reference}, paired by seed, with 95 % intervals: "
        "green is better, orange worse",
        f"Mean difference of {label} to {comparison.reference} in points: "
        + ", ".join(f"{each['variant']} {each['words']}" for each in values)
        + ".",
        drawing(layers, height),
        Table(
            f"Difference of {label} to {comparison.reference} in points; p is Holm-adjusted.",
            (comparison.column, "difference", "from", "to", "p"),
            [
                [
                    Cell(str(variant.name)),
                    *(percent(getattr(variant.difference, name)) for name in ("mean", "low", "high")),
                    written(variant.p_adjusted, ".2g"),
                ]
                for variant in known
            ],
            variants=[variant.name for variant in known],
        ),
        height=height,
    )


def _difference(variant: Variant, colour: str) -> dict[str, Any]:
    difference = variant.difference
    assert difference is not None
    row = estimated(difference, "value")
    p = None if variant.p_adjusted is None else float(f"{variant.p_adjusted:.2g}")
    words = f"{row['value']:+.2f}"
    return {"variant": variant.name, **row, "p": p, "words": words, "colour": colour}


def along(comparison: Comparison, lines: Lines) -> Chart:
    """A line for each variant: how a measurement changes along an axis, with a band for the 95 % interval."""
    values = [
        {"variant": variant.name, "place": place, **estimated(variant.measured[column], "value")}
        for variant in comparison.variants
        for place, column in lines.columns.items()
        if variant.measured[column].mean is not None
    ]
    names = [variant.name for variant in comparison.variants]
    places = list(lines.columns)
    scale: dict[str, Any] = {"type": "log"} if lines.log else {}
    x = number("place", lines.along, domain=[min(places), max(places)], **scale)
    x["axis"] = {"values": places, "grid": False, "format": "~g"}
    ends = [each[end] for each in values for end in ("low", "high")]
    y = number("value", "test accuracy (%)", domain=domain(ends, low=0.0, high=100.0))
    colour = colours("variant", names, symbolOpacity=1)
    shown = tooltip(variant=comparison.column, place=lines.along, value="mean %", low="from", high="to")
    layers = [
        layer(
            values,
            {"type": "area", "opacity": 0.18, "tooltip": False},
            x=x,
            y=y | {"field": "low"},
            y2={"field": "high"},
            color=colour,
        ),
        layer(values, {"type": "line", "strokeWidth": 2, "tooltip": False}, x=x, y=y, color=colour),
        layer(values, MEAN | {"size": 50}, x=x, y=y, color=colour, tooltip=shown),
    ]
    return Chart(
        "along",
        f"Test accuracy by {lines.along}, with 95 % intervals",
        f"A line for each of {', '.join(map(str, names))}.",
        drawing(layers, LINES_HEIGHT),
        Table(
            "Mean test accuracy in percent.",
            (comparison.column, *(f"{place}" for place in lines.columns)),
            [
                [
                    Cell(str(variant.name)),
                    *(percent(variant.measured[column].mean) for column in lines.columns.values()),
                ]
                for variant in comparison.variants
            ],
            variants=names,
        ),
        height=LINES_HEIGHT,
    )
