"""The result of a trial that has trained, from its record and its fit: accuracies, cost, and how fast it was."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from cnn.network import summary
from cnn.training.fit import Fit
from cnn.training.folder import Result
from cnn.training.metrics import at_chance
from cnn.training.rate import product_rate
from cnn.training.record import Record


def result(record: Record, fit: Fit, right: np.ndarray | None, measured: Mapping[str, float | None]) -> Result:
    """The result of a trial.

    Args:
        record: its epochs, the last one at the end or where it diverged.
        fit: what trained it.
        right: bool [test images]; None where the test set was not read.
        measured: by the experiment.
    """
    done = record.bad_step is None
    here = fit.session.machine
    seconds = sum(epoch.seconds for epoch in record.epochs)
    rates = _rates(record, fit, seconds)
    return Result(
        status="done" if done else "diverged",
        bad_step=record.bad_step,
        val_accuracy=record.epochs[-1].val_accuracy if done else None,
        test_accuracy=None if right is None else float(right.mean()),
        test_examples=None if right is None else len(right),
        collapsed=_collapsed(record, fit, right) if done else None,
        parameters=fit.prepared.cost.parameters,
        macs=fit.prepared.cost.macs,
        epochs=len(record.epochs),
        compile_seconds=fit.compile_seconds,
        train_seconds=seconds,
        steps_per_second=rates.steps,
        images_per_second=rates.images,
        share_of_matrix_product=rates.share,
        devices=len(fit.session.devices),
        dataset_fingerprint=fit.session.dataset.fingerprint,
        jax=jax.__version__,
        device=here.device,
        machine=here.digest(),
        same_machine=record.same_machine,
        measured=measured,
    )


class _Rates(NamedTuple):
    """Steps and images in a second, and the share of a matrix product's operations; None is unknown."""

    steps: float | None = None
    images: float | None = None
    share: float | None = None


def _rates(record: Record, fit: Fit, seconds: float) -> _Rates:
    """How fast a trial trained that took so many seconds. Trials that ran together have the rate of all of them."""
    if not seconds:
        return _Rates()
    prepared = fit.prepared
    training = prepared.config.training
    steps = len(record.epochs) * prepared.steps_per_epoch / seconds
    images = steps * training.batch_size
    operations = summary.training_operations(prepared.network, prepared.task.image_shape)
    # Where another machine did a part of the work, no device's rate is the one to compare with.
    rate = product_rate(fit.session.machine, training.precision) if operations and record.same_machine else None
    return _Rates(steps, images, None if rate is None else images * operations / rate)


def _collapsed(record: Record, fit: Fit, right: np.ndarray | None) -> bool | None:
    """Whether the trained network is no better than always the commonest class; None where no image tells.

    Validation images tell; without them, test images do. Where objects are to be found, chance is not known.
    """
    dataset = fit.session.dataset
    accuracy = record.epochs[-1].val_accuracy
    if record.config.scene.objects:
        return None
    if accuracy is not None:
        images = fit.validation_images
        return at_chance(round(accuracy * images), images, _commonest(dataset.train_labels))
    return None if right is None else at_chance(int(right.sum()), len(right), _commonest(dataset.test_labels))


def _commonest(labels: np.ndarray) -> float:
    return float(np.bincount(labels).max() / len(labels))
