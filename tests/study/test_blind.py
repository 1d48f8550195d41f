"""No test example in any choice: real sweeps on data whose test part is spoilt choose alike, to the bit."""

import dataclasses

import numpy as np
import pytest

from cnn.config import NetworkConfig, SweepConfig, TrainingConfig
from cnn.study import answer
from tests.study.small import run, study

pytestmark = pytest.mark.thorough

CONFIG = SweepConfig(
    "digits",
    blocks=(0, 1),
    learning_rates=(1e-4, 1e-2),
    seeds=2,
    tuning_seeds=1,
    network=NetworkConfig(width=8, hidden=16),
    training=TrainingConfig(epochs=3),
)
CHOICES = ("blocks", "learning_rate", "val_mean", "val_std", "val_low", "val_high", "shortfall", "allowance")


def swept(dataset, folder):
    """The results of a sweep without its test accuracies, these alone, and what it chose."""
    results = run(study(dataset, CONFIG), folder)
    correct = {blocks: results.correct(blocks) for blocks in CONFIG.blocks}
    answered = answer.answer(results.rows, dataset="digits", match="width", margin=0.05, correct=correct)
    rows = [
        (row.phase, row.variant, row.learning_rate, row.seed, row.result.status, row.result.val_accuracy)
        for row in results.rows
    ]
    accuracies = [row.result.test_accuracy for row in results.rows if row.result.test_accuracy is not None]
    chosen = [answered.recommended, answered.rule]
    chosen += [[depth.to_json()[name] for name in CHOICES] for depth in answered.depths]
    return rows, accuracies, chosen


@pytest.fixture(scope="module")
def sound(digits, tmp_path_factory):
    return swept(digits, tmp_path_factory.mktemp("sound"))


def test_labels_and_images_of_the_test_part_choose_nothing(digits, sound, tmp_path):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, digits.test_images.shape, dtype=np.uint8)
    spoilt = dataclasses.replace(
        digits, test_images=noise, test_labels=generator.permutation(digits.test_labels), fingerprint="0123456789ab"
    )
    rows, test_accuracy, chosen = swept(spoilt, tmp_path)
    assert rows == sound[0] and chosen == sound[2]
    assert max(test_accuracy) < 0.3 < min(sound[1])  # it was spoilt


def test_labels_of_the_training_part_would_be_noticed(digits, sound, tmp_path):
    labels = np.random.default_rng(0).permutation(digits.train_labels)
    spoilt = dataclasses.replace(digits, train_labels=labels, fingerprint="0123456789ab")
    rows, _, chosen = swept(spoilt, tmp_path)
    assert rows != sound[0] and chosen != sound[2]
