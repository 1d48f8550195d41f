"""The page of several sweeps: whether the answer depends on what differs between them, and the evidence."""

from typing import Any

from cnn.errors import printable
from cnn.show import study_parts
from cnn.show.across_charts import by_cost, by_depth, decisions
from cnn.show.parts import UNKNOWN, Cell, Definitions, Folded, Page, Section, Table, Text, percent, written
from cnn.study import across_words, tables
from cnn.study.across import TAKEN, Across, Sweep, value_in_words
from cnn.study.answer import Depth
from cnn.study.words import apart

RULE = (
    "Inside a sweep, the smallest depth within the green band is taken: it falls short of the best depth on validation "
    "images by no more than is allowed. Each panel has a scale of its own."
)
SHADE = 0.25  # of what a sweep recommends
REFERENCE = "the sweep's own choice"
USUAL = ("short", "allowed", "difference", "n", "rate", "MACs", "seconds")  # words that mean the same in every study
MEANINGS = {
    "next smaller": "the next smaller depth that was tried; short and allowed beside it say why it was not taken",
    "stands": "how a depth stands beside the sweep's own choice on test images",
    "p": "paired t-test of the difference, adjusted for all depths of its sweep and for all sweeps",
}


def across_page(found: Across, question: str, command: str) -> Page:
    """The page of several sweeps.

    Args:
        found: the sweeps.
        question: what is asked of them.
        command: that makes the page again.
    """
    sections = [
        Section("answers", "The answers side by side", (answers_table(found),)),
        Section("rule", "Why each sweep takes its depth", (Text((RULE,)), decisions(found))),
        Section("accuracy", "Test accuracy by depth", (by_depth(found),)),
        Section("by-cost", "Accuracy and cost", (by_cost(found),)),
        Section("table", "All depths of all sweeps", (depths_table(found),)),
        Section("tests", "Tests and definitions", (Text((across_words.how_tested(found),)), _definitions())),
        _made(found),
    ]
    return Page(
        title=question,
        question=question,
        answer=across_words.claim(found),
        reasons=across_words.reasons(found),
        command=printable(command),
        sections=sections,
        data=across_words.plain(found),
        variants={place: printable(sweep.name) for place, sweep in enumerate(found.sweeps)},
        variants_are="sweeps",
    )


def answers_table(found: Across) -> Table:
    """What each sweep recommends, how good that is, which other depths would do, why none smaller, and its settings."""
    settings = across_words.settings_beside(found)
    heads = ("use", "test %", "from", "to", "n", "not worse", "next smaller", "short", "allowed")
    return Table(
        "Use is the recommended number of blocks, short and allowed are those of the next smaller one. A click on a "
        "head sorts.",
        ("sweep", *heads, *(setting.replace("_", " ") for setting in settings)),
        [
            [
                Cell(printable(sweep.name)),
                *_answer(found, sweep),
                *(_setting(sweep.settings[name]) for name in settings),
            ]
            for sweep in found.sweeps
        ],
        variants=list(range(len(found.sweeps))),
    )


def _answer(found: Across, sweep: Sweep) -> list[Cell]:
    best = sweep.answer.best
    others = ", ".join(map(str, found.not_worse(sweep))) or "none"
    return [
        written(sweep.answer.recommended, "d"),
        *([Cell(UNKNOWN)] * 4 if best is None else _accuracy(best)),
        Cell(UNKNOWN if best is None else others),
        *_next_smaller(sweep.smaller),
    ]


def _accuracy(depth: Depth) -> list[Cell]:
    test = depth.summary.test
    return [percent(test.mean), percent(test.low), percent(test.high), written(depth.summary.n, "d")]


def _next_smaller(depth: Depth | None) -> list[Cell]:
    if depth is None or depth.shortfall is None or depth.allowance is None:
        return [Cell(UNKNOWN)] * 3
    short, allowed = apart(depth.shortfall, depth.allowance)
    return [written(depth.blocks, "d"), Cell(short, 100 * depth.shortfall), Cell(allowed, 100 * depth.allowance)]


def _setting(value: Any) -> Cell:
    text = printable(value_in_words(value))
    return Cell(text, value) if isinstance(value, (int, float)) and not isinstance(value, bool) else Cell(text)


def depths_table(found: Across) -> Table:
    """All depths of all sweeps in numbers; columns that are zero or unknown everywhere are left out."""
    places = [(place, sweep, depth) for place, sweep in enumerate(found.sweeps) for depth in sweep.answer.depths]
    depths = [depth for _, _, depth in places]
    standings = [sweep.standing(depth.blocks, len(found.sweeps)) for _, sweep, depth in places]
    differences = [depth.difference for depth in depths]
    columns = [
        ("sweep", [Cell(printable(sweep.name)) for _, sweep, _ in places]),
        ("blocks", [written(depth.blocks, "d") for depth in depths]),
        ("stands", [Cell(each.side, shade=SHADE if each.side == TAKEN else 0.0) for each in standings]),
        ("test %", [percent(depth.summary.test.mean) for depth in depths]),
        ("from", [percent(depth.summary.test.low) for depth in depths]),
        ("to", [percent(depth.summary.test.high) for depth in depths]),
        ("difference", [percent(None if each is None else each.mean) for each in differences]),
        ("p", [written(standing.p, ".2g") for standing in standings]),
        ("short", [percent(depth.shortfall) for depth in depths]),
        ("allowed", [percent(depth.allowance) for depth in depths]),
        *study_parts.trial_columns([depth.summary for depth in depths]),
    ]
    return Table.of_columns(
        "How each depth stands in its sweep: use is the sweep's own choice. A click on a head sorts.",
        columns,
        always=("sweep", "blocks", "stands", "test %"),
        variants=[place for place, _, _ in places],
    )


def _definitions() -> Folded:
    own = {word: across_words.MEANINGS[word] for word in ("use", "test %", "not worse")}
    usual = {word: tables.MEANINGS[word].format(reference=REFERENCE) for word in USUAL}
    return Folded("What the words mean", (Definitions({**own, **MEANINGS, **usual}),))


def _made(found: Across) -> Section:
    """Where the sweeps are, in which settings they differ, and which they share."""
    sweeps = Table(
        "The folder of each sweep, and the settings that differ.",
        ("sweep", "folder", *(name.replace("_", " ") for name in found.varied)),
        [
            [
                Cell(printable(sweep.name)),
                Cell(printable(str(sweep.folder))),
                *(_setting(sweep.settings[name]) for name in found.varied),
            ]
            for sweep in found.sweeps
        ],
        variants=list(range(len(found.sweeps))),
    )
    common = Table(
        "The settings that all sweeps share.",
        ("setting", "value"),
        [
            [Cell(name.replace("_", " ")), Cell(printable(value_in_words(value)))]
            for name, value in found.common.items()
        ],
    )
    return Section("made", "How the sweeps were made", (sweeps, Folded("Settings that all share", (common,))))
