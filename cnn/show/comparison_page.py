"""The page of a comparison: what it says of the statement that it is about, and then the evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cnn.show import study_parts
from cnn.show.comparison_charts import Lines, along, by_variant, differences
from cnn.show.parts import Cell, Gallery, Image, Page, Part, Section, Table, percent
from cnn.study.comparison import Comparison, ComparisonAnswer
from cnn.study.finished import Results
from cnn.study.results import Row

WIDE = 900  # pixels of a picture
HEADS = ("difference", "p", "n", "rate", "MACs", "seconds")  # of tables, to be explained


@dataclass(frozen=True)
class Evidence:
    """What the page of a comparison shows beside its numbers.

    Attributes:
        measured: the measurements that have a chart, with their names in words.
        rows: the trials that the comparison was made from.
        lower_is_better: whether the measurements are errors.
        heads: heads of the table's columns, by the measurement's name; by default the name in words.
        marked: what else to mark on the first chart's axis: fractions by their names.
        lines: how a measurement changes along an axis.
        pictures: those of the experiment's pictures that the page shows, each with a heading.
        sections: what the experiment shows beyond that.
    """

    measured: Mapping[str, str]
    rows: Sequence[Row]
    lower_is_better: bool = False
    heads: Mapping[str, str] = field(default_factory=dict)
    marked: Mapping[str, float] = field(default_factory=dict)
    lines: Lines | None = None
    pictures: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence[Section] = ()


def comparison_page(
    question: str,
    claim: str,
    reasons: Sequence[str],
    answer: ComparisonAnswer,
    evidence: Evidence,
    results: Results,
    drawn: Mapping[str, bytes],
    command: str,
) -> Page:
    """The page of a comparison.

    Args:
        question: what the experiment asks.
        claim: the sentence that the page begins with.
        reasons: the sentences after it.
        answer: the comparison, and what `answer.json` keeps.
        evidence: what is shown.
        results: the study.
        drawn: the experiment's pictures as PNG, by name, that of the comparison first.
        command: that makes the page again.
    """
    comparison = answer.comparison
    charts: list[Part | None] = []
    for metric, label in evidence.measured.items():
        own = comparison if metric == comparison.metric else answer.more.get(metric)
        charts.append(by_variant(comparison, evidence.rows, metric, label, evidence.marked if not charts else None))
        if own is not None and own.metric == metric:
            charts.append(differences(own, label, evidence.lower_is_better))
    shown = [chart for chart in charts if chart is not None]
    sections = [Section("evidence", "The evidence", shown)]
    if evidence.lines is not None:
        sections.append(Section("lines", f"By {evidence.lines.along}", (along(comparison, evidence.lines),)))
    sections += evidence.sections
    for name, title in evidence.pictures.items():
        if name in drawn:
            picture = Image(drawn[name], title, sharp=False)
            sections.append(Section(f"picture-{name}", title, (Gallery((picture,), width=WIDE),)))
    table = variants_table(comparison, evidence.heads)
    sections += [Section("table", "All variants", (table,)), study_parts.curves(results)]
    summaries = [variant.summary for variant in comparison.variants]
    sections += study_parts.rates(evidence.rows, summaries, comparison.column)
    sections += [study_parts.words(str(comparison.reference), HEADS), study_parts.made(results.folder.config)]
    return Page(
        title=f"{answer.dataset}: {answer.experiment}",
        question=question,
        answer=claim,
        reasons=reasons,
        command=command,
        picture=Image(next(iter(drawn.values())), claim),
        sections=sections,
        data={"answer": answer.to_json(), "trials": study_parts.trials(evidence.rows, comparison.column)},
        variants={variant.name: str(variant.name) for variant in comparison.variants},
        variants_are="variants",
    )


def variants_table(comparison: Comparison, heads: Mapping[str, str]) -> Table:
    """All variants in numbers; columns that are zero or unknown everywhere are left out.

    Args:
        comparison: the variants.
        heads: heads of columns, by the measurement's name; by default the name in words.
    """
    variants = comparison.variants
    measured = {metric: heads.get(metric, f"{metric.replace('_', ' ')} %") for metric in variants[0].measured}
    columns = [
        (comparison.column.replace("_", " "), [Cell(str(variant.name)) for variant in variants]),
        *(
            (head, [percent(variant.measured[metric].mean) for variant in variants])
            for metric, head in measured.items()
        ),
        *study_parts.trial_columns([variant.summary for variant in variants]),
    ]
    names = [variant.name for variant in variants]
    place = names.index(comparison.reference)
    caption = "The reference stands out. A click on a head sorts."
    return Table.of_columns(caption, columns, always=columns[0][:1], variants=names, marked=place)
