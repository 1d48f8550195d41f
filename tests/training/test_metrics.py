"""Which trained network has collapsed: by hand, and of a real training on few images of one very common class."""

import dataclasses

import numpy as np
import pytest

from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.errors import RequestError
from cnn.training import metrics, trial


@pytest.mark.parametrize(
    "right, images, commonest, collapsed",
    [
        # A perfect network of n images is better than a share q where q^n < 0.001, and has never collapsed.
        (9, 9, 0.5, None),  # 1/512
        (10, 10, 0.5, False),  # 1/1024
        (30, 30, 0.8, None),  # 0.00124
        (31, 31, 0.8, False),  # 0.00099
        (65, 65, 0.9, None),  # 0.00106
        (66, 66, 0.9, False),  # 0.00096
        (134, 134, 0.95, None),  # 0.00103
        (135, 135, 0.95, False),  # 0.00098
        (69, 70, 0.9, None),  # one wrong: 0.9^70 + 70 x 0.1 x 0.9^69 = 0.0055
        (54, 60, 0.9, None),  # always the commonest class, of too few images: 6 wrong where half as many would be 3
        (540, 600, 0.9, True),  # 60 wrong where half as many would be 30: 5.6 standard errors of 5.3
        (0, 5, 0.1, None),  # 5 wrong of 5, where a network of 0.55 has them so in 0.45^5 = 0.018
        (0, 9, 0.1, True),  # 0.45^9 = 0.00076
        (15, 144, 0.1, True),
        (140, 144, 0.1, False),
        (625, 6000, 0.1124, True),  # 10.42 % of MNIST
        (720, 6000, 0.1124, True),  # 12.00 %: 1.9 standard errors above
        (780, 6000, 0.1124, False),  # 13.00 %: 4.3 standard errors above
    ],
)
def test_collapsed_needs_evidence_for_chance(right, images, commonest, collapsed):
    assert metrics.at_chance(right, images, commonest) is collapsed


@pytest.mark.parametrize("content", ['{"epoch": 1, "train_lo', '{"era": 1}\n', "[]\n"])
def test_a_damaged_file_is_named(content, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(content)
    with pytest.raises(RequestError, match=r"metrics\.jsonl: is damaged; remove .*, and the command that made it"):
        metrics.read_epochs(path)


@pytest.mark.slow
def test_a_training_on_few_images_of_one_very_common_class_has_not_collapsed():
    """Is it a 0? 600 training images, a tenth of them zeros: 60 validate, which tell no network from chance."""
    digits = datasets.load("digits")
    labels = {part: (getattr(digits, f"{part}_labels") == 0).astype(np.int32) for part in ("train", "test")}
    few = dataclasses.replace(
        digits,
        train_images=digits.train_images[:600],
        train_labels=labels["train"][:600],
        test_labels=labels["test"],
        class_names=("other", "zero"),
    )
    training = TrainingConfig(epochs=15, batch_size=32)
    network = NetworkConfig(blocks=1, width=8)
    config = TrialConfig("digits", 0.1, learning_rate=0.01, network=network, training=training)
    result = trial.run(config, few).result
    assert result.val_accuracy > 0.98 and result.collapsed is None
