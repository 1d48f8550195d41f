"""The parts that the page of every study has: how its networks learned, what they confuse, and how it was made."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn import files
from cnn.data.content import Dataset
from cnn.show.learning import curves_of, learning_curves, rates_chart
from cnn.show.network_parts import confusion, first_filters, layers_table, mistakes
from cnn.show.parts import UNKNOWN, Cell, Definitions, Folded, Live, Part, Section, Table, Text, written
from cnn.show.try_it import try_it
from cnn.study.finished import Results
from cnn.study.results import Row, Summary, variant_name
from cnn.study.tables import MEANINGS
from cnn.study.tables import UNKNOWN as NO_NUMBER
from cnn.trained.network import Trained
from cnn.training.answers import Predictions
from cnn.training.folder import PROVENANCE


def curves(results: Results) -> Section:
    """Learning curves of the trials that compare, a panel for each variant."""
    column = results.plan.study.column
    panels = [
        curves_of(_titled(column, variant), variant, results.epochs(variant)) for variant in results.plan.study.variants
    ]
    words = Text(("Thin lines are seeds, the thick line is their mean.",))
    return Section("learning", "How the networks learned", (words, learning_curves(panels)))


def rates(rows: Sequence[Row], summaries: Sequence[Summary], column: str) -> list[Section]:
    """How the learning rates were chosen; empty where one rate was given.

    Args:
        rows: the trials.
        summaries: of each variant, in order.
        column: what the variants are values of.
    """
    tuned = [row for row in rows if row.phase == "tune"]
    chart = rates_chart(tuned, summaries, column) if tuned else None
    return [Section("learning-rate", "The learning rate", (chart,))] if chart else []


def _titled(column: str, variant: Any) -> str:
    return variant_name(column, variant) if column == "blocks" else str(variant)


def network(results: Results, variant: Any) -> list[Section]:
    """A variant's network: its layers, and what it has learned.

    Args:
        results: the study.
        variant: which of its networks.
    """
    study = results.plan.study
    name = variant_name(study.column, variant)
    prepared = results.plan.prepared[variant]
    layers = Section("network", f"The network with {name}", layers_table(prepared.network, prepared.task.image_shape))
    return [layers, *learnt(study.dataset, results.predictions(variant), results.trained(variant))]


def learnt(dataset: Dataset, predictions: Sequence[Predictions], trained: Trained | None) -> list[Section]:
    """What a network has learned: the network itself, its first filters, its mistakes, what it takes for what.

    Args:
        dataset: the images.
        predictions: of each seed for the test images; none where objects are located.
        trained: the network, where one was kept.
    """
    wrong: Part | None = mistakes(dataset, predictions) if predictions else None
    if predictions and all((each.classes == dataset.test_labels).all() for each in predictions):
        wrong = Text(("It made no mistake on the test images.",))
    matrix = confusion(dataset, predictions) if predictions else None
    shown = first_filters(trained) if trained else None
    live: Part | None = Live(try_it(trained, dataset)) if trained and not trained.config.scene.objects else None
    if trained is None and predictions:
        live = Text(("No trained network was kept, so none can run here. With --keep=first or --keep=all one is.",))
    colours = "colours around grey" if dataset.image_shape[2] == 3 else "a filter is blue below 0 and vermilion above"
    parts: list[tuple[str, str, Part | None]] = [
        ("try-it", "Try it", live),
        ("filters", f"What its first layer looks for: {colours}", shown),
        ("mistakes", "Its worst mistakes on test images", wrong),
        ("confusion", "What it takes for what", matrix),
    ]
    return [Section(anchor, title, (part,)) for anchor, title, part in parts if part is not None]


def trials(rows: Sequence[Row], column: str) -> list[dict[str, Any]]:
    """A row for each trial, as plain values for the download."""
    return [
        {"phase": row.phase, column: row.variant, "learning_rate": row.learning_rate, "seed": row.seed}
        | row.result.to_json()
        for row in rows
    ]


def trial_columns(summaries: Sequence[Summary]) -> list[tuple[str, list[Cell]]]:
    """What the table of every study has: how many trials ended how, at which learning rate, and their cost."""
    counts = ("n", "diverged", "collapsed", "failed")
    return [
        *((name, [written(getattr(summary, name), "d") for summary in summaries]) for name in counts),
        ("rate", [written(summary.learning_rate, "g") for summary in summaries]),
        ("parameters", [written(summary.parameters, ",d") for summary in summaries]),
        ("MACs", [written(summary.macs, ",d") for summary in summaries]),
        ("seconds", [written(summary.train_seconds, ".1f") for summary in summaries]),
    ]


def words(reference: str, heads: Sequence[str], more: Sequence[Part] = ()) -> Section:
    """What the heads of the tables mean, and further parts about the tests.

    Args:
        reference: what the tests compare with, in words.
        heads: those of the page's tables that need words.
        more: parts about the tests.
    """
    meanings = {head: MEANINGS[head].format(reference=reference) for head in heads}
    meanings |= {"from, to": MEANINGS["[a, b]"], UNKNOWN: MEANINGS[NO_NUMBER]}
    return Section("tests", "Tests and definitions", (*more, Folded("What the words mean", (Definitions(meanings),))))


def made(config: Path) -> Section:
    """How the numbers were made: versions, machine, data and settings, as a `config.json` has them."""
    kept = files.read_json(config) or {}
    provenance: Any = kept.pop(PROVENANCE, {})
    kept.pop("variants", None)
    machine = Table("The machine and the versions.", ("what", "value"), _lines(provenance))
    settings = Table("The settings.", ("setting", "value"), _lines(kept))
    return Section("made", "How this was made", (machine, Folded("All settings", (settings,))))


def _lines(values: Mapping[str, Any], prefix: str = "") -> list[list[Cell]]:
    """Plain values as rows, those inside others under both names."""
    rows: list[list[Cell]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _lines(value, f"{prefix}{name} ")
        elif value not in (None, [], ""):
            text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            rows.append([Cell(f"{prefix}{name}".replace("_", " ")), Cell(text)])
    return rows
