"""How stable a choice is: how often the rule would choose each depth on other seeds and other validation images.

Example:
    >>> right = np.ones((2, 100), bool)
    >>> worse = right.copy()
    >>> worse[:, :50] = False
    >>> pick_shares([worse, right], margin=0.05)
    array([0., 1.])
"""

from collections.abc import Sequence

import numpy as np

from cnn.study.rule import choose

RESAMPLES = 1000


def pick_shares(
    correct: Sequence[np.ndarray], margin: float, *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """The share of resamples in which the rule chooses each depth.

    Each resample draws seeds with replacement, and for each drawn seed draws its validation images with replacement
    (Efron 1979). Depths keep their pairs: a resample takes the same seeds and images at every depth. The noise of the
    images is part of how seeds differ already, so a resample varies more than a new sweep would.

    Args:
        correct: for each depth bool [seeds, images], whether a seed's network has a validation image right. Every depth
            has the same seeds, and a seed the same images at every depth.
        margin: as `choose` takes it.
        resamples: how many are drawn.
        seed: seed of the random generator; the same seed gives the same shares.

    Returns:
        [depths], of sum 1.
    """
    right = np.stack(correct)
    depths, seeds, images = right.shape
    generator = np.random.default_rng(seed)
    drawn = np.empty((seeds, resamples, seeds, depths))  # accuracies of each seed, in each place of a resample
    for own in range(seeds):
        # Images that the same depths have right are one kind. To draw how often each kind occurs is exact, and fast.
        kinds, counts = np.unique(right[:, own], axis=1, return_counts=True)
        occurs = generator.multinomial(images, counts / images, size=(resamples, seeds))
        drawn[own] = occurs @ kinds.T / images
    chosen_seeds = generator.integers(seeds, size=(resamples, seeds))
    rows = np.arange(resamples)[:, None]
    accuracies = drawn[chosen_seeds, rows, np.arange(seeds)]  # [resamples, seeds, depths]
    chosen = [choose(sample.T, margin).chosen for sample in accuracies]
    return np.bincount(np.array(chosen, int), minlength=depths) / resamples
