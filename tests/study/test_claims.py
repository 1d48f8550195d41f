"""Whether a statement holds, by the tests of a comparison."""

import pytest

from cnn.study import claims
from tests.study.trials import MAX, compared_pooling

WORSE = [0.5, 0.49, 0.5]
# Cannot be told apart from MAX, whose error is 2 %, so that 0.10 points count as none. The differences have a deviation
# of 0.1 and 0.01 points, and intervals of 4.30265 / sqrt 3 = 2.48 times as much around 0: 0.25 and 0.02 points.
NEAR = [0.981, 0.969, 0.99]
SAME = [0.9801, 0.9699, 0.99]
ROOM = "the intervals leave room for differences above 5 % of the error, and more seeds would decide."
BETTER = [0.9851, 0.975, 0.995]


@pytest.mark.parametrize(
    "accuracies, side, said",
    [
        (WORSE, "worse", 'By these tests, the statement "s" holds on digits.'),
        (SAME, "worse", 'the statement "s" does not hold on digits: not to be told apart from max: stride.'),
        (SAME, "alike", "holds on digits."),
        (NEAR, "worse", f'the statement "s" is not decided on digits: not to be told apart from max: stride; {ROOM}'),
        (BETTER, "worse", 'the statement "s" does not hold on digits: better than max: stride.'),
        (WORSE, "alike", 'the statement "s" does not hold on digits: worse than max: stride.'),
        (NEAR, "alike", f'the statement "s" is not decided on digits: not to be told apart from max: stride; {ROOM}'),
        (NEAR, "better", f'the statement "s" is not decided on digits: not to be told apart from max: stride; {ROOM}'),
        (BETTER, "better", "holds on digits."),
        ([0.5], "worse", 'The statement "s" cannot be tested on digits: too few seeds succeeded.'),
        ([None] * 3, "alike", "cannot be tested on digits: too few seeds succeeded."),
        (
            [each - 0.25 for each in MAX],
            "worse",
            "cannot be tested on digits: a difference is the same for every seed.",
        ),
    ],
)
def test_a_statement_holds_where_the_tests_put_the_variant_on_its_side(accuracies, side, said):
    poolings = compared_pooling({"max": MAX, "stride": accuracies})
    assert claims.stated("s", "digits", [claims.Expected(poolings, "stride", side)]).endswith(said)


def test_one_variant_on_another_side_is_enough_and_is_named_with_its_measure():
    poolings = compared_pooling({"max": MAX, "stride": WORSE, "average": SAME, "unknown": [None] * 3})
    expected = [claims.Expected(poolings, name, "worse", "IoU") for name in ("stride", "average", "unknown")]
    assert claims.stated("s", "digits", expected).endswith(
        "does not hold on digits: not to be told apart from max in IoU: average."
    )
    assert "cannot be tested" in claims.stated("s", "digits", [expected[0], expected[2]])


def test_one_variant_that_is_not_decided_leaves_the_statement_so():
    poolings = compared_pooling({"max": MAX, "stride": WORSE, "average": NEAR})
    expected = [claims.Expected(poolings, name, "worse", "IoU") for name in ("stride", "average")]
    assert "is not decided on digits: not to be told apart from max in IoU: average;" in claims.stated(
        "s", "digits", expected
    )
