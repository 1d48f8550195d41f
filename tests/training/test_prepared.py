"""Settings against the data: what is refused, and after which epochs validation images are evaluated."""

import dataclasses

import numpy as np
import pytest

from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data.content import Dataset
from cnn.errors import RequestError
from cnn.training.prepared import prepare_trials

CONFIG = TrialConfig("digits", validation_fraction=0.1, network=NetworkConfig(blocks=1, width=4, hidden=8))


def two(images):
    """A data set of two classes."""
    pixels = np.zeros((images, 8, 8, 1), np.uint8)
    labels = np.arange(images, dtype=np.int32) % 2
    return Dataset("two", pixels, labels, pixels, labels, ("a", "b"), "", "two")


def test_a_batch_larger_than_the_training_part_is_refused(digits):
    config = dataclasses.replace(CONFIG, training=TrainingConfig(batch_size=1294))
    with pytest.raises(RequestError, match="batch_size=1294: must be at most 1293, since digits has 1293"):
        prepare_trials(config, digits)


def test_steps_are_counted_in_32_bits():
    with pytest.raises(RequestError, match=r"^epochs=500000: must be at most 429496, with 5000 steps in each$"):
        prepare_trials(TrialConfig("two", training=TrainingConfig(500_000, 1)), two(5000))


def test_another_data_set_than_the_settings_name_is_refused(digits):
    with pytest.raises(RequestError, match=r"^dataset='mnist': must be digits, which was loaded$"):
        prepare_trials(dataclasses.replace(CONFIG, dataset="mnist"), digits)


def test_a_batch_that_is_no_whole_number_of_ghost_batches_is_refused(digits):
    network = NetworkConfig(normalization="ghost", ghost_batch=24)
    with pytest.raises(RequestError, match=r"^ghost_batch=24: must be a number of images that divides batch_size=64$"):
        prepare_trials(dataclasses.replace(CONFIG, network=network), digits)


@pytest.mark.parametrize(
    "fraction, epochs, validated",
    [
        (0.0, 3, [1, 2, 3]),  # without a validation image there is nothing to evaluate, whatever the epoch
        (0.1, 3, [1, 2, 3]),
        (0.5, 5, [1, 2, 3, 4, 5]),  # 500 images validate, and as many learn
        (0.6, 5, [2, 3, 5]),  # 600 and 400: after 800, 1200 and 2000 images
        (0.9, 19, [9, 18, 19]),  # 900 and 100
        (0.99, 5, [5]),
        (0.99, 1, [1]),
    ],
)
def test_no_more_images_validate_than_learn_but_at_the_end(fraction, epochs, validated):
    training = TrainingConfig(epochs, batch_size=10)
    network = NetworkConfig(blocks=1, width=4, hidden=8)
    config = TrialConfig("two", validation_fraction=fraction, network=network, training=training)
    prepared = prepare_trials(config, two(1000))
    held_out = round(fraction * 1000)
    assert [epoch for epoch in range(1, epochs + 1) if prepared.validates(epoch, held_out)] == validated
    assert prepared.validations(held_out) == len(validated)
