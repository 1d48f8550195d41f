"""The charts of several sweeps side by side: the rule in each of them, accuracies by depth, and accuracies by cost.

Accuracies are in percent, and differences of them in points. A sweep is known by its place among the sweeps: by that
the reader hides it. Axes have the range of all sweeps, whichever are hidden.
"""

from collections.abc import Sequence
from typing import Any

from cnn.errors import printable
from cnn.show.charts import Spec, colours, domain, drawing, estimated, layer, log_domain, number, ordinal, tooltip
from cnn.show.parts import UNKNOWN, Cell, Chart, Choice, Panels, Table, written
from cnn.show.sweep_charts import (
    AXIS,
    HEIGHT,
    MEAN,
    NUDGED,
    RULE_HEADS,
    mean_mark,
    nudge,
    rule_cells,
    rule_drawing,
    rule_in_words,
)
from cnn.study.across import Across, Sweep
from cnn.study.answer import Depth
from cnn.study.results import variant_name
from cnn.study.statistics import Estimate

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
RING = {"type": "point", "size": 260, "strokeWidth": 2, "filled": False, "shape": "circle", "opacity": 1}


def decisions(found: Across) -> Panels:
    """The rule in each sweep: how far each depth falls short of the best one, and what is allowed."""
    return Panels(
        [_decision(place, sweep) for place, sweep in enumerate(found.sweeps)],
        Table(
            "Points below the best depth's mean validation accuracy.",
            ("sweep", "blocks", *RULE_HEADS),
            [
                [Cell(printable(sweep.name)), written(depth.blocks, "d"), *rule_cells(depth)]
                for sweep in found.sweeps
                for depth in sweep.answer.ranked
            ],
            variants=[place for place, sweep in enumerate(found.sweeps) for _ in sweep.answer.ranked],
        ),
    )


def _decision(place: int, sweep: Sweep) -> Chart:
    taken = sweep.answer.recommended
    title = f"{printable(sweep.name)}: {'no trial succeeded' if taken is None else variant_name('blocks', taken)}"
    return Chart(
        f"decision-{place}",
        title,
        f"{title}. {rule_in_words(sweep.answer)}",
        rule_drawing(sweep.answer, of_variants=False),
        variant=place,
        height=HEIGHT,
    )


def by_depth(found: Across) -> Choice:
    """A line for each sweep: test accuracy by depth, or how far each depth lies from the recommended one."""
    differences = [_difference_mark(depth, own) for depth, own in _places(found, with_difference=True)]
    accuracies = [mean_mark(depth, False) | own for depth, own in _places(found)]
    return Choice(
        "by-depth",
        "Show",
        {
            "test accuracy": _by_depth(
                found,
                "accuracy",
                "Test accuracy by depth, with 95 % intervals: rings are the recommended depths",
                number("accuracy", "test accuracy (%)", domain=domain(_ends(accuracies), high=100.0)),
                accuracies,
            ),
            "points above or below the sweep's own choice": _by_depth(
                found,
                "difference",
                "Difference to the sweep's own choice, seed by seed, with 95 % intervals: rings are the choices",
                number("accuracy", "points of test accuracy", domain=domain([*_ends(differences), 0.0])),
                differences,
            ),
        },
    )


def by_cost(found: Across) -> Chart:
    """A line for each sweep: test accuracy against multiply-accumulates; the number at a mark is the depth."""
    marks = [
        mean_mark(depth, False) | own | {"macs": float(depth.summary.macs)}
        for depth, own in _places(found)
        if depth.summary.macs
    ]
    title = "multiply-accumulates of one image forward"
    x = number("macs", title, type="log", domain=log_domain([each["macs"] for each in marks]))
    x["axis"] = {"format": "~s", "tickCount": 5}
    y = number("accuracy", "test accuracy (%)", domain=domain(_ends(marks), high=100.0))
    colour = _colours(found)
    text = {"type": "text", "align": "left", "dx": 9, "dy": -10, "fontWeight": "bold"}
    shown = tooltip(sweep="sweep", blocks="blocks", macs=title, accuracy="mean test %")
    layers = [
        layer(
            marks,
            {"type": "line", "strokeWidth": 1.5, "tooltip": False},
            x=x,
            y=y,
            color=colour,
            order={"field": "blocks"},
        ),
        *_points(found, marks, x, y, shown),
        layer(marks, text, x=x, y=y, color=colour, text={"field": "blocks", "type": "nominal"}),
    ]
    return Chart(
        "cost",
        "Accuracy against cost: the number at a mark is the number of blocks, rings are the recommended depths",
        f"Mean test accuracy against {title}, a line for each of {_names(found)}.",
        drawing(layers, HEIGHT),
        Table(
            f"Test accuracy in percent, and {title}.",
            ("sweep", "blocks", title, "test %"),
            [
                [
                    Cell(each["sweep"]),
                    written(each["blocks"], "d"),
                    written(each["macs"], ",.0f"),
                    Cell(each["words"], each["accuracy"]),
                ]
                for each in marks
            ],
            variants=[each["variant"] for each in marks],
        ),
        height=HEIGHT,
    )


def _places(found: Across, with_difference: bool = False) -> list[tuple[Depth, dict[str, Any]]]:
    """Each depth with a result, and to which sweep it belongs as a row of a layer."""
    return [
        (
            depth,
            {
                "variant": place,
                "sweep": printable(sweep.name),
                "blocks": depth.blocks,
                "taken": depth is sweep.answer.best,
                "nudge": nudge(place, len(found.sweeps)),
            },
        )
        for place, sweep in enumerate(found.sweeps)
        for depth in sweep.answer.depths
        if depth.summary.test.mean is not None
        and (not with_difference or depth is sweep.answer.best or _differs(depth))
    ]


def _differs(depth: Depth) -> bool:
    return depth.difference is not None and depth.difference.mean is not None


def _difference_mark(depth: Depth, place: dict[str, Any]) -> dict[str, Any]:
    """A depth's difference to the recommended one, in points; that of the recommended one is 0."""
    row = estimated(depth.difference or Estimate(depth.summary.n, 0.0), "accuracy")
    return {**place, **row, "words": f"{row['accuracy']:+.2f}"}


def _by_depth(found: Across, name: str, title: str, y: Spec, marks: Sequence[dict[str, Any]]) -> Chart:
    x = ordinal("blocks", AXIS) | {"scale": {"domain": list(found.depths)}}
    colour = _colours(found)
    line = {"type": "line", "strokeWidth": 1.5, "tooltip": False, **NUDGED}
    bar = {"type": "rule", "strokeWidth": 2, **NUDGED}
    shown = tooltip(sweep="sweep", blocks="blocks", accuracy=y["title"], low="from", high="to", n="seeds")
    layers = [
        layer(marks, line, x=x, y=y, color=colour),
        layer(marks, bar, x=x, y=y | {"field": "low"}, y2={"field": "high"}, color=colour),
        *_points(found, marks, x, y, shown, NUDGED),
    ]
    known = {(each["variant"], each["blocks"]): Cell(each["words"], round(each["accuracy"], 6)) for each in marks}
    return Chart(
        f"by-depth-{name}",
        title,
        f"{y['title'].capitalize()} by depth, a line for each of {_names(found)}.",
        drawing(layers, HEIGHT),
        Table(
            f"Mean {y['title']}." if name == "accuracy" else "Mean difference to the sweep's own choice in points.",
            ("sweep", *(variant_name("blocks", blocks) for blocks in found.depths)),
            [
                [
                    Cell(printable(sweep.name)),
                    *(known.get((place, blocks), Cell(UNKNOWN)) for blocks in found.depths),
                ]
                for place, sweep in enumerate(found.sweeps)
            ],
            variants=list(range(len(found.sweeps))),
        ),
        height=HEIGHT,
    )


def _points(
    found: Across, marks: Sequence[dict[str, Any]], x: Spec, y: Spec, shown: list[Spec], placed: Spec | None = None
) -> list[Spec]:
    """A mark for each depth, and a ring around each recommended one."""
    colour = _colours(found)
    names = [printable(sweep.name) for sweep in found.sweeps]
    shapes = [SHAPES[place % len(SHAPES)] for place in range(len(names))]
    shape = {**colour, "scale": {"domain": names, "range": shapes}}
    taken = [each for each in marks if each["taken"]]
    return [
        layer(marks, {**MEAN, "size": 70, **(placed or {})}, x=x, y=y, color=colour, shape=shape, tooltip=shown),
        layer(taken, {**RING, **(placed or {})}, x=x, y=y, color=colour),
    ]


def _colours(found: Across) -> Spec:
    """A colour for each sweep, which is the same in every chart whatever is hidden."""
    names = [printable(sweep.name) for sweep in found.sweeps]
    columns = {"expr": "width < 500 ? 1 : 3"}
    return colours("sweep", names, columns=columns, labelLimit=220, symbolOpacity=1)


def _names(found: Across) -> str:
    return ", ".join(printable(sweep.name) for sweep in found.sweeps)


def _ends(marks: Sequence[dict[str, Any]]) -> list[float]:
    return [each[end] for each in marks for end in ("low", "high")]
