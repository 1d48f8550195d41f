"""The page of a sweep: how many blocks to use, why, and everything that the answer rests on."""

from collections.abc import Mapping, Sequence

from cnn.show import study_parts
from cnn.show.parts import Cell, Image, Page, Part, Section, Table, Text, percent, written
from cnn.show.sweep_charts import accuracy_by_cost, accuracy_by_depth, decision
from cnn.study import words
from cnn.study.answer import Answer, Depth
from cnn.study.finished import Results
from cnn.study.results import Row, variant_name

HEADS = ("val %", "short", "allowed", "difference", "p", "picks", "n", "rate", "MACs", "seconds")  # to be explained


def sweep_page(
    answer: Answer,
    results: Results,
    cautions: Sequence[str],
    question: str,
    command: str,
    drawn: Mapping[str, bytes],
) -> Page:
    """The page of a sweep.

    Args:
        answer: the answer.
        results: the trials that it was made from.
        cautions: sentences that a reader must know beside the answer.
        question: what the sweep asks.
        command: that makes the page again.
        drawn: the picture of the answer as PNG, by its name.
    """
    first, *reasons = words.answer_sentences(answer)
    sections = [] if answer.best is None else _evidence(answer, results.rows)
    sections += [Section("table", "All depths", (depths_table(answer),)), study_parts.curves(results)]
    sections += study_parts.rates(results.rows, [depth.summary for depth in answer.depths], "blocks")
    if answer.recommended is not None:
        sections += study_parts.network(results, answer.recommended)
    sections.append(study_parts.words("the recommended depth", HEADS, _tests(answer)))
    sections.append(study_parts.made(results.folder.config))
    return Page(
        title=f"{answer.dataset}: how many blocks?",
        question=question,
        answer=first,
        reasons=(*reasons, *cautions),
        command=command,
        picture=Image(next(iter(drawn.values())), first),
        sections=sections,
        data={"answer": answer.to_json(), "trials": study_parts.trials(results.rows, "blocks")},
        variants={depth.blocks: variant_name("blocks", depth.blocks) for depth in answer.depths},
        variants_are="depths",
    )


def _evidence(answer: Answer, rows: Sequence[Row]) -> list[Section]:
    rule = f"The rule takes {answer.rule}."
    return [
        Section("decision", "Why this depth", (Text((rule,)), decision(answer, rows))),
        Section("by-depth", "Test accuracy by depth", (accuracy_by_depth(answer, rows),)),
        Section("by-cost", "Accuracy and cost", (accuracy_by_cost(answer),)),
    ]


def depths_table(answer: Answer) -> Table:
    """All depths in numbers; columns that are zero or unknown everywhere are left out."""
    columns = [
        ("blocks", [written(depth.blocks, "d") for depth in answer.depths]),
        ("test %", [percent(depth.summary.test.mean) for depth in answer.depths]),
        ("from", [percent(depth.summary.test.low) for depth in answer.depths]),
        ("to", [percent(depth.summary.test.high) for depth in answer.depths]),
        ("val %", [percent(depth.summary.val.mean) for depth in answer.depths]),
        *study_parts.trial_columns([depth.summary for depth in answer.depths]),
        ("picks", [percent(depth.pick_share, 0) for depth in answer.depths]),
    ]
    names = [depth.blocks for depth in answer.depths]
    return Table.of_columns(
        f"{'' if answer.best is None else 'The recommended depth stands out. '}A click on a head sorts.",
        columns,
        always=("blocks", "test %"),
        variants=names,
        marked=names.index(answer.recommended) if answer.recommended in names else None,
    )


def _tests(answer: Answer) -> list[Part]:
    """The tests on test images of each other depth against the recommended one."""
    others = [depth for depth in answer.depths if depth.difference is not None]
    if not others:
        return []
    text = (
        "Each other depth against the recommended one on test images, paired by seed. The tests describe; they never "
        "choose. p is Holm-adjusted; below 0.05 the two are told apart."
    )
    heads = ("blocks", "difference", "from", "to", "p", "mostly missed below")
    table = Table(
        "Differences of mean test accuracy in points.",
        heads,
        [_test(depth) for depth in others],
        variants=[depth.blocks for depth in others],
    )
    return [Text((text,)), table]


def _test(depth: Depth) -> list[Cell]:
    difference = depth.difference
    assert difference is not None
    return [
        written(depth.blocks, "d"),
        percent(difference.mean),
        percent(difference.low),
        percent(difference.high),
        written(depth.p_adjusted, ".2g"),
        percent(depth.detectable),
    ]
