"""Puts an answer or a comparison into words. Each number and each sentence is formatted here, in one copy.

Accuracies are written in percent and their differences in points, both with two decimals.

Example:
    >>> from cnn.study.statistics import Estimate
    >>> mean_in_words(Estimate(n=5, mean=0.98, low=0.97, high=0.99))
    '98.00 % (95 % interval 97.00 to 99.00, n=5)'
"""

from collections.abc import Sequence
from typing import Any

from cnn import recipes
from cnn.study.answer import SIGNIFICANCE, Answer, Depth
from cnn.study.comparison import Comparison, Variant
from cnn.study.results import ACCURACY, Summary, variant_name
from cnn.study.statistics import RESOLUTION, Estimate

SIDES = {"worse": "worse than", "alike": "not to be told apart from", "better": "better than"}  # see `side`


def points(share: float) -> float:
    """A fraction in percent, rounded to the two decimals that are shown. A rounded 0 has no sign.

    >>> points(-0.00001), points(-0.0123)
    (0.0, -1.23)
    """
    return round(100 * share, 2) + 0.0


def percent(mean: float | None, low: float | None = None, high: float | None = None) -> str | None:
    """A fraction in percent with its interval, for a table: without the percent sign. None where the mean is unknown.

    >>> percent(0.98, 0.97, 0.99)
    '98.00 [97.00, 99.00]'
    """
    if mean is None:
        return None
    interval = "" if low is None or high is None else f" [{points(low):.2f}, {points(high):.2f}]"
    return f"{points(mean):.2f}{interval}"


def mean_in_words(estimate: Estimate) -> str:
    """A mean fraction in percent, with its interval and the number of seeds: for a sentence."""
    if estimate.mean is None:
        return "an unknown share (no trial succeeded)"
    known = [f"n={estimate.n}"]
    if estimate.low is not None and estimate.high is not None:
        known.insert(0, f"95 % interval {points(estimate.low):.2f} to {points(estimate.high):.2f}")
    return f"{points(estimate.mean):.2f} % ({', '.join(known)})"


def answer_sentence(answer: Answer) -> str:
    """The answer in one sentence, then a short sentence for each thing to know, see `answer_sentences`."""
    return " ".join(answer_sentences(answer))


def answer_sentences(answer: Answer) -> list[str]:
    """The answer in one sentence, then what is to be known beside it.

    These are: by how much smaller depths fell short, and so this one was taken; how the other depths differ on test
    images; a recommended depth that is the deepest one tried, rates at the edge of the grid, and trials that diverged,
    collapsed or failed.
    """
    parts = [_recommendation(answer), _shortfalls(answer), _why(answer), _on_test_images(answer), _deepest(answer)]
    parts.append(_unranked(answer))
    parts += _to_know([depth.summary for depth in answer.depths], "blocks", answer.dataset, "depths")
    return [part for part in parts if part]


def answer_in_short(answer: Answer) -> tuple[str, ...]:
    """The answer in one or two short lines, for a picture: which depth, how good it is, and what is not known.

    Example:
        >>> from cnn.study.answer import answer
        >>> answer_in_short(answer([], dataset="mnist", match="width", margin=0.05))
        ('No trial succeeded, so there is no recommendation.',)
    """
    best = answer.best
    if best is None:
        return ("No trial succeeded, so there is no recommendation.",)
    named = f"{variant_name('blocks', best.blocks)} {'is' if best.blocks == 1 else 'are'}"
    reason = "the smallest depth that is good enough on validation images" if _others(answer) else "all that was tried"
    first = f"{named} {reason}: mean test accuracy {mean_in_words(best.summary.test)}."
    return (first, _not_told_apart(answer)) if _others(answer) else (first,)


def _not_told_apart(answer: Answer) -> str:
    """From which depths the tests do not tell the recommended one apart, in a short sentence."""
    recommended = variant_name("blocks", answer.recommended)
    alike = [depth for depth in _others(answer) if depth.blocks in answer.indistinguishable]
    if not alike:
        return f"On test images, {recommended} can be told apart from every other depth."
    names = listed("blocks", answer.indistinguishable)
    return f"On test images, {recommended} cannot be told apart from {names}{missed(alike)}."


def notes(comparison: Comparison, dataset: str) -> str:
    """What a reader must know beside a comparison's numbers: rates at the edge of the grid, unfinished trials."""
    return " ".join(
        _to_know([variant.summary for variant in comparison.variants], comparison.column, dataset, "variants")
    )


def _recommendation(answer: Answer) -> str:
    best = answer.best
    if best is None:
        return f"No recommendation on {answer.dataset}: no trial succeeded."
    accuracy = mean_in_words(best.summary.test)
    alone = "" if _others(answer) else "; no other depth to compare it with"
    return f"On {answer.dataset}, use {variant_name('blocks', best.blocks)}: mean test accuracy {accuracy}{alone}."


def _others(answer: Answer) -> list[Depth]:
    """The depths beside the recommended one that have a finished trial."""
    return [depth for depth in answer.depths if depth is not answer.best and depth.summary.n]


def _on_test_images(answer: Answer) -> str:
    """Which other depths are better or worse on the test set, by how much, and which cannot be told apart."""
    told = [depth for depth in _others(answer) if depth.blocks not in answer.indistinguishable]
    parts = [
        f"{variant_name('blocks', depth.blocks)} {'is' if depth.blocks == 1 else 'are'} {direction(depth.difference)}"
        for depth in told
        if depth.difference is not None and depth.difference.mean is not None
    ]
    if answer.indistinguishable:
        alike = listed("blocks", answer.indistinguishable)
        unseen = missed([depth for depth in _others(answer) if depth.blocks in answer.indistinguishable])
        parts.append(f"{variant_name('blocks', answer.recommended)} cannot be told apart from {alike}{unseen}")
    return f"On test images, {'; '.join(parts)}." if parts else ""


def direction(difference: Estimate) -> str:
    """A difference of accuracies as `worse by 0.23 points (95 % interval 0.12 to 0.34)`."""
    size = abs(points(difference.mean or 0.0))
    better = (difference.mean or 0.0) > 0
    word = "better" if better else "worse"
    ends = _towards(difference, less=not better)
    return f"{word} by {f'{size:.2f}' if size else 'less than 0.01'} points{f' (95 % interval {ends})' if ends else ''}"


def _towards(difference: Estimate, less: bool) -> str:
    """The interval of a difference in points, in the direction of its word: `1.00 to 3.00` also for 2 points less."""
    if difference.low is None or difference.high is None:
        return ""
    ends = [points(difference.low), points(difference.high)]
    low, high = sorted(0 - end for end in ends) if less else ends
    return f"{low:.2f} to {high:.2f}"


def missed(alike: Sequence[Depth | Variant]) -> str:
    """Which difference the tests could have seen between networks that they do not tell apart: for a sentence."""
    if all(each.difference is None or each.difference.n < 2 for each in alike):
        return " (fewer than two common seeds allow no test)" if alike else ""
    largest = max((each.detectable for each in alike if each.detectable is not None), default=None)
    if largest is None or largest >= 1:
        return ""
    return f" (a true difference below {points(largest):.2f} points would mostly be missed)"


def _deepest(answer: Answer) -> str:
    """A warning where the deepest depth that was tried is recommended, and deeper ones fit."""
    if answer.recommended is None or answer.recommended < answer.depths[-1].blocks or not answer.deeper_fits:
        return ""
    return "This is the deepest network that was tried, and deeper ones fit the images, so more blocks may do better."


def _why(answer: Answer) -> str:
    """Why a smaller depth than the best was taken, and how often the rule takes it on resampled data."""
    best = answer.best
    parts = []
    shortfall = (best and best.shortfall) or 0.0
    if best is not None and best.allowance is not None and shortfall > RESOLUTION:
        allowed, short = apart(best.allowance, shortfall)
        falls = f"{variant_name('blocks', best.blocks)} {'falls' if best.blocks == 1 else 'fall'} {short} points short"
        parts.append(f"{falls} of the best on validation data, where {allowed} are allowed.")
    if best is not None and best.pick_share is not None:
        takes = f"the rule takes {variant_name('blocks', best.blocks)} in {100 * best.pick_share:.0f} % of draws"
        parts.append(f"On resampled seeds and validation images, {takes}.")
    return " ".join(parts)


def _shortfalls(answer: Answer) -> str:
    """By how much the depths below the recommended one fell short."""
    smaller = [depth for depth in answer.depths if answer.recommended is not None and depth.blocks < answer.recommended]
    parts: list[str] = []
    for depth in smaller:
        if depth.shortfall is not None and depth.allowance is not None:
            short, allowed = apart(depth.shortfall, depth.allowance)
            of = " points short of the best on validation data" if not parts else ""
            verb = "fell " if not parts else ""
            parts.append(f"{variant_name('blocks', depth.blocks)} {verb}{short}{of}, where {allowed} were allowed")
    return f"{'; '.join(parts)}." if parts else ""


def _unranked(answer: Answer) -> str:
    """Which depths the rule leaves out although they have results, since they lack a seed that others have."""
    lacking = [depth.blocks for depth in answer.depths if depth.summary.n and depth.shortfall is None]
    if not lacking:
        return ""
    named = f"{listed('blocks', lacking)} {'is' if lacking == [1] else 'are'}"
    return f"{named} not ranked, since not every seed succeeded there; shares of picks are therefore unknown."


def decided_in_points(depth: Depth) -> tuple[str | None, str | None]:
    """How far a depth falls short of the best, and how far it may; None where it is not ranked."""
    if depth.shortfall is None or depth.allowance is None:
        return (None, None)
    return apart(depth.shortfall, depth.allowance)


def apart(larger: float, smaller: float) -> tuple[str, str]:
    """Two fractions in points, with as many decimals as show which is larger; with two where they are equal.

    >>> apart(0.01, 0.002), apart(0.00204, 0.002), apart(0.001, 0.001)
    (('1.00', '0.20'), ('0.204', '0.200'), ('0.10', '0.10'))
    """
    shown = [(f"{100 * larger:.{decimals}f}", f"{100 * smaller:.{decimals}f}") for decimals in range(2, 7)]
    return next((each for each in shown if each[0] != each[1]), shown[0])


def _to_know(summaries: Sequence[Summary], column: str, dataset: str, kinds: str) -> list[str]:
    """Sentences on rates at the edge of the grid and on unfinished trials, and the caution of the data set."""
    edges: dict[float, list[Any]] = {}
    for summary in summaries:
        if summary.learning_rate_at_edge and summary.learning_rate is not None:
            edges.setdefault(summary.learning_rate, []).append(summary.variant)
    parts = []
    if edges:
        rates = joined([f"{rate:g} for {listed(column, variants)}" for rate, variants in sorted(edges.items())])
        parts.append(f"The best learning rate lies at the edge of the grid ({rates}), so a wider grid may do better.")
    ends = {
        "diverged": "",
        "collapsed": "; they end no better than always the commonest class, and no mean counts them",
        "failed": "; the same command tries them again",
    }
    for status, end in ends.items():
        counts = [(each.variant, getattr(each, status), each.tried) for each in summaries]
        parts += _unfinished(f"Trials {status}", counts, column, end)
    for status in ("diverged", "collapsed"):
        counts = [(each.variant, getattr(each, f"tuning_{status}"), each.tuning_tried) for each in summaries]
        parts += _unfinished(f"Tuning trials {status}", counts, column, "; their rates rank below the others")
    if dataset in recipes.CAUTIONS:
        parts.append(recipes.CAUTIONS[dataset].format(variants=kinds))
    return parts


def _unfinished(what: str, counts: Sequence[tuple[Any, int, int]], column: str, end: str) -> list[str]:
    """A sentence such as `Trials diverged: 1 of 2 at 1 block.`, from (variant, count, trials); none where all are 0."""
    places = [f"{count} of {tried} at {listed(column, [variant])}" for variant, count, tried in counts if count]
    return [f"{what}: {joined(places)}{end}."] if places else []


def listed(column: str, variants: Sequence[Any], last: str = "and") -> str:
    """Variants in words: `0, 1 and 3 blocks`, or `max and average`."""
    if column != "blocks":
        return joined(list(map(str, variants)), last)
    if len(variants) == 1:
        return variant_name(column, variants[0])
    return f"{joined(list(map(str, variants)), last)} blocks"


def joined(words: Sequence[str], last: str = "and") -> str:
    """Words as a list in a sentence: `a, b and c`; `last` stands before the last word."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def versus(comparison: Comparison, name: Any) -> str:
    """How a variant differs from the reference, in words: points, interval and p-value.

    The interval counts in the direction of the words: `2.00 points less (95 % interval 1.00 to 3.00, p = 0.004)` stands
    for a difference of -0.02. Where the interval reaches below 0, the data allow the opposite direction too.
    """
    variant = comparison[name]
    difference = variant.difference
    if difference is None or difference.mean is None:
        return "an unknown number of points more or less (no common seed succeeded)"
    in_points = points(difference.mean)
    word = "apart" if in_points == 0 else "less" if in_points < 0 else "more"
    known = []
    ends = _towards(difference, less=in_points < 0)
    if ends:
        known.append(f"95 % interval {ends}")
    if variant.p_adjusted is not None:
        known.append(f"p = {variant.p_adjusted:.2g}")
    return f"{abs(in_points):.2f} points {word}" + (f" ({', '.join(known)})" if known else "")


def accuracy(comparison: Comparison, name: Any, measured: str = ACCURACY) -> str:
    """A variant's mean in words, with its interval and the number of seeds: its accuracy, or another measurement."""
    return mean_in_words(comparison[name].measured[measured])


def share(comparison: Comparison, name: Any) -> str:
    """A variant's cost as shares of the reference's cost. The time has an interval, paired by seed.

    For example `50 % of the parameters, 120 % of the multiply-accumulates and 80 % of the training time (3 timings)`.
    """
    own = comparison[name]
    reference = comparison[comparison.reference].summary
    parameters = _ratio(own.summary.parameters, reference.parameters)
    macs = _ratio(own.summary.macs, reference.macs)
    time = own.seconds_ratio
    if time is None or time.mean is None:
        return f"{parameters} of the parameters and {macs} of the multiply-accumulates"
    known = [f"{time.n} timing{'' if time.n == 1 else 's'}"]
    if time.low is not None and time.high is not None:
        known.insert(0, f"95 % interval {100 * time.low:.0f} to {100 * time.high:.0f}")
    return (
        f"{parameters} of the parameters, {macs} of the multiply-accumulates and {100 * time.mean:.0f} % of the "
        f"training time ({', '.join(known)})"
    )


def _ratio(own: int | None, reference: int | None) -> str:
    return f"{100 * own / reference:.0f} %" if own is not None and reference else "an unknown share"


def verdict(comparison: Comparison, reference: str) -> str:
    """Which variants the tests tell apart from the reference, on which side, and which they do not.

    For example `Worse than max pooling: stride; not to be told apart from max pooling: average.`, with the difference
    that the tests could have seen.

    Args:
        comparison: a comparison on a metric of which more is better.
        reference: the reference in words.
    """
    parts = []
    for place, kind in SIDES.items():
        there = [variant for variant in comparison.others if side(variant) == place]
        if there:
            names = ", ".join(str(variant.name) for variant in there)
            parts.append(f"{kind} {reference}: {names}{missed(there) if place == 'alike' else ''}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def side(variant: Variant) -> str:
    """`better` or `worse` than the reference where the adjusted p-value is below 0.05, otherwise `alike`."""
    if variant.p_adjusted is None or variant.p_adjusted >= SIGNIFICANCE:
        return "alike"
    difference = variant.difference.mean if variant.difference is not None else None
    return "better" if difference is not None and difference > 0 else "worse"
