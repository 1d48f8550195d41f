"""Whether a statement holds on a data set, by the tests of the comparisons that it is about.

A statement says of each variant on which side of its reference it lies. It holds where the tests put every variant on
that side. So a statement that a difference exists does not hold where the tests cannot see the difference.

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

from cnn.study import words
from cnn.study.comparison import Comparison


@dataclass(frozen=True)
class Expected:
    """Where a statement puts a variant: `worse` than the reference of a comparison, `alike` or `better`."""

    comparison: Comparison
    variant: Any
    side: str
    measure: str = ""  # in words, where a statement is about several

    @property
    def tested(self) -> bool:
        """Whether there is a test; it takes two seeds that finished."""
        return self.comparison[self.variant].p_adjusted is not None

    @property
    def seen(self) -> str:
        """The side on which the tests see the variant."""
        return words.side(self.comparison[self.variant])

    @property
    def place(self) -> str:
        """What the tests see of the variant, without its name, such as `better than max in mean IoU`."""
        measure = f" in {self.measure}" if self.measure else ""
        return f"{words.SIDES[self.seen]} {self.comparison.reference}{measure}"


def stated(statement: str, dataset: str, expected: Sequence[Expected]) -> str:
    """A sentence: whether the statement holds on the data set, and otherwise what the tests see in its place."""
    failed = [each for each in expected if each.tested and each.seen != each.side]
    if failed:
        places: dict[str, list[str]] = {}
        for each in failed:
            places.setdefault(each.place, []).append(str(each.variant))
        seen = "; ".join(f"{place}: {', '.join(variants)}" for place, variants in places.items())
        return f'By these tests, the statement "{statement}" does not hold on {dataset}: {seen}.'
    if not all(each.tested for each in expected):
        return f'The statement "{statement}" cannot be tested on {dataset}: too few seeds succeeded.'
    return f'By these tests, the statement "{statement}" holds on {dataset}.'
