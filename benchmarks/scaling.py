"""How many trials an hour workers of Ray do on this machine, what a task costs beside its training, and what follows.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --workers=1,2 --trials=12 --epochs=20 --machines=100 --study=10000

Each worker has one core and runs one trial after another: seeds of a network of one block on digits. The rate is that
of the second half of the trials, which must be many times as many as the workers: by then every worker has ended its
first one. The cost of a task is the time from a worker's result to its next one, less the training steps of that trial:
the order, the lock, the evaluations and the files. Of the first task it is the time from the order on: the process gets
the data set and compiles.

The last line says what a study of `--study` trials takes on so many machines of as many cores as this one: the trials
of a core one after another, or the driver's own work if that is longer. The latter is measured with so many real tasks
of Ray that give a result at once and write no file. That machines do not slow each other down is assumed.
"""

import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from absl import flags

from benchmarks import report
from cnn import machine
from cnn.config import SweepConfig
from cnn.data import datasets
from cnn.errors import RequestError
from cnn.machine import NUMBER_OF_THREADS, Machine
from cnn.study.folder import StudyFolder
from cnn.study.on_ray import OnRay
from cnn.study.outlook import Outlook
from cnn.study.plan import Plan, Study, Trial
from cnn.study.ray_cluster import Cluster
from cnn.study.ray_worker import OfDriver, Order
from cnn.study.run import running
from cnn.study.shards import Shard
from cnn.training.folder import Outcome, Result
from cnn.training.trial import Options
from experiments import sweep_blocks


class Ended(NamedTuple):
    """A trial that has ended: seconds from the first order to its result's file, and those of its training steps."""

    at: float
    training: float


class Timed:
    """Runs trials on Ray, and keeps when each has ended."""

    def __init__(self, on_ray: OnRay) -> None:
        self.on_ray = on_ray
        self.ended: list[Ended] = []

    def runs_on(self) -> Machine:
        """The machine of a worker."""
        return self.on_ray.runs_on()

    def check(self, plan: Plan, shard: Shard | None) -> None:
        """Refuse what `OnRay` refuses."""
        self.on_ray.check(plan, shard)

    def run(
        self, plan: Plan, folder: StudyFolder, trials: Sequence[Trial], options: Options, progress: Outlook
    ) -> Iterator[Mapping[Trial, Outcome]]:
        """Run trials as `OnRay` does."""
        started = time.time()  # as files have it
        for outcomes in self.on_ray.run(plan, folder, trials, options, progress):
            for trial, outcome in outcomes.items():
                written = (folder.trial(trial).path / "result.json").stat().st_mtime
                self.ended.append(Ended(written - started, outcome.result.train_seconds or 0.0))
            yield outcomes


class Row(NamedTuple):
    """What was measured with a number of workers."""

    workers: int
    joining: float  # seconds until the cluster has its first worker
    ended: list[Ended]

    @property
    def cold(self) -> float:
        """Seconds of the first task beside its training."""
        return self.ended[0].at - self.ended[0].training

    @property
    def each(self) -> float:
        """Seconds from a worker's result to its next one, on average."""
        return self.workers * (self.ended[-1].at - self.ended[-len(self.later) - 1].at) / len(self.later)

    @property
    def reused(self) -> float:
        """Seconds of a later task beside its training, on average."""
        return self.each - sum(one.training for one in self.later) / len(self.later)

    @property
    def later(self) -> list[Ended]:
        """The second half of the trials."""
        return self.ended[-(len(self.ended) // 2) :]

    def cells(self) -> dict[str, str]:
        """The line as the table has it.

        Example:
            >>> row = Row(1, 5.0, [Ended(4.0, 1.0), Ended(5.5, 1.0), Ended(7.0, 1.0)])
            >>> list(row.cells().values())
            ['1', '2400', '5.0', '3.00', '0.50']
        """
        return {
            "workers": str(self.workers),
            "trials an hour": f"{3600 * self.workers / self.each:.0f}",
            "joining, s": f"{self.joining:.1f}",
            "first task, s": f"{self.cold:.2f}",
            "later task, s": f"{self.reused:.2f}",
        }


def sweep(trials: int, epochs: int) -> Study:
    """A study of so many trials of one network."""
    config = SweepConfig("digits", blocks=(1,), learning_rates=(3e-3,), seeds=trials)
    config = replace(config, training=replace(config.training, epochs=epochs))
    return sweep_blocks.study(config, datasets.load("digits"))


def measure(workers: int, study: Study) -> Row:
    """Run a study with so many workers."""
    before = {name: os.environ.get(name) for name in NUMBER_OF_THREADS}
    os.environ.update(dict.fromkeys(NUMBER_OF_THREADS, str(workers)))  # the cores of the cluster
    try:
        with tempfile.TemporaryDirectory() as folder, OnRay(Cluster()) as on_ray:
            started = time.perf_counter()
            on_ray.runs_on()
            joining = time.perf_counter() - started
            timed = Timed(on_ray)
            with running(study, Path(folder), keep="none", executor=timed):
                return Row(workers, joining, sorted(timed.ended))
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


class _AtOnce(OnRay):
    """Workers train nothing: each trial has the same result, at once."""

    @staticmethod
    def run_group(order: Order) -> Mapping[Trial, Outcome] | RequestError | OSError:
        """The outcomes of an order, of which as much is told as of one short epoch."""
        OfDriver(order.board).begin(order.trials)(1)
        result = Result("done", val_accuracy=0.5, test_accuracy=0.5, train_seconds=1.0)
        return dict.fromkeys(order.trials, Outcome(result))


def driver_seconds(trials: int) -> float:
    """What the driver needs for a result, in seconds: the plan, the task, the bar, and the table, over so many."""
    with tempfile.TemporaryDirectory() as folder, _AtOnce(Cluster()) as on_ray:
        on_ray.runs_on()
        started = time.perf_counter()
        with running(sweep(trials, epochs=1), Path(folder), keep="none", executor=on_ray):
            return (time.perf_counter() - started) / trials


def extrapolated(row: Row, driver: float, trials: int, machines: int, cores: int) -> str:
    """What a study takes on machines of so many cores, and the numbers that this rests on.

    Example:
        >>> row = Row(1, 5.0, [Ended(4.0, 1.0), Ended(5.5, 1.0), Ended(7.0, 1.0)])
        >>> extrapolated(row, 0.02, 10_000, 100, 2)
        '10000 trials on 100 machines of 2 cores: 200 s (begin 8 s; workers 75 s; the driver 200 s, 0.020 s a result)'
    """
    begin = row.joining + row.cold
    workers = math.ceil(trials / (machines * cores)) * row.each
    asked = f"{trials} trials on {machines} machines of {cores} cores"
    ground = (
        f"begin {begin:.0f} s; workers {workers:.0f} s; the driver {trials * driver:.0f} s, {driver:.3f} s a result"
    )
    return f"{asked}: {max(begin + workers, trials * driver):.0f} s ({ground})"


def main(options: flags.FlagValues) -> None:
    """Measure, print the table and what follows, and write the numbers where asked."""
    study = sweep(options.trials, options.epochs)
    rows = [measure(int(workers), study) for workers in options.workers]
    driver = driver_seconds(options.study)
    whole = extrapolated(rows[-1], driver, options.study, options.machines, machine.cores())
    print(
        f"{report.table([row.cells() for row in rows])}\n\n{options.trials} trials of {options.epochs} epochs\n{whole}"
    )
    settings = {name: options[name].value for name in ("workers", "trials", "epochs", "machines", "study")}
    report.write(options.output, settings, {"rows": [row._asdict() for row in rows], "driver_seconds": driver})


def define_flags(values: flags.FlagValues) -> None:
    """Define the benchmark's flags."""
    flags.DEFINE_list("workers", "1,2", "numbers of workers, each with one core", flag_values=values)
    flags.DEFINE_integer("trials", 40, "with each number of workers", lower_bound=4, flag_values=values)
    flags.DEFINE_integer("epochs", 20, "of a trial", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("machines", 100, "of the study that is extrapolated", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("study", 10_000, "its trials", lower_bound=2, flag_values=values)
    flags.DEFINE_string("output", None, "a JSON file for the numbers", flag_values=values)


if __name__ == "__main__":
    report.run(main, define_flags)
