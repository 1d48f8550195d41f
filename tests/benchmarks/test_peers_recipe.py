"""PyTorch's side of a race to an accuracy: it learns, and its augmentation does what its settings say."""

import numpy as np
import pytest

from benchmarks import peers_recipe
from benchmarks.peers_recipe import Recipe
from cnn.config import NetworkConfig, TrainingConfig

pytestmark = pytest.mark.thorough
torch = pytest.importorskip("torch")
NETWORK = NetworkConfig(blocks=1, convolutions=2, width=8, normalization="batch", head="average")
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (64, 1, 8, 8), np.uint8))


def augmented(**settings):
    torch.manual_seed(0)
    return peers_recipe.augmented(IMAGES, TrainingConfig(**settings))


def test_it_learns():
    recipe = Recipe(NETWORK, TrainingConfig(epochs=3, batch_size=64, weight_decay=5e-4), learning_rate=0.2)
    accuracies = [peers_recipe.train("digits", seed=0, recipe=recipe, validation_fraction=0.1) for _ in range(2)]
    assert accuracies[0] == accuracies[1] and 0.7 < accuracies[0] <= 1


def test_without_augmentation_images_stay():
    assert torch.equal(augmented(), IMAGES)


def test_each_image_is_mirrored_or_not():
    mirrored = [torch.equal(new, old.flip(2)) for new, old in zip(augmented(flip=True), IMAGES, strict=True)]
    same = [torch.equal(new, old) for new, old in zip(augmented(flip=True), IMAGES, strict=True)]
    assert all(one != other for one, other in zip(mirrored, same, strict=True)) and 0 < sum(mirrored) < 64


def test_images_move_by_whole_pixels_and_edges_fill():
    padded = torch.nn.functional.pad(IMAGES.float(), (1, 1, 1, 1), mode="replicate").to(torch.uint8)
    windows = [padded[:, :, row : row + 8, column : column + 8] for row in range(3) for column in range(3)]
    found = [[torch.equal(new, window[place]) for window in windows] for place, new in enumerate(augmented(shift=1))]
    assert all(any(row) for row in found) and all(any(column) for column in zip(*found, strict=True))


def test_a_square_at_most_is_hidden():
    hidden = (augmented(cutout=3) != IMAGES).reshape(64, 8, 8)
    assert all(image.sum() <= 9 and image.any(1).sum() <= 3 and image.any(0).sum() <= 3 for image in hidden)
    assert hidden.any()


def test_images_without_an_angle_and_a_scale_stay_but_for_rounding():
    same = peers_recipe._turned(IMAGES, 1e-6, 0.0)
    assert torch.allclose(same, IMAGES.float(), atol=1e-2)
    assert not torch.allclose(peers_recipe._turned(IMAGES, 10.0, 0.1), IMAGES.float(), atol=1.0)
