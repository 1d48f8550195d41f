"""Runs one part of a study beside the processes that run the others, on one machine or on many, in one work folder.

A trial is locked while a process runs it, and the study only while its settings or its answer are written. All shards
read the same tuning results, and so choose the same rates. Whoever finds that no trial is missing writes the answer.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cnn import files, machine
from cnn.errors import RequestError
from cnn.progress import Progress, duration
from cnn.study.ahead import Ahead, ahead, tried_too
from cnn.study.executors import Executor, here
from cnn.study.folder import StudyFolder, settings_of
from cnn.study.outlook import Outlook, done_before
from cnn.study.plan import COMPARE, Plan, Trial
from cnn.study.shards import Shard, part_numbers
from cnn.training.trial import Options

SHARDS = ".shards"  # every shard that runs has a share of its lock; a run of the whole study has all of it
LOOK = 0.5  # seconds between two looks at what others have
LONGEST = 600.0  # seconds to wait while other shards write the settings or the answer
HELD = 128  # trials that a process holds at once, each by an open file


class UnfinishedError(Exception):
    """A shard has ended before the study has: the message says how many trials are missing, and of which shards.

    Attributes:
        continues: whether the same shard has more to do, once the others are further.
        failed: how many of its trials failed; the same shard tries them again.
    """

    def __init__(self, message: str, continues: bool, failed: int) -> None:
        super().__init__(message)
        self.continues = continues
        self.failed = failed


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Keep all others from writing into a study's work folder: whole runs, and shards.

    Raises:
        RequestError: another run or a shard writes there, or the folder cannot be written.
    """
    with files.one_writer(workdir), _gate(workdir, shared=False):
        yield


@contextlib.contextmanager
def last(
    plan: Plan, folder: StudyFolder, shard: Shard, options: Options, progress: Progress, executor: Executor | None
) -> Iterator[None]:
    """Run a shard's part of a study; where nothing is missing then, the block runs, alone, and writes the answer.

    Two shards that end at the same moment look one after another, so that at least the second one finds all trials.

    Raises:
        UnfinishedError: trials are missing.
        RequestError: a run of the whole study writes there, or the folder holds other settings.
    """
    with _gate(folder.path, shared=True):
        with _study_lock(folder.path):
            part = _Part(plan, folder, shard, options, progress, executor)
        part.run()
        with _study_lock(folder.path):
            part.require_nothing_missing()
            yield


@contextlib.contextmanager
def _gate(workdir: Path, *, shared: bool) -> Iterator[None]:
    """A share of the lock of `SHARDS`, or all of it.

    Raises:
        RequestError: a run of the whole study has it all, or shards have shares; or there is no such lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows, where no lock can be shared
        if shared:
            raise RequestError("shard: this system has no lock that several processes can share") from None
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((workdir / SHARDS).open("a+b"))  # NFS shares the lock of a file that can be read
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = "a run without --shard" if shared else "shards of this study"
            said = f"in use by {holder}: wait, or choose another workdir"
            raise RequestError(f"workdir={str(workdir)!r}: {said}") from None
        except OSError as error:
            said = f"must be a folder that can be written, with locks ({error.strerror}): choose another workdir"
            raise RequestError(f"workdir={str(workdir)!r}: {said}") from None
        yield


@contextlib.contextmanager
def _study_lock(workdir: Path) -> Iterator[None]:
    """The study's lock, as soon as other shards have written its settings or its answer.

    Raises:
        RequestError: another process has it for too long, or the folder cannot be written.
    """
    end = time.monotonic() + LONGEST
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(files.one_writer(workdir))
                break
            except files.InUseError:
                if time.monotonic() > end:
                    raise
                time.sleep(LOOK)
        yield


def _hold(stack: contextlib.ExitStack, folder: StudyFolder, trial: Trial) -> bool:
    """Keep others out of a trial's folder until the stack is closed; whether nobody else is there."""
    try:
        stack.enter_context(folder.held(trial))
    except files.InUseError:
        return False
    return True


class _Part:
    """A shard's part of a study while it runs."""

    def __init__(
        self,
        plan: Plan,
        folder: StudyFolder,
        shard: Shard,
        options: Options,
        progress: Progress,
        executor: Executor | None,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.shard = shard
        self.options = options
        self.executor = executor
        self.here = machine.here()
        opened = folder.open(plan, self.here)
        self.elsewhere = self.here.differences(opened.begun_on)
        self.progress = Outlook(plan, opened.finished, progress)
        self.grid = ahead(plan, opened.finished).plan.grid
        self.tried: set[Trial] = set()
        self.failed: list[Trial] = []
        self.stack = contextlib.ExitStack()

    def run(self) -> None:
        """Run this part of tuning, wait for the other parts, and run this part of what compares.

        Raises:
            UnfinishedError: the tuning of the other parts has not come, or a trial of this one failed while tuning.
        """
        with self.stack:
            while True:
                found = self._look()
                if found.plan.grid != self.grid:
                    self.progress.line(tried_too(self.grid, found.plan.grid))
                    self.grid = found.plan.grid
                tuning = [trial for trial in found.tuning if trial not in found.finished]
                mine = self.shard.part(self.plan, tuning or found.missing)
                new = [trial for trial in mine if trial not in self.tried]
                if new:
                    self._run(found, new)
                elif not tuning:
                    return
                elif self.failed or not self._come(tuning):
                    raise self._unfinished(tuning, "tuning ")

    def require_nothing_missing(self) -> None:
        """Look at all trials of the study, of which this process has the lock.

        Raises:
            UnfinishedError: some have not finished, or another process still holds their folders.
        """
        found = self._look()
        missing = [*found.missing, *(trial for trial in found.finished if self._held(trial))]
        if missing:
            raise self._unfinished(missing)

    def _look(self) -> Ahead:
        """What has finished by now, and what is ahead."""
        return ahead(self.plan, self.folder.finished(self.plan))

    def _held(self, trial: Trial) -> bool:
        """Whether another process has a trial's lock: it may still write there."""
        with contextlib.ExitStack() as stack:
            return not _hold(stack, self.folder, trial)

    def _run(self, found: Ahead, trials: Sequence[Trial]) -> None:
        """Run trials of one phase, those of one variant after those of another; leave what other processes hold."""
        own = self.shard.part(self.plan, found.trials)
        self.progress.expect(own, found.finished, self.folder.begun(trials))
        if not self.tried:
            self._begin(sum(trial in found.finished for trial in own), len(own))
        self.tried |= set(trials)
        options = replace(self.options, test=trials[0].phase == COMPARE)
        for _, same in itertools.groupby(trials, key=lambda trial: trial.variant):
            for chunk in _chunks(list(same)):
                with contextlib.ExitStack() as held:
                    free = [trial for trial in chunk if _hold(held, self.folder, trial)]
                    self._run_held([trial for trial in free if not self._has_finished(trial)], options)

    def _begin(self, done: int, trials: int) -> None:
        """Show the bar, say what was done before and whether that was on another machine, and make the executor."""
        self.stack.enter_context(self.progress)
        if self.elsewhere:
            self.progress.line(machine.elsewhere(self.folder.path, self.elsewhere))
        if done:
            self.progress.line(done_before(done, trials))
        if self.executor is None:  # made only for work: it copies the data set to the device
            own = here(self.plan, self.here, self.progress, self.options.stream)
            self.executor = self.stack.enter_context(own)

    def _run_held(self, trials: Sequence[Trial], options: Options) -> None:
        if self.executor is None or not trials:
            return
        for outcomes in self.executor.run(self.plan, self.folder, trials, options, self.progress):
            results = {trial: outcome.result for trial, outcome in outcomes.items()}
            self.failed += [trial for trial, result in results.items() if result.status == "failed"]
            self.progress.end(results)

    def _has_finished(self, trial: Trial) -> bool:
        return self.folder.trial(trial).result(settings_of(self.plan, trial)) is not None

    def _come(self, missing: Sequence[Trial]) -> bool:
        """Wait until other shards have finished these trials; whether they have, in time."""
        end = time.monotonic() + self.shard.wait
        if self.shard.wait:
            said = f"waits {duration(self.shard.wait)} at most for {self._counted(missing, 'tuning ')}"
            self.progress.line(f"shard {self.shard}: {said}")
        while missing and time.monotonic() < end:
            time.sleep(min(LOOK, self.shard.wait))
            missing = [trial for trial in missing if not self._has_finished(trial)]
        return not missing

    def _unfinished(self, missing: Sequence[Trial], phase: str = "") -> UnfinishedError:
        """The error that says what is missing; trials that failed here are named before."""
        if self.failed:
            named = "; ".join(trial.words for trial in self.failed)
            self.progress.line(f"failed: {named}; the same command tries again")
        own = self.shard.part(self.plan, missing)
        said = f"shard {self.shard} ends here; missing: {self._counted(missing, phase)}"
        last = "" if phase else "; the last shard to end, or the command without --shard, writes the answer"
        return UnfinishedError(f"{said}{last}", continues=bool(phase or own), failed=len(self.failed))

    def _counted(self, trials: Sequence[Trial], phase: str) -> str:
        """How many trials of which shards, such as `3 tuning trials of shards 1 and 2`."""
        numbers = sorted(set(part_numbers(self.plan, trials, self.shard.count).values()))
        *others, last = map(str, numbers)
        shards = f"shards {', '.join(others)} and {last}" if others else f"shard {last}"
        return f"{len(trials)} {phase}trial{'' if len(trials) == 1 else 's'} of {shards}"


def _chunks(trials: Sequence[Trial]) -> Iterator[Sequence[Trial]]:
    """The trials, as many at once as a process holds."""
    yield from (trials[start : start + HELD] for start in range(0, len(trials), HELD))
