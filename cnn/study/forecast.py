"""How long the trials of a plan will take on this machine, and what that is concluded from.

A trial's time is that of its steps, of an evaluation of its validation images after each epoch, and of one of the test
images. A step's time comes from finished trials of the same network where there are some; else it is measured: each
network trains for a moment, as many trials together as will run together.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cnn.progress import Progress
from cnn.study.plan import COMPARE, Plan, Trial
from cnn.training.fit import Fit, Session
from cnn.training.folder import Result

MEASURED_SECONDS = 1.0  # of steps, for each network
FORWARD_SHARE = 1 / 3  # of a step's time that an evaluation takes for an image: a step goes forward and twice back


@dataclass(frozen=True)
class Forecast:
    """How long missing trials will take, and what that is concluded from."""

    seconds: float
    measured: int  # networks whose steps were timed for this forecast
    known: int  # networks whose finished trials say it

    def words(self) -> str:
        """The forecast in a sentence.

        Example:
            >>> Forecast(754.0, measured=2, known=1).words()
            'The rest takes about 13 minutes here: finished trials say it of 1 network, measured steps of 2 networks.'
        """
        grounds = [
            *([f"finished trials say it of {_networks(self.known)}"] if self.known else []),
            *([f"measured steps of {_networks(self.measured)}"] if self.measured else []),
        ]
        return f"The rest takes about {_duration(self.seconds)} here: {', '.join(grounds)}."


class _Pace(NamedTuple):
    """Seconds of one step and of one evaluated image, for trials that run together, and how many run together."""

    step: float
    image: float
    together: int


def forecast(
    plan: Plan, missing: Sequence[Trial], finished: Mapping[Trial, Result], progress: Progress = Progress()
) -> Forecast:
    """How long the missing trials will take here, one group after another.

    Args:
        plan: the study.
        missing: trials that have not finished.
        finished: the results of trials that have.
        progress: shows the networks that are timed.
    """
    variants = list(dict.fromkeys(trial.variant for trial in missing))
    paces = {variant: _known(plan, variant, finished) for variant in variants}
    unknown = [variant for variant, pace in paces.items() if pace is None]
    if unknown:
        with Session(plan.study.dataset) as session, progress.task("timing networks", len(unknown)) as task:
            for variant in unknown:
                own = [trial for trial in missing if trial.variant == variant]
                paces[variant] = _timed(plan, own, session)
                task.advance()
    seconds = sum(_seconds(plan, [t for t in missing if t.variant == v], pace) for v, pace in paces.items() if pace)
    return Forecast(seconds, len(unknown), len(variants) - len(unknown))


def _known(plan: Plan, variant: Any, finished: Mapping[Trial, Result]) -> _Pace | None:
    """The pace that finished trials of a variant had; None without one. Their seconds are shares of their group's."""
    times = [r.train_seconds for t, r in finished.items() if t.variant == variant and r.status == "done"]
    seconds = [time for time in times if time]
    if not seconds:
        return None
    prepared = plan.prepared[variant]
    training = prepared.config.training
    step = sum(seconds) / len(seconds) / (training.epochs * prepared.steps_per_epoch)
    return _Pace(step, FORWARD_SHARE * step / training.batch_size, together=1)


def _timed(plan: Plan, trials: Sequence[Trial], session: Session) -> _Pace:
    """The pace of a network that trains here for a moment; what it learns is lost."""
    group = trials[: session.largest_group]
    prepared = plan.prepared[group[0].variant]
    fit = Fit(session, prepared, [trial.config for trial in group])
    end = time.perf_counter() + MEASURED_SECONDS
    seconds = 0.0
    for ended in fit.epochs(pause=lambda: time.perf_counter() >= end):
        seconds += sum(epoch.seconds for epoch, _ in ended)
        if time.perf_counter() >= end:
            break
    seconds += sum(snapshot.seconds for snapshot in fit.snapshot())  # of the epoch in progress
    fit.validation_answers()  # compiles
    begun = time.perf_counter()
    fit.validation_answers()
    image = (time.perf_counter() - begun) / fit.validation_images
    return _Pace(seconds / fit.steps, image, len(group))


def _seconds(plan: Plan, trials: Sequence[Trial], pace: _Pace) -> float:
    prepared = plan.prepared[trials[0].variant]
    epochs = prepared.config.training.epochs
    dataset = plan.study.dataset
    validation = round(prepared.config.validation_fraction * len(dataset.train_labels))
    training = epochs * (prepared.steps_per_epoch * pace.step + validation * pace.image)
    seconds = 0.0
    for compared in (False, True):
        count = sum((trial.phase == COMPARE) == compared for trial in trials)
        test = len(dataset.test_labels) * pace.image if compared else 0.0
        seconds += math.ceil(count / pace.together) * (training + test)
    return seconds


def _networks(count: int) -> str:
    return f"{count} network{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    """A duration in words, with two digits.

    >>> [_duration(seconds) for seconds in (0.6, 3.4, 80, 5400, 200_000)]
    ['a second', '3 seconds', '80 seconds', '90 minutes', '56 hours']
    """
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return "a second" if seconds < 1.5 else f"{seconds:.0f} seconds"
