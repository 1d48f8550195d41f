"""The parts of a study: disjoint, complete, about equal, and fixed by the plan."""

import collections
import dataclasses
import itertools
import math

import pytest

from cnn.errors import RequestError
from cnn.study import tuning
from cnn.study.plan import plan_study
from cnn.study.shards import Shard, part_numbers
from tests.study.small import CONFIG, study

COUNTS = (1, 2, 3, 4, 5, 8, 20)
DEFAULT = dataclasses.replace(CONFIG, learning_rates=(), tuning_seeds=2)


def planned(digits, **changes):
    return plan_study(study(digits, dataclasses.replace(DEFAULT, **changes)))


def trials(plan):
    """The trials of both phases; those that compare at one rate for each depth, as when tuning has chosen."""
    chosen = {variant: plan.grid[place % len(plan.grid) :][:1] for place, variant in enumerate(plan.study.variants)}
    return [*plan.tuning(), *plan.comparing(chosen)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(("blocks", "seeds"), [((0,), 1), ((0, 1), 5), ((0, 1, 2), 4), ((0, 1, 2, 3), 5)])
def test_parts_are_disjoint_complete_and_about_equal(digits, count, blocks, seeds):
    plan = planned(digits, blocks=blocks, seeds=seeds)
    every = trials(plan)
    parts = [Shard(number, count).part(plan, every) for number in range(1, count + 1)]
    assert sorted(trial.name for part in parts for trial in part) == sorted(trial.name for trial in every)
    for phase, variant in itertools.product(("tune", "compare"), blocks):
        sizes = [sum((trial.phase, trial.variant) == (phase, variant) for trial in part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
    for phase in ("tune", "compare"):
        sizes = [sum(trial.phase == phase for trial in part) for part in parts]
        assert max(sizes) <= math.ceil(sum(sizes) / count) + 1


@pytest.mark.parametrize("count", [2, 4, 5, 8, 10, 20])
def test_four_depths_and_five_seeds_divide_evenly(digits, count):
    """The defaults: no shard compares more often than it must, as many as there are."""
    plan = planned(digits, blocks=(0, 1, 2, 3), seeds=5)
    sizes = collections.Counter(
        part_numbers(plan, plan.comparing(dict.fromkeys(range(4), plan.grid[:1])), count).values()
    )
    assert max(sizes.values()) == math.ceil(20 / count)


@pytest.mark.parametrize("count", COUNTS)
def test_a_trial_stays_in_its_part(digits, count):
    """When seeds or deeper networks are added, when the grid extends itself, and whichever rate tuning chooses."""
    first = planned(digits, blocks=(0, 1), seeds=2)
    before = part_numbers(first, trials(first), count)
    for changes in ({"seeds": 7}, {"blocks": (0, 1, 2, 3)}):
        grown = planned(digits, **{"blocks": (0, 1), "seeds": 2, **changes})
        after = part_numbers(grown, trials(grown), count)
        assert before.items() <= after.items()
    extended = dataclasses.replace(first, grid=(*first.grid, tuning.beyond(first.grid[-1], 1)))
    assert before.items() <= part_numbers(extended, [*trials(first), *extended.tuning()], count).items()
    widest = part_numbers(first, first.widest().comparing(), count)
    places = collections.defaultdict(set)
    for trial, number in widest.items():
        places[trial.variant, trial.config.seed].add(number)
    assert all(len(numbers) == 1 for numbers in places.values())


def test_the_order_of_given_rates_does_not_matter(digits):
    given = [planned(digits, learning_rates=rates) for rates in ((1e-3, 3e-3, 1e-2), (1e-2, 1e-3, 3e-3))]
    numbers = [part_numbers(plan, plan.tuning(), 4) for plan in given]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(
    "text", ["", "1", "a/b", "0/3", "4/3", "1/0", "1/2/3", "-1/3", "1.0/3", " 1/3", "²/3", "1/" + "9" * 5000]
)
def test_what_names_no_part_is_refused(text):
    with pytest.raises(RequestError, match=r"^shard='.*': must be i/n, the number of a part, from 1 to n") as refused:
        Shard.parse(text)
    assert text in str(refused.value) and "\n" not in str(refused.value)


def test_a_shard_knows_its_text_and_its_patience():
    assert str(Shard.parse("02/8")) == "2/8" and Shard.parse("2/8", wait=0.0) == Shard(2, 8, 0.0)
    for wait in (-1.0, math.nan):
        with pytest.raises(RequestError, match=r"^shard_wait=.*: must be a number of at least 0"):
            Shard(1, 2, wait)
