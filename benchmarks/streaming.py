"""How long a training step takes whose batch the host gives, beside one whose images lie on the device.

    TFDS_DATA_DIR=... python -m benchmarks.streaming --rounds=7
    python -m benchmarks.streaming --datasets=digits --steps=20 --rounds=3

Network and settings are those of `train` for the data set, with one replica. Both sides do equally many steps in turn,
each in a process of its own; a turn begins with an empty reader, as after a pause. The table has the medians in
milliseconds, and the ratio of the times of a round. Compilation and a first turn are not timed.
"""

from typing import NamedTuple

from absl import flags

from benchmarks import report
from benchmarks.turns import Call, Side, take_turns
from cnn.data import datasets
from cnn.training.fit import Fit, Session
from cnn.training.prepared import prepare_trials
from experiments import train
from experiments.command import flags as command_flags

EPOCHS = 10_000  # more than a measurement reaches
SIDES = {"resident": False, "streamed": True}  # whether the images stay on the host


class Row(NamedTuple):
    """The seconds of a step on both sides, in each round."""

    dataset: str
    resident: list[float]
    streamed: list[float]

    @property
    def ratios(self) -> list[float]:
        """The time of a streamed step in each round, as a share of that of a resident one."""
        return [streamed / resident for streamed, resident in zip(self.streamed, self.resident, strict=True)]

    def cells(self) -> dict[str, str]:
        """The line as the table has it.

        Example:
            >>> Row("digits", [0.010, 0.020], [0.011, 0.021]).cells()["ratio"]
            '1.07 (1.05 to 1.10)'
        """
        times = {f"{side}, ms": report.spread([1e3 * each for each in getattr(self, side)], 2) for side in SIDES}
        return {"data set": self.dataset, **times, "ratio": report.spread(self.ratios, 2)}


def side(dataset: str, stream: bool, steps: int) -> Call:
    """A function that does so many training steps, and goes on where it ended before."""
    values = command_flags.define(train.COMMAND)
    command_flags.parse(values, ["train", f"--dataset={dataset}", f"--epochs={EPOCHS}"])
    config = command_flags.configure(values, train.COMMAND)
    loaded = datasets.load(dataset)
    fit = Fit(Session(loaded, stream=stream), prepare_trials(config, loaded), [config])

    def call() -> None:
        end = fit.steps + steps
        while fit.steps < end:
            next(fit.epochs(pause=lambda: fit.begun >= end))

    return call


def measure(dataset: str, steps: int, rounds: int) -> Row:
    """Time both sides in turn."""
    sides = {name: Side(side, dataset, stream, steps) for name, stream in SIDES.items()}
    try:
        seconds = take_turns(sides, rounds)
    finally:
        for each in sides.values():
            each.close()
    return Row(dataset, **{name: [whole / steps for whole in seconds[name]] for name in SIDES})


def main(options: flags.FlagValues) -> None:
    """Measure, print the table, and write it where asked."""
    rows = [measure(dataset, options.steps, options.rounds) for dataset in options.datasets]
    print(f"{report.table([row.cells() for row in rows])}\n\n{options.rounds} rounds of {options.steps} steps")
    settings = {name: options[name].value for name in ("datasets", "steps", "rounds")}
    report.write(options.output, settings, {"rows": [row._asdict() for row in rows]})


def define_flags(values: flags.FlagValues) -> None:
    """Define the benchmark's flags."""
    flags.DEFINE_list("datasets", "mnist,cifar10", "names of data sets", flag_values=values)
    flags.DEFINE_integer("steps", 50, "of a turn", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("rounds", 7, "how often each side is timed", lower_bound=1, flag_values=values)
    flags.DEFINE_string("output", None, "a JSON file for the numbers", flag_values=values)


if __name__ == "__main__":
    report.run(main, define_flags)
