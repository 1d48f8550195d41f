"""The parts of a study, each of which a process runs while other processes run the others.

The parts follow from the plan, not from what is missing, so that processes need not agree on anything while they run.

Example:
    >>> Shard.parse("2/8")
    Shard(number=2, count=8, wait=600.0)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnn.config import FIRST_TUNING_SEED
from cnn.errors import RequestError, require
from cnn.study.plan import COMPARE, Plan, Trial

WAIT = 600.0  # seconds for which a shard waits for the tuning of the others, unless the caller says otherwise
ACCEPTED = "i/n, the number of a part, from 1 to n, and the number of parts, such as 2/8"


@dataclass(frozen=True)
class Shard:
    """The part of a study that a process runs.

    Args:
        number: which part, from 1 to `count`.
        count: how many parts there are.
        wait: seconds to wait for the tuning results of the other parts.

    Raises:
        RequestError: there is no such part, or the time is not a number of at least 0.
    """

    number: int
    count: int
    wait: float = WAIT

    def __post_init__(self) -> None:
        require(1 <= self.number <= self.count, "shard", str(self), ACCEPTED)
        require(self.wait >= 0, "shard_wait", self.wait, "a number of at least 0")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str, wait: float = WAIT) -> "Shard":
        """The shard that a text such as `2/8` names.

        Raises:
            RequestError: it names none.
        """
        parts = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if parts is None:
            raise RequestError(f"shard={text!r}: must be {ACCEPTED}")
        return cls(int(parts[1]), int(parts[2]), wait)

    def part(self, plan: Plan, trials: Sequence[Trial]) -> list[Trial]:
        """Those of the trials that belong to this part."""
        numbers = part_numbers(plan, trials, self.count)
        return [trial for trial in trials if numbers[trial] == self.number]


def part_numbers(plan: Plan, trials: Sequence[Trial], count: int) -> dict[Trial, int]:
    """The part that each trial belongs to, from 1 to `count`.

    The trials of a variant and a phase take turns: they go to one part after another, by learning rate and seed. The
    variants begin at parts far from each other, so that together the parts are about equal too. A learning rate has its
    place among all to which the grid can extend itself. A trial that compares has the place of its seed, whatever its
    rate. So a trial stays in its part when the grid extends itself, or when seeds or deeper networks are added.
    """
    study = plan.study
    grid = sorted(map(float, replace(plan, grid=study.config.grid).widest().grid))
    first = {variant: int(_spread(place) * count) for place, variant in enumerate(study.variants)}

    def place(trial: Trial) -> int:
        if trial.phase == COMPARE:
            return trial.config.seed
        rate = grid.index(trial.config.learning_rate)
        return rate * study.config.tuning_seeds + trial.config.seed - FIRST_TUNING_SEED

    return {trial: (first[trial.variant] + place(trial)) % count + 1 for trial in trials}


def _spread(place: int) -> float:
    """The numbers 0, 1/2, 1/4, 3/4, 1/8, ... of van der Corput (1935): the first few are far from each other.

    >>> [_spread(place) for place in range(5)]
    [0.0, 0.5, 0.25, 0.75, 0.125]
    """
    return int(f"{place:b}"[::-1], 2) / (1 << place.bit_length())
