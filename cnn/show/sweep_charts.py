"""The charts of a sweep over depths: the rule, accuracies and costs.

Accuracies are in percent, and differences of them in points.

Example:
    >>> from cnn.study.answer import answer
    >>> from cnn.training.folder import Result
    >>> accuracies = {1: [0.96, 0.97], 2: [0.98, 0.98]}
    >>> rows = [Row("compare", blocks, 1e-3, seed, Result("done", val_accuracy=value, test_accuracy=value))
    ...         for blocks, values in accuracies.items() for seed, value in enumerate(values)]
    >>> found = answer(rows, dataset="mnist", match="width", margin=0.05)
    >>> [cell.text for cell in decision(found, rows).table.rows[0]]
    ['1', '1.50', '0.50', 'no', '2']
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn.show.charts import (
    ACCENT,
    BAD,
    BAND,
    GOOD,
    INK,
    OTHER,
    Spec,
    Values,
    domain,
    drawing,
    estimated,
    layer,
    log_domain,
    log_ticks,
    near,
    number,
    ordinal,
    plain,
    tooltip,
)
from cnn.show.parts import UNKNOWN, Cell, Chart, Choice, Table, percent, written
from cnn.study.answer import Answer, Depth
from cnn.study.results import ACCURACY, Row, by_seed, compared, variant_name
from cnn.study.words import decided_in_points

HEIGHT = 260
SPREAD = 22.0  # pixels between the first and the last of several marks of a depth
NARROW = 36  # pixels of a depth where numbers are smaller
AXIS = "CONV-RELU-POOL blocks"
DOT = {"type": "point", "filled": True, "size": 34, "opacity": 0.55}
MEAN = {"type": "point", "filled": True, "size": 90, "opacity": 1}
NUDGED = {"xOffset": {"expr": "datum.nudge"}}  # of a mark whose rows have a `nudge`
RULE_HEADS = ("short", "allowed", "good enough", "seeds")


def decision(answer: Answer, rows: Sequence[Row]) -> Chart:
    """The rule, drawn: how far each depth falls short of the best one on validation images, and what is allowed."""
    depths = answer.ranked
    names = [depth.blocks for depth in depths]
    best = answer.most_accurate
    accuracy = by_seed(compared(rows), "val_accuracy", names)
    short = 100 * (accuracy[names.index(best.blocks)] - accuracy) if best else accuracy
    seeds = [
        {"variant": name, "short": float(value), "seed": seed, "nudge": nudge(seed, short.shape[1])}
        for name, own in zip(names, short, strict=True)
        for seed, value in enumerate(own)
        if not np.isnan(value)
    ]
    return Chart(
        "decision",
        "Within the green band a depth is good enough; the smallest such depth is taken",
        rule_in_words(answer),
        rule_drawing(answer, seeds),
        Table(
            "Points below the best depth's mean validation accuracy. Dots are seeds, diamonds means.",
            ("blocks", *RULE_HEADS),
            [[written(depth.blocks, "d"), *rule_cells(depth)] for depth in depths],
            variants=names,
            marked=names.index(answer.recommended) if answer.recommended in names else None,
        ),
        height=HEIGHT,
    )


def rule_drawing(answer: Answer, seeds: Values = (), of_variants: bool = True) -> Spec:
    """What the rule compares: a green band up to what is allowed, and a diamond where the depth's mean lies.

    Args:
        answer: the answer.
        seeds: what a dot is drawn for: the `short` of a `seed` of a `variant`, in points, and its `nudge`.
        of_variants: whether the reader may hide depths.
    """
    depths = answer.ranked
    best = answer.most_accurate
    means = [_decided(depth, [each["short"] for each in seeds if each["variant"] == depth.blocks]) for depth in depths]
    of = f"the best mean ({best.blocks})" if best else "the best mean"
    x = ordinal("variant", AXIS, answer.recommended, "use this")
    ends = [0.0, *(each["short"] for each in (*seeds, *means)), *(each["allowed"] for each in means)]
    y = number("short", f"validation points below {of}", domain=domain(ends))
    allowed = y | {"field": "allowed"}
    band = {"type": "bar", "color": BAND, "width": {"band": 0.8}}
    tick = {"type": "tick", "color": GOOD, "thickness": 2, "width": {"band": 0.8}}
    diamond = MEAN | {"shape": "diamond", "size": 160}
    size = {"expr": f"width < {NARROW * len(means)} ? 9.5 : 12"}  # so that the numbers of neighbours do not touch
    text = {"type": "text", "dy": -14, "fontWeight": "bold", "fontSize": size}
    dots = tooltip(variant="blocks", short="points")
    shown = tooltip(variant="blocks", short="points short", allowed="points allowed")
    colour = plain("colour")
    layers = [
        layer(means, band, of_variants=of_variants, x=x, y=allowed, y2={"datum": 0}),
        layer(means, tick, of_variants=of_variants, x=x, y=allowed),
        layer(seeds, DOT | {"color": OTHER, **NUDGED}, of_variants=of_variants, x=x, y=y, tooltip=dots),
        layer(means, diamond, of_variants=of_variants, x=x, y=y, color=colour, tooltip=shown),
        layer(means, text, of_variants=of_variants, x=x, y=y | {"field": "top"}, text=plain("words"), color=colour),
    ]
    return drawing(layers, HEIGHT)


def rule_in_words(answer: Answer) -> str:
    """What the drawing of the rule shows, for those who do not see it."""
    reached = ", ".join(str(depth.blocks) for depth in answer.ranked if depth.good_enough) or "none"
    return (
        f"How many points each depth falls short of the best depth on validation images. Good enough: {reached}. "
        f"Taken: {UNKNOWN if answer.recommended is None else answer.recommended}."
    )


def rule_cells(depth: Depth) -> list[Cell]:
    """A ranked depth's numbers in the rule, as cells below `RULE_HEADS`."""
    own = _decided(depth, ())
    reached = Cell("yes" if depth.good_enough else "no")
    seeds = written(depth.summary.n, "d")
    return [Cell(own["words"], own["short"]), Cell(own["allowed_words"], own["allowed"]), reached, seeds]


def nudge(place: int, count: int) -> float:
    """How many pixels one of so many marks of a depth stands from its middle: the same at every depth."""
    return SPREAD * (place / (count - 1) - 0.5) if count > 1 else 0.0


def _decided(depth: Depth, seeds: Sequence[float]) -> dict[str, Any]:
    assert depth.shortfall is not None and depth.allowance is not None
    short, allowed = decided_in_points(depth)
    return {
        "variant": depth.blocks,
        "short": 100 * depth.shortfall,
        "allowed": 100 * depth.allowance,
        "colour": GOOD if depth.good_enough else BAD,
        "words": short,
        "allowed_words": allowed,
        "top": max([100 * depth.shortfall, *seeds]),  # no word lies on a mark
    }


def accuracy_by_depth(answer: Answer, rows: Sequence[Row]) -> Chart:
    """Test accuracy: a dot for each seed, the same seed joined across depths, and the mean with its interval."""
    done = [row for row in compared(rows) if row.done and not np.isnan(row.value(ACCURACY))]
    seeds = [
        {"variant": row.variant, "accuracy": 100 * row.value(ACCURACY), "seed": row.seed}
        for row in sorted(done, key=lambda row: row.variant)
    ]
    means = [mean_mark(depth, depth is answer.best) for depth in answer.depths if depth.summary.test.mean is not None]
    limits = domain(near([each["accuracy"] for each in (*seeds, *means)], means), high=100.0)
    means = [each | {"top": min(each["high"], limits[1])} for each in means]
    x = ordinal("variant", AXIS, answer.recommended, "use this")
    y = number("accuracy", "test accuracy (%)", domain=limits)
    nudged = {"xOffset": 12}
    bar = {"type": "rule", "strokeWidth": 2, "clip": True, **nudged}
    layers = [
        layer(
            seeds,
            {"type": "line", "strokeWidth": 1, "opacity": 0.45, "color": OTHER, "tooltip": False},
            x=x,
            y=y,
            detail={"field": "seed"},
        ),
        layer(
            seeds, DOT | {"color": OTHER}, x=x, y=y, tooltip=tooltip(variant="blocks", seed="seed", accuracy="test %")
        ),
        layer(means, bar, x=x, y=y | {"field": "low"}, y2={"field": "high"}, color=plain("colour")),
        layer(
            means,
            MEAN | nudged,
            x=x,
            y=y,
            color=plain("colour"),
            tooltip=tooltip(variant="blocks", accuracy="mean test %", low="from", high="to", n="seeds"),
        ),
        layer(
            means,
            {"type": "text", "dy": -8, "fontWeight": "bold", **nudged},
            x=x,
            y=y | {"field": "top"},
            text=plain("words"),
            color=plain("colour"),
        ),
    ]
    return Chart(
        "accuracy",
        "Test accuracy by depth: each seed is joined across depths, means have 95 % intervals",
        "Mean test accuracy: "
        + ", ".join(f"{variant_name('blocks', each['variant'])} {each['words']} %" for each in means)
        + ".",
        drawing(layers, HEIGHT),
        _accuracy_table(answer, done),
        height=HEIGHT,
    )


def mean_mark(depth: Depth, chosen: bool) -> dict[str, Any]:
    """A depth's mean test accuracy with its interval, in percent, as a row of a layer; the mean must be known."""
    row = estimated(depth.summary.test, "accuracy")
    words = f"{row['accuracy']:.2f}"
    return {"variant": depth.blocks, **row, "words": words, "colour": ACCENT if chosen else INK}


def _accuracy_table(answer: Answer, done: Sequence[Row]) -> Table:
    seeds = sorted({row.seed for row in done})
    names = [depth.blocks for depth in answer.depths]
    values = by_seed(done, ACCURACY, names)
    heads = ("blocks", "mean", "from", "to", *(f"seed {seed}" for seed in seeds))
    rows = [
        [
            written(depth.blocks, "d"),
            percent(depth.summary.test.mean),
            percent(depth.summary.test.low),
            percent(depth.summary.test.high),
            *(percent(None if np.isnan(value) else float(value)) for value in own),
        ]
        for depth, own in zip(answer.depths, values, strict=True)
    ]
    caption = "Test accuracy in percent. The chart cuts an interval that reaches far beyond all seeds."
    return Table(caption, heads, rows, variants=names)


def accuracy_by_cost(answer: Answer) -> Choice:
    """Test accuracy against what it costs; depths that no other depth beats in both are joined."""
    costs = {
        "multiply-accumulates": ("macs", "multiply-accumulates of one image forward"),
        "parameters": ("parameters", "parameters"),
        "seconds": ("train_seconds", "training time of one network (seconds)"),
    }
    charts = {word: _by_cost(answer, name, title) for word, (name, title) in costs.items()}
    return Choice("cost", "Cost as", charts)


def _by_cost(answer: Answer, name: str, title: str) -> Chart:
    known = [depth for depth in answer.depths if getattr(depth.summary, name) and depth.summary.test.mean is not None]
    points = [mean_mark(depth, depth is answer.best) | {"cost": float(getattr(depth.summary, name))} for depth in known]
    front = pareto(points)
    ends = near([each["accuracy"] for each in points], points)
    costs = log_domain([each["cost"] for each in points])
    x = number("cost", title, type="log", domain=costs)
    x["axis"] = {"format": "~s", "values": log_ticks(costs), "labelOverlap": True}
    y = number("accuracy", "test accuracy (%)", domain=domain(ends, high=100.0))
    ring = {"type": "point", "size": 260, "strokeWidth": 1.5, "color": GOOD, "filled": False}
    layers = [
        layer(front, {"type": "line", "color": GOOD, "strokeDash": [4, 3], "tooltip": False}, x=x, y=y),
        layer(
            points,
            {"type": "rule", "strokeWidth": 2, "clip": True},
            x=x,
            y=y | {"field": "low"},
            y2={"field": "high"},
            color=plain("colour"),
        ),
        layer(front, ring, x=x, y=y),
        layer(
            points,
            MEAN,
            x=x,
            y=y,
            color=plain("colour"),
            tooltip=tooltip(variant="blocks", cost=title, accuracy="mean test %"),
        ),
        layer(
            points,
            {"type": "text", "align": "left", "dx": 12, "dy": -10, "fontWeight": "bold"},
            x=x,
            y=y,
            text={"field": "variant", "type": "nominal"},
            color=plain("colour"),
        ),
    ]
    on_front = [str(each["variant"]) for each in front]
    return Chart(
        f"cost-{name}",
        "Accuracy against cost: the ringed depths are on the Pareto front, beaten by no depth in both",
        f"Mean test accuracy against {title}. On the Pareto front: {', '.join(on_front) or 'none'} blocks.",
        drawing(layers, HEIGHT),
        Table(
            f"Test accuracy in percent, and {title}. The number at a mark is the number of blocks.",
            ("blocks", title, "test %", "on the front"),
            [
                [
                    written(each["variant"], "d"),
                    Cell(f"{each['cost']:,.4g}" if each["cost"] < 1000 else f"{each['cost']:,.0f}", each["cost"]),
                    Cell(each["words"], each["accuracy"]),
                    Cell("yes" if each in front else "no"),
                ]
                for each in points
            ],
            variants=[each["variant"] for each in points],
        ),
        height=HEIGHT,
    )


def pareto(points: Values) -> Values:
    """The points that no other point beats: none has both a lower or equal cost and a higher accuracy.

    Example:
        >>> points = [{"cost": 1, "accuracy": 90}, {"cost": 2, "accuracy": 80}, {"cost": 3, "accuracy": 95}]
        >>> [point["cost"] for point in pareto(points)]
        [1, 3]
    """
    ordered = sorted(points, key=lambda point: (point["cost"], -point["accuracy"]))
    return [
        point
        for place, point in enumerate(ordered)
        if all(other["accuracy"] < point["accuracy"] for other in ordered[:place])
    ]
