"""How long a trial takes at a network's speed, and where the speed comes from.

A trial's time is that of its steps, of the evaluations of its validation images, and of one of the test images where it
reads them. Compilation is not in it.

Example:
    >>> from cnn.config import TrialConfig
    >>> from cnn.data import datasets
    >>> from cnn.training.prepared import prepare_trials
    >>> digits = datasets.load("digits")
    >>> prepared = prepare_trials(TrialConfig("digits"), digits)  # 22 steps in each of 10 epochs, no validation image
    >>> round(trial_seconds(prepared, digits, Speed(step=0.01, image=1e-4), test=True), 3)
    2.236
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from cnn.config import TrialConfig
from cnn.data.content import Dataset
from cnn.training.fit import Fit, Session
from cnn.training.prepared import Prepared

MEASURED_SECONDS = 1.0  # of steps
FORWARD_SHARE = 1 / 3  # of a step's time that an evaluation takes for an image: a step goes forward and twice back
# A rough speed by a network's cost alone: what a step takes whatever the network is, in multiply-accumulates, and how
# many are done in a second. They set how far a bar moves for each network, and are no forecast.
STEP_COST = 2e7
RATE = 5e10


class Speed(NamedTuple):
    """Seconds of one step and of one evaluated image, for trials that run together, and how many run together."""

    step: float
    image: float
    together: int = 1


def by_cost(prepared: Prepared) -> Speed:
    """A rough speed, from the network's multiply-accumulates: it compares networks, and is no forecast."""
    size = prepared.config.training.batch_size
    return _of_step(prepared, (STEP_COST + size * prepared.cost.macs / FORWARD_SHARE) / RATE)


def by_results(prepared: Prepared, train_seconds: Sequence[float]) -> Speed:
    """The speed that finished trials of a network had.

    Args:
        prepared: the settings that the trials share.
        train_seconds: of each trial (at least one); where trials ran together, each has its share of the time.
    """
    training = prepared.config.training
    mean = sum(train_seconds) / len(train_seconds)
    return _of_step(prepared, mean / (training.epochs * prepared.steps_per_epoch))


def measured(session: Session, prepared: Prepared, configs: Sequence[TrialConfig]) -> Speed:
    """The speed of trials that train together for a moment; what they learn is lost.

    Args:
        session: what the trials of this process share.
        prepared: the settings that the trials share.
        configs: the trials, as many as run together.
    """
    fit = Fit(session, prepared, configs)
    end = time.perf_counter() + MEASURED_SECONDS
    seconds = 0.0
    for ended in fit.epochs(pause=lambda: time.perf_counter() >= end):
        seconds += sum(epoch.seconds for epoch, _ in ended)
        if time.perf_counter() >= end:
            break
    seconds += sum(snapshot.seconds for snapshot in fit.snapshot())  # of the epoch in progress
    if not fit.validation_images:
        return _of_step(prepared, seconds / fit.steps)._replace(together=len(configs))
    fit.validation_answers()  # compiles
    begun = time.perf_counter()
    fit.validation_answers()
    image = (time.perf_counter() - begun) / fit.validation_images
    return Speed(seconds / fit.steps, image, len(configs))


def trial_seconds(prepared: Prepared, dataset: Dataset, speed: Speed, *, test: bool, done: int = 0) -> float:
    """How long a trial takes, or a group of trials that run together.

    Args:
        prepared: the settings of the trial.
        dataset: what it learns from.
        speed: of its network.
        test: whether it reads the test images.
        done: how many of its steps are done already.
    """
    training = prepared.config.training
    total = training.epochs * prepared.steps_per_epoch
    images = round(prepared.config.validation_fraction * len(dataset.train_labels))
    left = 1 - done / total
    seconds = left * (total * speed.step + prepared.validations(images) * images * speed.image)
    return seconds + (len(dataset.test_labels) * speed.image if test else 0.0)


def _of_step(prepared: Prepared, step: float) -> Speed:
    views = 2 if prepared.task.mirror else 1
    return Speed(step, views * FORWARD_SHARE * step / prepared.config.training.batch_size)
