"""What a study shows while it runs: one bar for both phases, when all will be done, and what is known so far.

The bar counts work. The work of a trial is its time at the speed that its network's cost lets expect, so that the bar
moves about as fast with a large network as with a small one. Comparison trials count from the start: their learning
rates, which tuning chooses, change no work. Where the grid of learning rates grows, the whole grows too.

The time left is the work that is left of each network at the pace of this network. The less work was done at a pace,
the less it is trusted: a network that has hardly begun is taken to be about as fast as its trials of an earlier run, or
as the other networks. One that has not begun is expected to compile for as long as the others did.
"""

import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from cnn.config import FIRST_TUNING_SEED
from cnn.progress import Progress, Share, Work
from cnn.study.forecast import known_speed
from cnn.study.plan import COMPARE, TUNE, Plan, Trial
from cnn.study.results import variant_name
from cnn.training import speed
from cnn.training.folder import Result
from cnn.training.speed import trial_seconds

PHASES = {TUNE: "tuning", COMPARE: "comparing"}
ROUNDING = 1e-9  # of the whole work: less is nothing
PRIOR = 1.0  # work, in seconds at the speed that the cost lets expect, for which what was known before counts


@dataclass
class _Pace:
    """What a network has taken here. Trials that run side by side share the time."""

    known: float | None  # seconds for a unit of work, of trials that an earlier run has finished
    starts: bool = False
    starting: float = 0.0  # seconds until its first trials trained: they compile
    seconds: float = 0.0  # from then on
    work: float = 0.0  # in these seconds

    def estimate(self, others: float) -> float:
        """Seconds for a unit of work, given those of the other networks."""
        before = others if self.known is None else self.known
        return (self.seconds + PRIOR * before) / (self.work + PRIOR)


class Watch(Progress):
    """A progress that is also told of the trials that begin. This class shows nothing."""

    def begin(self, trials: Sequence[Trial]) -> Callable[[int], None]:
        """A group of trials begins. Returns a function to call now and then with the steps that each has begun."""
        return lambda steps: None


class Outlook(Watch):
    """The progress of a study. Groups of trials may run side by side, in threads.

    Lines, and bars of work that is no training, pass to the display that it is given.

    Args:
        plan: the study.
        finished: the results of trials that an earlier run has finished.
        progress: shows the bar.
    """

    def __init__(self, plan: Plan, finished: Mapping[Trial, Result], progress: Progress) -> None:
        self.progress = progress
        self._plan = plan
        self._bar = Share("")
        self._lock = threading.Lock()
        self._trials: tuple[Trial, ...] = ()
        self._done: dict[Trial, float] = {}  # work
        self._total = 0.0  # work of all trials
        self._left: dict[Any, float] = {}  # of it, what is left of each variant
        self._best = {phase: SoFar(phase, finished) for phase in PHASES}
        self._waiting: set[Trial] = set()  # trials that run and do not train yet
        self._running: set[Trial] = set()
        self._last = time.monotonic()
        self._so_far = ""
        self._work = {
            (variant, phase): self._work_of(variant, test=phase == COMPARE)
            for variant in plan.study.variants
            for phase in PHASES
        }
        self._paces = {variant: _Pace(self._known(variant, finished)) for variant in plan.study.variants}

    def task(self, label: str, total: int, done: int = 0) -> Work:
        return self.progress.task(label, total, done)

    def line(self, text: str) -> None:
        self.progress.line(text)

    def __enter__(self) -> "Outlook":
        self._bar = self.progress.share(self._plan.study.experiment)
        self._bar.__enter__()
        with self._lock:
            self._last = time.monotonic()
            self._show([])
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, trace)

    def expect(
        self, trials: Sequence[Trial], finished: Mapping[Trial, Result], begun: Mapping[Trial, int] | None = None
    ) -> None:
        """The trials of the study, as far as they are known now.

        Args:
            trials: all of them.
            finished: the results of those that have finished.
            begun: how many steps an earlier run has done of others.
        """
        with self._lock:
            self._trials = tuple(trials)
            self._done |= {trial: self._work_until(trial, steps) for trial, steps in (begun or {}).items()}
            self._done |= {trial: self._whole(trial) for trial in finished}
            for best in self._best.values():
                best.add(finished)
            self._so_far = self._best[COMPARE].words() or self._best[TUNE].words()
            self._count()

    def begin(self, trials: Sequence[Trial]) -> Callable[[int], None]:
        with self._lock:
            self._spend()
            self._waiting |= set(trials)
            self._running |= set(trials)
            for trial in trials:
                self._paces[trial.variant].starts = True
            self._show(trials)
        return functools.partial(self._reached, tuple(trials))

    def end(self, results: Mapping[Trial, Result]) -> None:
        """Trials have ended. One that diverged or failed leaves nothing to do, and tells nothing of the pace."""
        with self._lock:
            self._spend()
            for trial, result in results.items():
                if trial in self._running and result.status == "done":
                    self._paces[trial.variant].work += self._whole(trial) - self._done.get(trial, 0.0)
                left = self._left[trial.variant] - (self._whole(trial) - self._done.get(trial, 0.0))
                self._left[trial.variant] = left if left > ROUNDING * self._total else 0.0
                self._done[trial] = self._whole(trial)
            self._running -= set(results)
            self._waiting -= set(results)
            best = self._best[list(results)[-1].phase]
            best.add(results)
            self._so_far = best.words()
            self._show(list(results))

    def _reached(self, trials: tuple[Trial, ...], steps: int) -> None:
        with self._lock:
            self._spend()
            for trial in trials:
                more = self._work_until(trial, steps) - self._done.get(trial, 0.0)
                self._done[trial] = self._done.get(trial, 0.0) + more
                self._left[trial.variant] -= more
                if trial not in self._waiting:  # what an earlier run did is no work of this one
                    self._paces[trial.variant].work += more
            self._waiting -= set(trials)
            self._show(trials)

    def _count(self) -> None:
        """Add up the work of all trials, and what is left of it. `_reached` and `end` count on."""
        self._total = sum(self._whole(trial) for trial in self._trials)
        self._left = dict.fromkeys(self._paces, 0.0)
        for trial in self._trials:
            self._left[trial.variant] += self._whole(trial) - self._done.get(trial, 0.0)

    def _spend(self) -> None:
        """Give the time since the last call to the networks of the trials that run."""
        now = time.monotonic()
        for trial in self._running:
            pace = self._paces[trial.variant]
            seconds = (now - self._last) / len(self._running)
            if trial in self._waiting and not pace.work:
                pace.starting += seconds
            else:
                pace.seconds += seconds
        self._last = now

    def _show(self, trials: Sequence[Trial]) -> None:
        at = place(self._plan, trials) if trials else ""
        note = "; ".join(part for part in (at, self._so_far) if part)
        self._bar.show(1 - sum(self._left.values()) / self._total, self._seconds_left(), note)

    def _seconds_left(self) -> float | None:
        """How long the rest takes; None as long as no trial tells."""
        paces = self._paces.values()
        work = sum(pace.work for pace in paces)
        known = [pace.known for pace in paces if pace.known is not None]
        if not work and not known:
            return None
        before = sum(known) / len(known) if known else 1.0
        mean = (sum(pace.seconds for pace in paces) + PRIOR * before) / (work + PRIOR)
        training = sum(left * self._paces[variant].estimate(mean) for variant, left in self._left.items())
        begun = [pace.starting for pace in paces if pace.starts]
        waiting = sum(left > 0 and not self._paces[variant].starts for variant, left in self._left.items())
        return training + (waiting * sum(begun) / len(begun) if begun else 0.0)

    def _whole(self, trial: Trial) -> float:
        return self._work[trial.variant, trial.phase]

    def _work_until(self, trial: Trial, steps: int) -> float:
        """The work of a trial's first steps, and of the evaluations between them; test images come at its end."""
        prepared = self._plan.prepared[trial.variant]
        return self._work[trial.variant, TUNE] * steps / (prepared.config.training.epochs * prepared.steps_per_epoch)

    def _work_of(self, variant: Any, *, test: bool) -> float:
        prepared = self._plan.prepared[variant]
        return trial_seconds(prepared, self._plan.study.dataset, speed.by_cost(prepared), test=test)

    def _known(self, variant: Any, finished: Mapping[Trial, Result]) -> float | None:
        known = known_speed(self._plan, variant, finished)
        return None if known is None else known.step / speed.by_cost(self._plan.prepared[variant]).step


def done_before(done: int, trials: int) -> str:
    """How many trials earlier runs have finished, in words.

    Example:
        >>> done_before(1, 44), done_before(31, 44)
        ('1 of 44 trials was done before', '31 of 44 trials were done before')
    """
    return f"{done} of {trials} trials {'was' if done == 1 else 'were'} done before"


def place(plan: Plan, trials: Sequence[Trial]) -> str:
    """Where a study is: the phase, the variant, and which of its seeds, of trials that run together.

    For example `comparing 2 blocks, seeds 3 and 4 of 5`, or `tuning 1 block at rate 0.003, seed 1 of 2`.
    """
    first = trials[0]
    config = plan.study.config
    tunes = first.phase == TUNE
    rates = [f"{rate:g}" for rate in sorted({trial.config.learning_rate for trial in trials})]
    seeds = sorted({trial.config.seed - (FIRST_TUNING_SEED if tunes else 0) + 1 for trial in trials})
    at = f" at {_counted('rate', rates)}" if tunes else ""
    of = config.tuning_seeds if tunes else config.seeds
    name = variant_name(first.column, first.variant)
    return f"{PHASES[first.phase]} {name}{at}, {_counted('seed', list(map(str, seeds)))} of {of}"


def _counted(word: str, values: Sequence[str]) -> str:
    """`seed 1`, `seeds 1 and 2`, or `seeds 1 to 3`, which may leave some out."""
    if len(values) == 1:
        return f"{word} {values[0]}"
    return f"{word}s {values[0]} {'and' if len(values) == 2 else 'to'} {values[-1]}"


class SoFar:
    """Which variant has the highest mean accuracy on validation images so far, in a phase.

    The rule of a sweep may take a smaller depth. The test images choose nothing, so they have no say here either. In
    tuning, each learning rate of a variant counts by itself.

    Args:
        phase: of the trials that count.
        results: the first ones.
    """

    def __init__(self, phase: str, results: Mapping[Trial, Result]) -> None:
        self.phase = phase
        self._counted: set[Trial] = set()
        self._sums: dict[tuple[Any, float], tuple[float, int]] = {}  # of accuracies, and how many
        self._columns: dict[Any, str] = {}
        self.add(results)

    def add(self, results: Mapping[Trial, Result]) -> None:
        """Count the results of trials that have finished, each trial once."""
        for trial, result in results.items():
            if trial.phase != self.phase or trial in self._counted or not trial.row(result).done:
                continue
            if result.val_accuracy is not None:
                self._counted.add(trial)
                key = (trial.variant, trial.config.learning_rate if self.phase == TUNE else 0.0)
                before, number = self._sums.get(key, (0.0, 0))
                self._sums[key] = (before + result.val_accuracy, number + 1)
                self._columns[trial.variant] = trial.column

    def words(self) -> str:
        """The best one; "" where none has an accuracy."""
        if not self._sums:
            return ""
        means = {key: (total / number, number) for key, (total, number) in self._sums.items()}
        best = max(means, key=lambda key: means[key][0])
        mean, number = means[best]
        name = variant_name(self._columns[best[0]], best[0])
        return f"best mean so far in {PHASES[self.phase]}: {name}, {100 * mean:.1f} % on validation (n={number})"
