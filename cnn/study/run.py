"""Runs a study: finds the trials that are missing, runs them in order, and collects their results.

Each trial has a folder. Finished trials are kept, so that the same command runs only what is missing. Results are
passed in memory, keyed by the trial; a file is read only if an earlier process wrote it.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from cnn import machine
from cnn.errors import require_known
from cnn.machine import Machine
from cnn.network.summary import Cost
from cnn.progress import Progress
from cnn.study.ahead import Ahead, ahead, among, rates, tried_too, wider
from cnn.study.beside import alone, last
from cnn.study.executors import Executor, here
from cnn.study.finished import Results
from cnn.study.folder import GROWABLE, StudyFolder, settings_of
from cnn.study.outlook import Outlook, done_before
from cnn.study.plan import COMPARE, TUNE, Plan, Study, Trial, plan_study
from cnn.study.shards import Shard
from cnn.study.tuning import STEPS
from cnn.training import folder as trial_folder
from cnn.training.folder import FINISHED, Outcome, Result
from cnn.training.trial import CHECKPOINT_SECONDS, Options

TABLE_SHARE = 0.1  # of the time: what may go into the table while trials run, since each time it is written as a whole
KEEPS: Mapping[str, Callable[[int], range]] = {  # from the number of comparison seeds to those whose networks stay
    "first": lambda seeds: range(1),
    "all": range,
    "none": lambda seeds: range(0),
}


@dataclass(frozen=True)
class PhaseOverview:
    """How many trials a phase has, and how many are done."""

    name: str
    trials: int
    done: int


@dataclass(frozen=True)
class VariantOverview:
    """The network of a variant; sizes are None where its model has no such setting."""

    variant: Any
    width: float | None
    hidden: float | None
    cost: Cost


@dataclass(frozen=True)
class Overview:
    """The plan of a study, before anything runs."""

    plan: Plan
    phases: tuple[PhaseOverview, ...]
    variants: tuple[VariantOverview, ...]
    missing: Mapping[Trial, int] = field(default_factory=dict)  # and their steps done; see `ahead` for their rates
    finished: Mapping[Trial, Result] = field(default_factory=dict)


def default_workdir(study: Study) -> Path:
    """`runs/EXPERIMENT/DATASET-HASH`; settings that may grow in an old folder are not in the hash."""
    growable = (*GROWABLE, *study.grows)
    fixed = {name: value for name, value in study.settings().items() if name not in growable}
    return trial_folder.default_workdir(study.experiment, study.dataset.slug, fixed)


@contextlib.contextmanager
def running(
    study: Study,
    workdir: Path | None = None,
    *,
    keep: str = "first",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    tensorboard: bool = False,
    stream: bool = False,
    profile: Path | None = None,
    progress: Progress = Progress(),
    executor: Executor | None = None,
    shard: Shard | None = None,
) -> Iterator[Results]:
    """Run the trials that are missing, tuning first; write `results.csv`, and yield the results.

    The work folder is locked until the block ends, so an answer that is written inside the block fits the results.
    A diverged trial is a result. A trial that fails while it runs is recorded with its reason, and the study goes on;
    the next run tries it again. The folder of a trial that an earlier run has finished keeps what it has.

    Args:
        study: what is compared.
        workdir: the work folder; by default `default_workdir`.
        keep: which of each variant's comparison trials leave their trained network: the `first` seed's, `all`, `none`.
        checkpoint_seconds: time between two checkpoints of a trial.
        tensorboard: trials that run write what TensorBoard shows into their folders.
        stream: leave the images on the host; see `Session`.
        profile: gets a folder for each variant whose training steps run, with a trace of them.
        progress: shows the trials.
        executor: where the trials run; by default in this process.
        shard: the part of the study that runs here, while other processes run the others in the same work folder.

    Raises:
        RequestError: the request cannot be met; in that case nothing has been written.
        UnfinishedError: the shard has ended, and other trials of the study are missing; so there are no results yet.
    """
    plan, folder, finished = _checked(study, workdir)  # before the lock, so that nothing is written if it is refused
    require_known("keep", keep, KEEPS)
    if executor is not None:
        executor.check(plan, shard)
    options = Options(
        measure=study.measure,
        measured_by=study.measured_by(COMPARE),
        keep_networks=tuple(KEEPS[keep](study.config.seeds)),
        checkpoint_seconds=checkpoint_seconds,
        tensorboard=tensorboard,
        stream=stream,
        profile=profile,
    )
    elsewhere = executor if executor is not None and ahead(plan, finished).missing else None
    here = machine.here() if elsewhere is None else elsewhere.runs_on()
    lock = last(plan, folder, shard, options, progress, executor) if shard else alone(folder.path)
    with lock:
        yield _Run(plan, folder, here, options, progress, executor).results()


def overview(study: Study, workdir: Path | None = None, shard: Shard | None = None) -> Overview:
    """What `running` would do: the trials of each phase, how many are done, and each variant's network.

    Writes nothing. A variant's comparison trials count as done only if its learning rate has been chosen already. With
    a shard, only its part of the trials is counted.

    Raises:
        RequestError: the request cannot be met.
    """
    plan, folder, finished = _checked(study, workdir)
    found = ahead(plan, finished)
    if shard is not None:
        own = [tuple(shard.part(plan, trials)) for trials in (found.tuning, found.comparing)]
        found = replace(found, tuning=own[0], comparing=own[1])
    phases = [PhaseOverview(TUNE, len(found.tuning), _finished(found, found.tuning))] if found.tuning else []
    phases.append(PhaseOverview(COMPARE, len(found.comparing), _finished(found, found.comparing)))
    return Overview(found.plan, tuple(phases), networks(found.plan), folder.begun(found.missing), found.finished)


def _finished(found: Ahead, trials: Sequence[Trial]) -> int:
    return len(among(found.finished, trials))


def networks(plan: Plan) -> tuple[VariantOverview, ...]:
    """The network of each variant: its sizes and its cost."""
    study = plan.study
    first = {variant: study.trial(COMPARE, variant, plan.grid[0], seed=0) for variant in study.variants}
    return tuple(
        VariantOverview(variant, **trial.sizes, cost=plan.prepared[variant].cost) for variant, trial in first.items()
    )


def _checked(study: Study, workdir: Path | None) -> tuple[Plan, StudyFolder, dict[Trial, Result]]:
    """The plan of a study, its work folder, which holds nothing else, and the results of its finished trials."""
    plan = plan_study(study)
    folder = StudyFolder(workdir or default_workdir(study))
    return plan, folder, folder.check(plan)


class _Run:
    """A study while it runs: what its phases share, and the results so far."""

    def __init__(
        self,
        plan: Plan,
        folder: StudyFolder,
        here: Machine,
        options: Options,
        progress: Progress,
        executor: Executor | None,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.options = options
        self.executor = executor
        self.here = here
        opened = folder.open(plan, self.here)
        self.begun_on = opened.begun_on.digest()
        self.elsewhere = self.here.differences(opened.begun_on)
        self.finished = opened.finished  # by earlier runs, and so far by this one
        found = ahead(plan, opened.finished)
        self.missing = len(found.missing)
        self.before = done_before(len(found.finished), len(found.trials)) if found.finished else ""
        self.progress = Outlook(plan, found.finished, progress)
        self.progress.expect(found.trials, found.finished, folder.begun(found.missing))
        self.done: dict[Trial, Result] = {}
        self.outcomes: dict[Trial, Outcome] = {}
        self.stack = contextlib.ExitStack()
        self.written = -math.inf  # when the table was
        self.writing = 0.0  # seconds that it took

    def results(self) -> Results:
        """Run what is missing of both phases."""
        with self.stack:
            if self.missing:
                self.stack.enter_context(self.progress)
            tuned = self._tune()
            comparing = self.plan.comparing(rates(self.plan, tuned))
            self.progress.expect([*self.plan.tuning(), *comparing], among(self.finished, comparing))
            self._say_without_network(among(self.finished, comparing))
            self._run_phase(comparing)
        failed = [trial.words for trial, result in self.done.items() if result.status == "failed"]
        if failed:
            self.progress.line(f"failed: {'; '.join(failed)}; the same command tries again")
        return Results(self.plan, self.folder, self.done, self._compared())

    def _say_without_network(self, finished: Mapping[Trial, Result]) -> None:
        """Say that finished trials stay as they are, where a network is asked for that an earlier run did not keep."""
        asked = [trial for trial in finished if trial.config.seed in self.options.keep_networks]
        done = [trial for trial in asked if finished[trial].status == "done"]
        lacking = len(self.folder.without_network(done))
        if lacking:
            trials = f"{lacking} finished trial{'' if lacking == 1 else 's'}"
            self.progress.line(f"{trials} kept no network, and will not now: choose another workdir to keep it")

    def _compared(self) -> dict[Trial, Outcome]:
        """The outcomes of the comparison trials that finished and learnt something, each read at most once."""
        done = [trial for trial, result in self.done.items() if trial.phase == COMPARE and trial.row(result).done]
        earlier = {trial: self.folder.trial(trial) for trial in done if trial not in self.outcomes}
        read = {trial: own.outcome(settings_of(self.plan, trial)) for trial, own in earlier.items()}
        outcomes = {trial: self.outcomes.get(trial) or read[trial] for trial in done}
        return {trial: outcome for trial, outcome in outcomes.items() if outcome is not None}

    def _tune(self) -> Mapping[Trial, Result]:
        """Run what is missing of tuning; the default grid extends itself while a best rate lies at its edge."""
        earlier = {trial: result for trial, result in self.finished.items() if trial.phase == COMPARE}
        for step in range(1 + STEPS):
            self.done = {}  # the wider grid has all of these trials, in its own order
            self._run_phase(self.plan.tuning(), after=earlier)
            grown = wider(self.plan, self.done)
            if step == STEPS or grown.grid == self.plan.grid:
                break
            self._say_grown(grown)
            self.plan = grown
        return self.done

    def _say_grown(self, grown: Plan) -> None:
        """Say by how many trials the study grows with its grid, unless an earlier run has done them."""
        found = ahead(grown, self.finished)
        more = [trial for trial in grown.tuning() if trial not in self.finished]
        if more:
            self.progress.expect(found.trials, found.finished)
            count = f"{len(more)} more trials, {len(found.trials)} in all"
            self.progress.line(f"{tried_too(self.plan.grid, grown.grid)}: {count}")

    def _run_phase(self, trials: Sequence[Trial], after: Mapping[Trial, Result] | None = None) -> None:
        """Run what is missing of a phase. Then the table has a line for each trial of the phase, in order.

        While trials run, it is written after each group, unless that would take more than `TABLE_SHARE` of the time.
        Until the study ends, the table also keeps the lines of `after`: trials that an earlier run has finished.
        """
        if not trials:
            return
        known = among(self.finished, trials)
        for trial in known:
            own = self.folder.trial(trial)
            own.keep_settings(settings_of(self.plan, trial), machine.provenance(self.here))
            own.remove_leftovers(keep=False)
        missing = [trial for trial in trials if trial not in known]
        if missing and self.elsewhere:
            self.progress.line(machine.elsewhere(self.folder.path, self.elsewhere))
            self.elsewhere = []
        if missing and self.before:
            self.progress.line(self.before)
            self.before = ""
        for outcomes in self._run_missing(missing):
            self.outcomes.update(outcomes)
            results = {trial: outcome.result for trial, outcome in outcomes.items()}
            known |= results
            self.finished |= {trial: result for trial, result in results.items() if result.status in FINISHED}
            if monotonic() - self.written >= self.writing / TABLE_SHARE:
                self._write(trials, known, after or {})
            self.progress.end(results)
        self._write(trials, known, after or {})
        self.done |= self._said(trials, known)

    def _run_missing(self, missing: Sequence[Trial]) -> Iterator[Mapping[Trial, Outcome]]:
        if not missing:
            return
        if self.executor is None:  # made only for work: it copies the data set to the device
            own = here(self.plan, self.here, self.progress, self.options.stream)
            self.executor = self.stack.enter_context(own)
        options = replace(self.options, test=missing[0].phase == COMPARE)
        yield from self.executor.run(self.plan, self.folder, missing, options, self.progress)

    def _write(self, trials: Sequence[Trial], results: Mapping[Trial, Result], after: Mapping[Trial, Result]) -> None:
        begun = monotonic()
        self.folder.write_results({**self.done, **self._said(trials, results), **self._said(list(after), after)})
        self.written = monotonic()
        self.writing = self.written - begun

    def _said(self, trials: Sequence[Trial], results: Mapping[Trial, Result]) -> dict[Trial, Result]:
        """The results so far, in the order of the trials; `same_machine` is true on the study's first machine alone."""
        said = {}
        for trial in trials:
            result = results.get(trial)
            if result is not None:
                same = result.same_machine and result.machine == self.begun_on
                said[trial] = replace(result, same_machine=same)
        return said
