"""A sweep over depths as others would write it, in plain Flax Linen or in PyTorch.

    python -m benchmarks.peers_sweep --library=PyTorch --settings=JSON

For each depth it trains at every learning rate with each tuning seed, and takes the rate whose mean validation accuracy
is highest; of equal ones, the smallest. At this rate it trains anew with each of the other seeds, and tests. Where one
rate is given there is nothing to choose. These are the trainings of `experiments.sweep_blocks`: the same seeds, images
and splits. Each epoch ends with the validation accuracy.

The settings are those of a `SweepConfig` as `cnn.config.to_json` gives them, for a data set of ten classes. Prints a
line of JSON: for each depth the rate, the test accuracy of each seed, and the number of trainings.
"""

import json
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from absl import flags

from benchmarks import report
from benchmarks.problems import Problem
from cnn.config import FIRST_TUNING_SEED, SweepConfig, from_json
from cnn.data.content import Dataset

FLAX = "plain Flax Linen"
PYTORCH = "PyTorch"


@runtime_checkable
class Learner(Protocol):
    """Trains the networks of a sweep, one after another."""

    def train(self, problem: Problem, rate: float, seed: int) -> float:
        """Train a new network; its validation accuracy after the last epoch."""

    def test(self) -> float:
        """The test accuracy of the network that was trained last."""


class Depth(NamedTuple):
    """What a sweep found for one depth."""

    blocks: int
    learning_rate: float
    test_accuracies: list[float]  # of each seed
    trainings: int


def sweep(config: SweepConfig, image_shape: tuple[int, int, int], learner: Learner) -> list[Depth]:
    """Choose the learning rate of each depth, and test there."""
    return [_depth(config, problem_of(config, image_shape, blocks), learner) for blocks in config.blocks]


def problem_of(config: SweepConfig, image_shape: tuple[int, int, int], blocks: int) -> Problem:
    """The network of one depth, and the batch that it learns from.

    Example:
        >>> problem_of(SweepConfig(), (28, 28, 1), blocks=2).widths
        [32, 64]
    """
    return Problem(image_shape, replace(config.network, blocks=blocks), config.training.batch_size)


def _depth(config: SweepConfig, problem: Problem, learner: Learner) -> Depth:
    tuning_seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + config.tuning_seeds)
    rates = sorted(config.learning_rates)
    tuned = {rate: [learner.train(problem, rate, seed) for seed in tuning_seeds] for rate in rates if len(rates) > 1}
    best = max(tuned, key=lambda rate: np.mean(tuned[rate])) if tuned else rates[0]
    tested = []
    for seed in range(config.seeds):
        learner.train(problem, best, seed)
        tested.append(learner.test())
    trainings = sum(map(len, tuned.values())) + len(tested)
    return Depth(problem.network.blocks, best, tested, trainings)


def learner_of(library: str, config: SweepConfig, data: Dataset) -> Learner:
    """The sweep's networks in a library, which is imported here, so that one side's process does not load another's."""
    if library == PYTORCH:
        from benchmarks.sweep_torch import TorchLearner

        return TorchLearner(config, data)
    from benchmarks.sweep_flax import FlaxLearner

    return FlaxLearner(config, data)


def main(options: flags.FlagValues) -> None:
    """Sweep, and print the line of JSON."""
    from cnn.data import datasets

    config = from_json(SweepConfig, json.loads(options.settings))
    if options.compiled_dir:
        from benchmarks.sweep_flax import keep_compiled

        keep_compiled(options.compiled_dir)
    data = datasets.load(config.dataset)
    found = sweep(config, data.image_shape, learner_of(options.library, config, data))
    print(json.dumps([depth._asdict() for depth in found]))


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_enum("library", FLAX, [FLAX, PYTORCH], "what the networks are written in", flag_values=options)
    flags.DEFINE_string("settings", None, "a SweepConfig as JSON", required=True, flag_values=options)
    flags.DEFINE_string("compiled_dir", None, "where JAX keeps compiled programs", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
