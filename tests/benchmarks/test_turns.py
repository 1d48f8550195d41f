import math
import os
import time

import pytest

from benchmarks.turns import Side, Unavailable, take_turns

pytestmark = pytest.mark.thorough


def sleeper(seconds):
    return lambda: time.sleep(seconds)


def missing(message):
    raise Unavailable(message)


def dying(calls):
    left = iter(range(calls))
    return lambda: os._exit(3) if next(left, None) is None else None


@pytest.mark.parametrize(
    ("build", "argument", "reason"),
    [(missing, "not here", "not here"), (math.sqrt, -1, "ValueError: "), (dying, 0, "its process ended with status 3")],
)
def test_a_side_that_cannot_run_says_why(build, argument, reason):
    with pytest.raises(Unavailable, match=reason):
        Side(build, argument)


def test_every_side_has_a_turn_in_each_round():
    sides = {"short": Side(sleeper, 0.01), "long": Side(sleeper, 0.05)}
    seconds = take_turns(sides, rounds=2)
    for side in sides.values():
        side.close()
        assert side.process.exitcode == 0
    assert list(seconds) == ["short", "long"]
    assert [len(values) for values in seconds.values()] == [2, 2]
    assert min(seconds["short"]) >= 0.01 and min(seconds["long"]) >= 0.05  # other work may make them longer


def test_a_side_that_dies_is_no_measurement():
    side = Side(dying, 1)  # the call that is not timed was its last
    with pytest.raises(Unavailable, match="status 3"):
        side.seconds()
