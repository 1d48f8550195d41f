"""Several sweeps in words: a line for each sweep, a line for each depth, and whether the answer depends on the data."""

import itertools
import textwrap
from collections.abc import Sequence
from typing import Any

from cnn.errors import printable
from cnn.study.across import (
    BETTER,
    RULED_OUT,
    TAKEN,
    UNFIT,
    UNKNOWN,
    WORSE,
    Across,
    Standing,
    Sweep,
    value_in_words,
)
from cnn.study.results import variant_name
from cnn.study.swept import FINGERPRINT
from cnn.study.tables import WIDTH, Column, render
from cnn.study.words import apart, direction, joined, listed, percent, points

SHOWN = ("dataset", "model", "match", "width", "epochs", "blocks", "seeds", "margin")  # of what all have in common
ELSEWHERE = ("dataset", FINGERPRINT, "blocks", "seeds")  # settings that the tables show in other columns
MEANINGS = {
    "use": "the number of blocks that the sweep recommends; validation images alone choose it.",
    "test %": "mean test accuracy; [a, b]: its 95 % interval over n seeds (Student's t).",
    "not worse": "the other depths that the sweep does not find worse on test images than its own choice.",
    "next smaller": "the depth below, and why not that one: by so many points it fell short of the best depth on "
    "validation images > so many were allowed.",
    "For each depth": "mean test accuracy in percent, and in brackets the difference to the sweep's own choice in "
    "points, paired by seed.",
}
TESTS = (
    "Worse or better is what a paired t-test finds, adjusted for all depths of its sweep (Holm) and for the {count} "
    "sweeps (Bonferroni), so a sweep's own report may tell apart what is not told apart here. No test compares the "
    "accuracies of two sweeps."
)


def tables(found: Across) -> str:
    """A line for each sweep, then a line for each depth, in Markdown, at most 100 characters wide.

    Args:
        found: the sweeps.
    """
    return f"{_by_sweep(found)}\n\n{_by_depth(found)}"


def _by_sweep(found: Across) -> str:
    sweeps = found.sweeps
    tests = [None if sweep.answer.best is None else sweep.answer.best.summary.test for sweep in sweeps]
    return render(
        [
            Column("sweep", [_cell(sweep.name) for sweep in sweeps]),
            *(
                Column(name, [_cell(value_in_words(sweep.settings[name])) for sweep in sweeps], kept=True)
                for name in settings_beside(found)
            ),
            Column("use", [_number(sweep.answer.recommended) for sweep in sweeps], right=True, kept=True),
            Column("test %", [None if test is None else percent(test.mean, test.low, test.high) for test in tests]),
            Column("n", [None if test is None else str(test.n) for test in tests], right=True, kept=True),
            Column("not worse", [_not_worse(found, sweep) for sweep in sweeps], kept=True),
            Column("next smaller", [_next_smaller(sweep) for sweep in sweeps]),
        ]
    )


def settings_beside(found: Across) -> list[str]:
    """The settings that differ, but for those that the names of the sweeps or other columns of a table say already."""
    told = [name for name in found.varied if all(f"{name}=" in sweep.name for sweep in found.sweeps)]
    return [name for name in found.varied if name not in (*ELSEWHERE, *told)]


def _by_depth(found: Across) -> str:
    columns = [Column("blocks", [str(blocks) for blocks in found.depths])]
    for place, sweep in enumerate(found.sweeps):
        cells = [_standing(found.standings(blocks)[place]) for blocks in found.depths]
        columns.append(Column(_cell(sweep.name), cells, kept=True))
    return render(columns)


def _standing(standing: Standing) -> str | None:
    """A depth's cell: its accuracy, and how it stands beside the recommended one."""
    if standing.depth is None:
        return UNFIT if standing.side == UNFIT else None
    mean = percent(standing.depth.summary.test.mean)
    if standing.side == TAKEN:
        return f"{mean} {TAKEN}"
    difference = standing.depth.difference
    if mean is None or difference is None or difference.mean is None:
        return mean
    said = f"{mean} ({points(difference.mean):+.2f})"
    return f"{said} {standing.side}" if standing.side in (WORSE, BETTER) else said


def _not_worse(found: Across, sweep: Sweep) -> str | None:
    if sweep.answer.recommended is None:
        return None
    return ", ".join(map(str, found.not_worse(sweep))) or "none"


def _next_smaller(sweep: Sweep) -> str | None:
    smaller = sweep.smaller
    if smaller is None or smaller.shortfall is None or smaller.allowance is None:
        return None
    short, allowed = apart(smaller.shortfall, smaller.allowance)
    return f"{smaller.blocks}: {short} > {allowed}"


def explained(found: Across) -> str:
    """What the tables mean, where the sweeps are, and what they have in common."""
    lines = [f"{word}: {meaning}" for word, meaning in MEANINGS.items()]
    lines[-1] = f"{lines[-1]} {how_tested(found)}"
    common = [f"{name}={value_in_words(found.common[name])}" for name in SHOWN if name in found.common]
    lines.append(f"Equal in all: {printable(', '.join(common)) or 'nothing'}.")
    wrapped = [textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines]
    folders = [f"{printable(sweep.name)}: {printable(str(sweep.folder))}" for sweep in found.sweeps]
    return "\n".join([*wrapped, *folders])


def how_tested(found: Across) -> str:
    """Which tests say that a depth is worse or better, and for what they are adjusted."""
    return TESTS.format(count=len(found.sweeps))


def sentence(found: Across) -> str:
    """Whether one number of blocks does for all sweeps, as far as the numbers support it: the claim, and why."""
    return " ".join([claim(found), *reasons(found)])


def claim(found: Across) -> str:
    """Whether the sweeps show that the answer depends on what differs between them, and which ones are left out."""
    return " ".join(filter(None, [_none(found), _verdict(found)[0]]))


def reasons(found: Across) -> list[str]:
    """The sentences after the claim: what it rests on, and what to beware of."""
    return [*_verdict(found)[1:], *filter(None, [_confounded(found)])]


def plain(found: Across) -> dict[str, Any]:
    """The sweeps as plain values, with the sentence about them."""
    return {**found.to_json(), "sentence": sentence(found)}


def _none(found: Across) -> str:
    """Which sweeps recommend nothing."""
    without = [printable(sweep.name) for sweep in found.sweeps if sweep.answer.recommended is None]
    return f"Without a recommendation, since no trial succeeded: {joined(without)}." if without else ""


def _verdict(found: Across) -> list[str]:
    """What the sweeps show, in a sentence, and further ones about it."""
    recommending = [sweep for sweep in found.sweeps if sweep.answer.recommended is not None]
    if len(recommending) < 2:
        return ["There are no two recommendations to compare."]
    if len(found.recommended) == 1:
        (blocks,) = found.recommended
        other = "other " if len(recommending) < len(found.sweeps) else ""
        return [
            f"Every {other}sweep recommends {variant_name('blocks', blocks)}, so these sweeps do not show that the "
            f"answer depends on {_differ_in(found)}.",
            "A difference that is too small for their seeds would not be seen.",
        ]
    each = "; ".join(f"{printable(sweep.name)}: {sweep.answer.recommended}" for sweep in recommending)
    if found.depends:
        why = _why_not(found, found.recommended)
        rest = set(found.depths) - set(found.recommended)
        return [
            f"The answer depends on {_differ_in(found)}: the recommended numbers of blocks differ ({each}), and none "
            "does for all sweeps.",
            f"On test images, {why}.",
            *(["Every other depth is ruled out by a sweep too."] if rest else []),
        ]
    out = [blocks for blocks in found.recommended if blocks not in found.left]
    return [
        f"The recommended numbers of blocks differ ({each}), but these sweeps do not show that the answer depends on "
        f"{_differ_in(found)}: {_left(found)}.",
        *([f"Yet not every recommended number is enough in every sweep: {_why_not(found, out)}."] if out else []),
    ]


def _why_not(found: Across, depths: Sequence[int]) -> str:
    return "; ".join(_ruled_out(found, blocks) for blocks in depths)


def _ruled_out(found: Across, blocks: int) -> str:
    """Which sweep rules a depth out, the surest one, and by how much."""
    standings = [
        (standing, sweep)
        for standing, sweep in zip(found.standings(blocks), found.sweeps, strict=True)
        if standing.side in RULED_OUT
    ]
    standing, sweep = min(standings, key=lambda each: each[0].p if each[0].p is not None else 1.0)
    named = f"{variant_name('blocks', blocks)} {'is' if blocks == 1 else 'are'}"
    if standing.depth is None or standing.depth.difference is None:
        return f"{named} too many for the images of sweep {printable(sweep.name)}"
    small = "p < 0.001" if standing.p is not None and standing.p < 0.001 else f"p = {standing.p:.2g}"
    return f"{named} {direction(standing.depth.difference)} in sweep {printable(sweep.name)}, {small}"


def _left(found: Across) -> str:
    """Which depths no sweep rules out."""
    if found.serving:
        return f"no sweep finds {listed('blocks', found.serving, 'or')} worse than its own choice"
    unknown: dict[str, list[int]] = {}
    for blocks in found.left:
        for standing, sweep in zip(found.standings(blocks), found.sweeps, strict=True):
            if standing.side == UNKNOWN:
                unknown.setdefault(printable(sweep.name), []).append(blocks)
    return joined([f"{name} has no result for {listed('blocks', lacking)}" for name, lacking in unknown.items()])


def _differences(found: Across) -> list[str]:
    """What differs between the sweeps and can change an answer, in words."""
    names = [name for name in found.varied if name not in ELSEWHERE]
    return [*(["the data"] if found.other_data else []), *names]


def _differ_in(found: Across) -> str:
    """What differs, for a sentence on what the answer depends on."""
    return joined(_differences(found) or ["anything"])


def _confounded(found: Across) -> str:
    """A caution where several things differ between any two sweeps."""
    pairs = itertools.combinations([sweep.settings for sweep in found.sweeps], 2)
    names = [name for name in found.varied if name in ("dataset", FINGERPRINT) or name not in ELSEWHERE]
    several = all(sum(first[name] != second[name] for name in names) > 1 for first, second in pairs)
    if not several or len(found.recommended) < 2:
        return ""
    return "What differs does so all at once; sweeps that differ in one thing alone would say what matters."


def _number(blocks: int | None) -> str | None:
    return None if blocks is None else str(blocks)


def _cell(text: str) -> str:
    """Text for a cell: a line of a table in Markdown stays one."""
    return printable(text).replace("|", "\\|")
