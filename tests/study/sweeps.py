"""Finished sweeps, made of accuracies."""

import dataclasses
from pathlib import Path

from cnn.config import SweepConfig
from cnn.study.swept import Swept
from tests.study.trials import answered, compared

CLOSE = {1: [0.970, 0.971, 0.969, 0.972], 2: [0.971, 0.969, 0.970, 0.972], 3: [0.970, 0.970, 0.971, 0.971]}
DEEP = {1: [0.900, 0.902, 0.898, 0.900], 2: [0.940, 0.941, 0.939, 0.940], 3: [0.960, 0.961, 0.958, 0.961]}
SHALLOW = {1: DEEP[3], 2: DEEP[2], 3: DEEP[1]}


def swept(accuracies, dataset="mnist", folder="", fingerprint="", deeper_fits=True, **network):
    """A sweep of these accuracies, {depth: [of seed 0, 1, ...]}; None is a diverged trial.

    Two sweeps of one data set learnt from the same images, unless a fingerprint says otherwise.
    """
    default = SweepConfig(dataset, blocks=tuple(accuracies), seeds=max(map(len, accuracies.values())))
    config = dataclasses.replace(default, network=dataclasses.replace(default.network, **network))
    answer = answered(compared(accuracies), dataset, deeper_fits=deeper_fits)
    return Swept(Path(folder or f"runs/{dataset}"), config, fingerprint or dataset, answer)
