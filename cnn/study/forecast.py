"""How long missing trials will take on this machine, and what that is concluded from.

The speed of a network comes from finished trials of it where there are some; else it is measured: the network trains
for a moment, as many trials together as will run together. Of a trial that was stopped, what is left counts.
"""

import collections
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnn.config import TrialConfig
from cnn.data.content import Dataset
from cnn.progress import Progress, duration
from cnn.study.plan import COMPARE, Plan, Trial
from cnn.training import speed
from cnn.training.fit import Session
from cnn.training.folder import Result
from cnn.training.prepared import prepare_trials
from cnn.training.speed import Speed, trial_seconds


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
        return f"The rest takes about {duration(self.seconds)} here: {', '.join(grounds)}."


def forecast(
    plan: Plan,
    missing: Mapping[Trial, int],
    finished: Mapping[Trial, Result],
    progress: Progress = Progress(),
    stream: bool = False,
) -> Forecast:
    """How long the missing trials will take here, one group after another.

    Args:
        plan: the study.
        missing: for each trial that has not finished, how many of its steps are done already.
        finished: the results of trials that have.
        progress: shows the networks that are timed.
        stream: leave the images on the host; see `Session`.
    """
    own: dict[Any, dict[Trial, int]] = {}
    for trial, done in missing.items():
        own.setdefault(trial.variant, {})[trial] = done
    speeds = {variant: known_speed(plan, variant, finished) for variant in own}
    unknown = [variant for variant, known in speeds.items() if known is None]
    if unknown:
        with (
            Session(plan.study.dataset, stream=stream) as session,
            progress.task("timing networks", len(unknown)) as task,
        ):
            for variant in unknown:
                configs = [trial.config for trial in own[variant]][: session.largest_group]
                speeds[variant] = speed.measured(session, plan.prepared[variant], configs)
                task.advance()
    seconds = sum(_seconds(plan, own[variant], known) for variant, known in speeds.items() if known)
    return Forecast(seconds, len(unknown), len(own) - len(unknown))


def forecast_trial(
    config: TrialConfig, dataset: Dataset, done: int, progress: Progress = Progress(), stream: bool = False
) -> Forecast:
    """How long one trial will take here, by itself; its network is timed.

    Args:
        config: the settings of the trial.
        dataset: the data set that they name.
        done: how many of its steps are done already.
        progress: shows that the network is timed.
        stream: leave the images on the host; see `Session`.
    """
    prepared = prepare_trials(config, dataset)
    with Session(dataset, stream=stream) as session, progress.task("timing networks", 1) as task:
        measured = speed.measured(session, prepared, [config])
        task.advance()
    return Forecast(trial_seconds(prepared, dataset, measured, test=True, done=done), measured=1, known=0)


def known_speed(plan: Plan, variant: Any, finished: Mapping[Trial, Result]) -> Speed | None:
    """The speed that finished trials of a variant had; None without one."""
    times = [result.train_seconds for trial, result in finished.items() if _says_it(trial, variant, result)]
    seconds = [time for time in times if time]
    return speed.by_results(plan.prepared[variant], seconds) if seconds else None


def _says_it(trial: Trial, variant: Any, result: Result) -> bool:
    return trial.variant == variant and result.status == "done"


def _seconds(plan: Plan, missing: Mapping[Trial, int], known: Speed) -> float:
    """The seconds of the missing trials of a variant. Those of a phase with equally many steps done run in groups."""
    prepared = plan.prepared[next(iter(missing)).variant]
    levels = collections.Counter((trial.phase == COMPARE, done) for trial, done in missing.items())
    seconds = 0.0
    for (compares, done), count in levels.items():
        each = trial_seconds(prepared, plan.study.dataset, known, test=compares, done=done)
        seconds += math.ceil(count / known.together) * each
    return seconds


def _networks(count: int) -> str:
    return f"{count} network{'' if count == 1 else 's'}"
