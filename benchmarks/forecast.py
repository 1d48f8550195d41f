"""How close the forecast of `--dry_run` comes to the time that a sweep takes, before it begins and half-way through.

    TFDS_DATA_DIR=... python -m benchmarks.forecast
    python -m benchmarks.forecast --dataset=digits --blocks=0,1 --rounds=1

Each round has a work folder of its own, which is empty, and nothing compiled. The first forecast is made there, from
measured steps; what it compiles is kept for the sweep, as the commands keep it. The sweep stops when half of its trials
are done. The second forecast is made from these, and the sweep runs to its end. The first forecast's truth is the time
of both parts, the second's that of the second part: both with the data on the device and the first results in the work
folder, without imports and without the answer. The ratio is the truth over the forecast. The table has medians, the
lowest and the highest in brackets.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from benchmarks import report
from cnn.data import datasets
from cnn.machine import Machine
from cnn.study.executors import Here
from cnn.study.folder import StudyFolder
from cnn.study.forecast import forecast
from cnn.study.outlook import Outlook
from cnn.study.plan import Plan, Study, Trial
from cnn.study.run import overview, running
from cnn.study.shards import Shard
from cnn.training.fit import Session
from cnn.training.folder import Outcome
from cnn.training.trial import Options
from experiments import sweep_blocks
from experiments.command import compiled
from experiments.command import flags as command_flags

SETTINGS = {
    "dataset": "mnist",
    "blocks": "1,2",
    "learning_rates": "1e-3,3e-3",
    "seeds": "2",
    "tuning_seeds": "1",
    "epochs": "1",
}


class Half(Exception):
    """Half of the trials are done."""


class Stopping:
    """Runs trials in this process, and raises `Half` once so many of them are done."""

    def __init__(self, here: Here, trials: int) -> None:
        self.here = here
        self.left = trials

    def check(self, plan: Plan, shard: Shard | None) -> None:
        """Refuse nothing."""

    def runs_on(self) -> Machine:
        """The machine of this process."""
        return self.here.runs_on()

    def run(
        self, plan: Plan, folder: StudyFolder, trials: Sequence[Trial], options: Options, progress: Outlook
    ) -> Iterator[Mapping[Trial, Outcome]]:
        """Run trials as `Here` does."""
        for outcomes in self.here.run(plan, folder, trials, options, progress):
            yield outcomes
            self.left -= len(outcomes)
            if self.left <= 0:
                raise Half


class Forecasted(NamedTuple):
    """A forecast: how many trials were done, how many there are, and the seconds that it says for the rest."""

    done: int
    trials: int
    seconds: float


def measure(study: Study, folder: Path) -> list[dict[str, float]]:
    """The forecast before a sweep begins, the forecast half-way, and the seconds that the rest took from there."""
    workdir = folder / "sweep"
    with compiled.kept(folder / "compiled"):
        before = _forecast(study, workdir)
        first = _seconds(study, workdir, -(-before.trials // 2))
        halfway = _forecast(study, workdir)
        second = _seconds(study, workdir, before.trials)
    truths = (first + second, second)
    return [
        {"done": said.done, "trials": said.trials, "forecast": said.seconds, "truth": truth}
        for said, truth in zip((before, halfway), truths, strict=True)
    ]


def _forecast(study: Study, workdir: Path) -> Forecasted:
    planned = overview(study, workdir)
    said = forecast(planned.plan, planned.missing, planned.finished)
    done = len(planned.finished)
    return Forecasted(done, done + len(planned.missing), said.seconds)


def _seconds(study: Study, workdir: Path, trials: int) -> float:
    """How long a sweep runs until so many more trials are done, or all."""
    started = time.perf_counter()
    with Session(study.dataset) as session:
        executor = Stopping(Here(session), trials)
        try:
            with running(study, workdir, executor=executor):
                pass
        except Half:
            pass
    return time.perf_counter() - started


def asked(options: flags.FlagValues) -> Study:
    """The sweep that the flags ask for, with the command's defaults for all other settings."""
    values = command_flags.define(sweep_blocks.EXPERIMENT)
    command_flags.parse(values, ["sweep_blocks", *(f"--{name}={options[name].value}" for name in SETTINGS)])
    config = command_flags.configure(values, sweep_blocks.EXPERIMENT)
    return sweep_blocks.study(config, datasets.load(config.dataset))


def cells(rounds: list[dict[str, float]]) -> dict[str, str]:
    """The forecasts that were made after equally many trials, as the table has them."""
    first = rounds[0]
    return {
        "trials done": f"{first['done']} of {first['trials']}",
        "forecast, s": report.spread([each["forecast"] for each in rounds], 1),
        "truth, s": report.spread([each["truth"] for each in rounds], 1),
        "ratio": report.spread([each["truth"] / each["forecast"] for each in rounds], 2),
    }


def main(options: flags.FlagValues) -> None:
    """Measure, print the table, and write it where asked."""
    study = asked(options)
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measure(study, Path(folder)))
    print(f"{report.table([cells(list(same)) for same in zip(*rounds, strict=True)])}\n\n{options.rounds} rounds")
    settings: dict[str, Any] = {name: options[name].value for name in (*SETTINGS, "rounds")}
    report.write(options.output, settings, {"rounds": rounds})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    for name, value in SETTINGS.items():
        flags.DEFINE_string(name, value, f"as the flag of sweep_blocks: {name}", flag_values=options)
    flags.DEFINE_integer("rounds", 3, "sweeps", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
