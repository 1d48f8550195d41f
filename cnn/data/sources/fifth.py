"""The test part of a data set that has none of its own: a fixed fifth, stratified by class.

Example:
    >>> train, test = without_fifth(np.array([0] * 15 + [1] * 5))
    >>> len(train), len(test), (test < 15).sum().item()
    (16, 4, 3)
"""

import math

import numpy as np


def without_fifth(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide n images, given their labels [n], into a training and a test part; the same labels give the same parts.

    The test part is a fifth, rounded up, and has at least as many images as there are classes. Each class needs two
    images, and keeps at least one for training.

    Returns:
        The indices of the training images and those of the test images, both sorted.
    """
    # scikit-learn takes more than a second to import; the cache of decoded arrays saves that.
    from sklearn import model_selection

    size = max(math.ceil(len(labels) / 5), len(np.unique(labels)))
    train, test = model_selection.train_test_split(
        np.arange(len(labels)), test_size=size, stratify=labels, random_state=0
    )
    return np.sort(train), np.sort(test)
