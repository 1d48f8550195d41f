"""Charts in the grammar of Vega-Lite: what all charts of a page share.

A chart is drawn by the page, as SVG, as wide as its place. Colours are the page's own properties, such as
`var(--accent)`, so that a chart is light or dark as the page is. Each layer has data of its own; a layer whose rows are
of variants keeps only those that the reader shows.

Example:
    >>> values = [{"variant": 1, "accuracy": 98.0}]
    >>> dots = layer(values, "point", x=ordinal("variant", "blocks"), y=number("accuracy", "%"))
    >>> dots["transform"]
    [{'filter': 'indexof(hidden, datum.variant) < 0'}]
    >>> drawing([dots], height=200)["width"]
    'container'
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cnn.show.panels import BEYOND, LEAST
from cnn.study.statistics import Estimate

Spec = dict[str, Any]  # a part of a chart in the grammar of Vega-Lite
Values = Sequence[Mapping[str, Any]]

INK = "var(--ink)"
OTHER = "var(--other)"
ACCENT = "var(--accent)"
GOOD = "var(--good)"
BAD = "var(--bad)"
BAND = "var(--band)"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#c266a0", "#a87400", "#4a9fd8", "#8064a2", "#7f7f7f")  # on light and dark
SHOWN = {"filter": "indexof(hidden, datum.variant) < 0"}  # a value that the page sets
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # names the grammar; nothing is loaded from there
DIGITS = 6  # significant digits of a number in a page


def drawing(layers: Sequence[Spec], height: int) -> Spec:
    """A chart of layers, as wide as its place."""
    size = {"width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"}}
    return {"$schema": SCHEMA, **size, "layer": list(layers)}


def layer(
    values: Values, mark: str | Spec, *, of_variants: bool = True, transform: Values = (), **encoding: Spec | list[Spec]
) -> Spec:
    """A layer of a chart.

    Args:
        values: its rows; numbers are rounded to six significant digits.
        mark: its mark.
        of_variants: whether each row has a `variant`, which the reader may hide.
        transform: what is done with the rows before they are drawn.
        encoding: what each channel shows.
    """
    rows = [{name: _rounded(value) for name, value in row.items()} for row in values]
    steps = [*([SHOWN] if of_variants else []), *transform]
    return {"data": {"values": rows}, **({"transform": steps} if steps else {}), "mark": mark, "encoding": encoding}


def _rounded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) and math.isfinite(value) else value


def number(field: str, title: str, **scale: Any) -> Spec:
    """A channel that shows a number; `scale` has the properties of its scale, such as `type="log"`."""
    zero = {} if scale.get("type") == "log" else {"zero": False}  # a logarithmic axis has no place for 0
    return {"field": field, "type": "quantitative", "title": title or None, "scale": {**zero, "nice": False, **scale}}


def ordinal(field: str, title: str, marked: Any = None, note: str = "") -> Spec:
    """A horizontal channel of variants, in the order of the rows; the marked one's label is bold and has a note."""
    test = f"datum.value === {_literal(marked)}"
    axis: Spec = {"labelAngle": 0, "labelLimit": 140, "grid": False, "labelPadding": 6}
    if marked is not None:
        axis["labelExpr"] = f"{test} ? [datum.label, {_literal(note)}] : datum.label"
        axis["labelFontWeight"] = {"condition": {"test": test, "value": "bold"}, "value": "normal"}
    return {"field": field, "type": "ordinal", "title": title, "sort": None, "axis": axis}


def _literal(value: Any) -> str:
    """A value as a literal of Vega's expressions, which are those of JavaScript."""
    return json.dumps(value)


def legend(names: Sequence[Any]) -> Spec:
    """A legend above a chart: in one row where the names are short, else in as many columns as fit."""
    columns = {} if all(len(str(name)) < 6 for name in names) else {"columns": {"expr": "max(1, floor(width / 190))"}}
    return {"orient": "top", "labelLimit": 180, **columns}


def colours(field: str, names: Sequence[Any], title: str | None = None, **own: Any) -> Spec:
    """A channel with a colour for each name, in order, and a legend; `own` are properties of this legend."""
    scale = {"domain": list(names), "range": [PALETTE[place % len(PALETTE)] for place in range(len(names))]}
    named: Spec = {"field": field, "type": "nominal", "title": title, "sort": None, "scale": scale}
    return {**named, "legend": legend(names) | own}


def plain(field: str) -> Spec:
    """A channel that takes a field as it is: a word, or a colour."""
    return {"field": field, "type": "nominal", "scale": None}


def tooltip(**titles: str) -> list[Spec]:
    """What the mouse shows of a row: each field under its title."""
    return [{"field": field, "title": title, "type": "nominal"} for field, title in titles.items()]


def domain(values: Sequence[float], share: float = 0.08, low: float = -math.inf, high: float = math.inf) -> list[float]:
    """The range of an axis: that of the values and a share of it on each side, within `low` and `high`.

    Example:
        >>> domain([0.0, 1.0], share=0.1, high=1.0)
        [-0.1, 1.0]
    """
    if not values:
        return [0.0, 1.0]
    more = share * (max(values) - min(values)) or 0.5
    return [max(min(values) - more, low), min(max(values) + more, high)]


def near(values: Sequence[float], intervals: Sequence[Mapping[str, Any]]) -> list[float]:
    """Values, and the ends of their intervals unless they reach far beyond all values: those are cut.

    Args:
        values: what must be seen.
        intervals: rows with a `low` and a `high` each.

    Example:
        >>> near([97.0, 98.0], [{"low": 96.9, "high": 98.1}, {"low": 40.0, "high": 98.2}])
        [97.0, 98.0, 96.65, 98.2]
    """
    if not values:
        return []
    low = min(values)
    high = max(values)
    beyond = BEYOND * max(high - low, LEAST)
    lowest = min((each["low"] for each in intervals), default=low)
    highest = max((each["high"] for each in intervals), default=high)
    return [*values, max(lowest, low - beyond), min(highest, high + beyond)]


def estimated(estimate: Estimate, field: str) -> dict[str, Any]:
    """A known mean and its interval as fields of a row, in percent; without an interval, both ends are the mean.

    Example:
        >>> estimated(Estimate(n=2, mean=0.5, low=0.25, high=0.75), "accuracy")
        {'accuracy': 50.0, 'low': 25.0, 'high': 75.0, 'n': 2}
    """
    assert estimate.mean is not None
    mean = 100 * estimate.mean
    low = mean if estimate.low is None else 100 * estimate.low
    high = mean if estimate.high is None else 100 * estimate.high
    return {field: mean, "low": low, "high": high, "n": estimate.n}


def log_ticks(ends: Sequence[float]) -> list[float]:
    """Where a logarithmic axis with these ends has its ticks: at 1, 2 and 5 of each power of ten.

    Example:
        >>> log_ticks([70.0, 600.0])
        [100.0, 200.0, 500.0]
    """
    powers = range(math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[1])) + 1)
    every = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return [tick for tick in every if ends[0] <= tick <= ends[1]]


def log_domain(values: Sequence[float]) -> list[float]:
    """The range of a logarithmic axis, with room for marks and words.

    Example:
        >>> log_domain([1.4, 10.0])
        [1.0, 16.0]
    """
    return [min(values) / 1.4, max(values) * 1.6] if values else [1.0, 10.0]
