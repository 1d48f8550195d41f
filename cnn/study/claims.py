"""Whether a statement holds on a data set, by the tests of the comparisons that it is about.

A statement says of each variant on which side of its reference it lies: worse, better or alike. A difference that the
paired test finds counts, however small it is. That there is none is decided only where the 95 % interval has no room
for one above a twentieth of the reference's error, the share that counts in the rule of a sweep (two one-sided tests,
Schuirmann 1987). Where the interval allows both, the statement is not decided: few seeds are no evidence.

Example:
    >>> from cnn.study.comparison import compare
    >>> from cnn.study.results import Row
    >>> from cnn.training.folder import Result
    >>> accuracies = {"max": [0.98, 0.97, 0.98], "stride": [0.96, 0.96, 0.96]}
    >>> rows = [Row("compare", name, 1e-3, seed, Result("done", test_accuracy=value, train_seconds=1.0))
    ...         for name, values in accuracies.items() for seed, value in enumerate(values)]
    >>> stride = Expected(compare(rows, column="pooling", reference="max"), "stride", "worse")
    >>> stated("pooling is better", "digits", [stride])
    'By these tests, the statement "pooling is better" holds on digits.'
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnn.config import SweepConfig
from cnn.study import words
from cnn.study.comparison import Comparison

NEGLIGIBLE = SweepConfig().margin  # share of the reference's error; what the test does not find may be so large


@dataclass(frozen=True)
class Expected:
    """Where a statement puts a variant: `worse` than the reference of a comparison, `alike` or `better`."""

    comparison: Comparison
    variant: Any
    side: str
    measure: str = ""  # in words, where a statement is about several

    @property
    def tested(self) -> bool:
        """Whether there is a test; it takes two seeds that finished, and differences that vary between them."""
        return self.comparison[self.variant].p_adjusted is not None

    @property
    def seen(self) -> str:
        """The side on which the tests see the variant."""
        return words.side(self.comparison[self.variant])

    @property
    def negligible(self) -> float:
        """The largest difference for which the interval of what counts as alike may have room."""
        return NEGLIGIBLE * (
            1 - (self.comparison[self.comparison.reference].measured[self.comparison.metric].mean or 0.0)
        )

    @property
    def decided(self) -> bool:
        """Whether the data leave no room for the opposite outcome."""
        difference = self.comparison[self.variant].difference
        if self.seen != "alike":
            return True
        if difference is None or difference.low is None or difference.high is None:
            return False
        room = {"worse": -difference.low, "better": difference.high}
        return room.get(self.side, max(room.values())) <= self.negligible

    @property
    def place(self) -> str:
        """What the tests see of the variant, without its name, such as `better than max in mean IoU`."""
        measure = f" in {self.measure}" if self.measure else ""
        return f"{words.SIDES[self.seen]} {self.comparison.reference}{measure}"


def stated(statement: str, dataset: str, expected: Sequence[Expected]) -> str:
    """A sentence: whether the statement holds on the data set, and otherwise what the tests see in its place."""
    failed = [each for each in expected if each.tested and each.decided and each.seen != each.side]
    if failed:
        seen = _listed([(each.place, each.variant) for each in failed])
        return f'By these tests, the statement "{statement}" does not hold on {dataset}: {seen}.'
    untested = [each for each in expected if not each.tested]
    if untested:
        return f'The statement "{statement}" cannot be tested on {dataset}: {_untested(untested)}.'
    undecided = [each for each in expected if not each.decided]
    if undecided:
        seen = _listed([(each.place, each.variant) for each in undecided])
        return (
            f'By these tests, the statement "{statement}" is not decided on {dataset}: {seen}; the intervals leave '
            f"room for differences above {100 * NEGLIGIBLE:.0f} % of the error, and more seeds would decide."
        )
    return f'By these tests, the statement "{statement}" holds on {dataset}.'


def _untested(claims: Sequence[Expected]) -> str:
    """Why there is no test."""
    differences = [each.comparison[each.variant].difference for each in claims]
    if any(difference is None or difference.n < 2 for difference in differences):
        return "too few seeds succeeded"
    return "a difference is the same for every seed"


def _listed(places: Sequence[tuple[str, Any]]) -> str:
    """Variants by what the tests see of them, such as `worse than max: stride, average`."""
    variants: dict[str, list[str]] = {}
    for place, variant in places:
        variants.setdefault(place, []).append(str(variant))
    return "; ".join(f"{place}: {', '.join(names)}" for place, names in variants.items())
