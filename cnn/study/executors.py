"""Where the trials of a study run.

An executor gets the trials of a phase that have not finished. It decides which of them run together, and where.
"""

import contextlib
import itertools
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from cnn.errors import RequestError
from cnn.machine import Machine
from cnn.progress import Progress
from cnn.study.folder import StudyFolder, settings_of
from cnn.study.outlook import Outlook, Watch
from cnn.study.plan import Plan, Trial
from cnn.study.shards import Shard
from cnn.training.fit import Session
from cnn.training.folder import Outcome, Result
from cnn.training.trial import Options, run_together


@runtime_checkable
class Executor(Protocol):
    """Runs the trials of a study: in this process, or elsewhere."""

    def check(self, plan: Plan, shard: Shard | None) -> None:
        """Refuse a study, or a part of one, that cannot run there; asked before anything is written.

        Raises:
            RequestError: the message says why.
        """

    def runs_on(self) -> Machine:
        """The machine that the trials run on, or one of several; asked before anything is written.

        Raises:
            RequestError: there is none.
        """

    def run(
        self, plan: Plan, folder: StudyFolder, trials: Sequence[Trial], options: Options, progress: Outlook
    ) -> Iterator[Mapping[Trial, Outcome]]:
        """Run trials of one phase, each in its folder; yield the outcomes of each group that ended together.

        A trial that fails has an outcome too: its status is `failed`, and `reason` says why. It never stops the others.
        Trials that run in this process tell `progress` how far they are; of others it learns when they end.

        Raises:
            RequestError: the request cannot be met, so that no trial could run.
            OSError: the disk cannot be read or written, so that no trial can go on.
        """


class Here:
    """Runs groups of trials in this process.

    The trials of a group share a program and have done equally many steps. Another grouping gives the same results.

    Args:
        session: what the trials of this process share.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def check(self, plan: Plan, shard: Shard | None) -> None:
        """Refuse nothing."""

    def runs_on(self) -> Machine:
        """The machine of this process."""
        return self.session.machine

    def run(
        self, plan: Plan, folder: StudyFolder, trials: Sequence[Trial], options: Options, progress: Watch
    ) -> Iterator[Mapping[Trial, Outcome]]:
        """Run trials of one phase, group by group, and yield each group's outcomes; see `Executor`."""
        for group in groups(folder, trials, self.session.largest_group):
            outcomes = self._run_group(plan, folder, group, options, progress)
            yield dict(zip(group, outcomes, strict=True))

    def _run_group(
        self, plan: Plan, folder: StudyFolder, group: Sequence[Trial], options: Options, progress: Watch
    ) -> list[Outcome]:
        """The outcomes of trials that run together; where the group fails, each of its trials runs alone."""
        prepared = plan.prepared[group[0].variant]
        configs = [trial.config for trial in group]
        folders = [folder.trial(trial) for trial in group]
        profile = options.profile and options.profile / group[0].variant_slug
        own = replace(options, watch=progress.begin(group), profile=profile)
        try:
            return run_together(self.session, prepared, configs, folders, own, progress)
        except (RequestError, OSError):  # the request or the disk: no trial can go on
            raise
        except Exception as error:
            if len(group) == 1:
                return [record_failure(plan, folder, group[0], error, progress)]
        return [outcome for trial in group for outcome in self._run_group(plan, folder, [trial], options, progress)]


@contextlib.contextmanager
def here(plan: Plan, machine: Machine, progress: Progress, stream: bool = False) -> Iterator[Here]:
    """An executor in this process, for a block that runs trials: the data set is copied to the device.

    With `stream` it stays on the host; see `Session`.
    """
    with Session(plan.study.dataset, machine, stream) as session:
        session.advise(plan.study.config.training.precision, progress)
        yield Here(session)


def groups(folder: StudyFolder, trials: Sequence[Trial], size: int) -> Iterator[list[Trial]]:
    """Groups of at most `size` trials that share a program and have done equally many steps."""
    steps = folder.begun(trials)
    for _, same in itertools.groupby(trials, key=lambda trial: trial.config.network):
        for _, level in itertools.groupby(sorted(same, key=steps.__getitem__, reverse=True), key=steps.__getitem__):
            waiting = list(level)
            yield from (waiting[start : start + size] for start in range(0, len(waiting), size))


def record_failure(plan: Plan, folder: StudyFolder, trial: Trial, error: Exception, progress: Progress) -> Outcome:
    """Write into a trial's folder that it failed, and why, and show it."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    cost = plan.prepared[trial.variant].cost
    result = Result("failed", parameters=cost.parameters, macs=cost.macs, reason=reason)
    folder.trial(trial).fail(result, settings_of(plan, trial), "".join(traceback.format_exception(error)))
    progress.line(f"{trial.words} failed: {reason}")
    return Outcome(result)
