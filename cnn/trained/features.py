"""How much features tell: the accuracy of a linear classifier that has seen few examples of each class.

A row of features stands for each image: the output of a layer of a network (`Trained.features`), the pixels, or
principal components. The classifier sees a few labelled rows of each class. With the same `draw_examples` every kind of
feature is judged on the same images.

Example:
    >>> from cnn.data import datasets, splits
    >>> digits = datasets.load("digits")
    >>> known, new = splits.subset(digits, range(5)), splits.subset(digits, range(5, 10))
    >>> components = principal_components(known.train_images)
    >>> rows = components.transform(pixels(new.train_images)[draw_examples(new.train_labels, k=20, seed=0).ravel()])
    >>> test = components.transform(pixels(new.test_images))
    >>> few_shot_accuracy(rows.reshape(5, 20, -1), test, new.test_labels) > 0.9
    True
"""

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn.data.content import Dataset
from cnn.errors import RequestError, require_integer

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

COMPONENTS = 40  # the number that LeCun et al. 1998 took
ENOUGH = 10_000  # images to find them from; far fewer would determine 40 directions
INVERSE_STRENGTH = 10.0  # scikit-learn's C, see `few_shot_accuracy`


def pixels(images: UInt8[np.ndarray, "n height width c"]) -> Float[np.ndarray, "n d"]:
    """The pixels of each image as one float32 row."""
    return images.reshape(len(images), -1).astype(np.float32)


def principal_components(images: UInt8[np.ndarray, "n height width c"]) -> "PCA":
    """The directions in which the pixels of these images vary most; `.transform` turns `pixels` into features.

    They are found from 10,000 images at most, evenly spaced among those given. There are 40 of them, as in LeCun et al.
    1998, section III-C.3, or as many as there are images or pixels, where those are fewer. All of them together would
    be the pixels with turned axes. On training images of MNIST and CIFAR-10, 150 components were never a point better
    than 40 with 1 to 100 examples: the classifier weighs a direction by its variance, and the later ones have little.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
        >>> principal_components(images).transform(pixels(images)).shape
        (50, 40)
    """
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    rows = pixels(images[:: -(-len(images) // ENOUGH)])
    with threadpool_limits(1, "blas"):  # on two busy cores a second thread makes this take three times as long
        return PCA(min(COMPONENTS, *rows.shape), random_state=0).fit(rows)


def draw_examples(labels: Int[np.ndarray, " n"], k: int, seed: int) -> Int[np.ndarray, "classes k"]:
    """The indices of k random images of each class, one row for each of the classes 0, 1, ...

    They follow from labels and seed alone. With the same seed, a smaller k gives the first columns of what a larger k
    gives, so that accuracies with more and with fewer examples compare in pairs.

    Raises:
        RequestError: k is below 1, or a class has fewer than k images.

    Example:
        >>> draw_examples(np.array([0, 1, 0, 1, 0, 1]), k=2, seed=0).tolist()
        [[4, 0], [1, 5]]
        >>> draw_examples(np.array([0, 1, 0, 1, 0, 1]), k=1, seed=0).tolist()
        [[4], [1]]
    """
    require_integer("k", k, 1)
    sizes = np.bincount(labels)
    if sizes.min() < k:
        raise RequestError(f"k={k}: class {sizes.argmin()} has {sizes.min()} images, so at most {sizes.min()}")
    order = np.random.default_rng([zlib.crc32(b"examples"), seed]).permutation(len(labels))
    return np.stack([order[labels[order] == label][:k] for label in range(len(sizes))])


def few_shot_accuracy(
    examples: Float[np.ndarray, "classes k d"], features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> float:
    """The share of rows that a linear classifier gets right after k examples of each class.

    The classifier is multinomial logistic regression with an L2 penalty (scikit-learn's, C = 10). First the mean of the
    examples is subtracted from every feature, and everything is divided by one number, the root mean square distance of
    an example from that mean. So the accuracy does not change when features are shifted, turned or scaled as a whole,
    and one C means the same for pixels and for activations. Scaling each feature on its own would give border pixels,
    which are hardly ever on, and the last principal components as much weight as the others.

    Scaling and C were chosen on training images of MNIST's classes 5 to 9, for pixels, principal components, random and
    learned filters, with the mean of 5 draws. Scaling each feature by its deviation over all training images was at
    most 0.2 points better and up to 10 points worse. Of C = 0.1, 1, 10, 100 and 1000, no other value was more than 0.6
    points better than 10 with 5, 20 or 100 examples. With a single example C = 0.1 was better, by up to 2.4 points. The
    units of a multilayer perceptron had no part in that choice.

    Args:
        examples: the labelled features; row i holds those of class i.
        features: the rows to classify.
        labels: the true classes of these rows, from 0 to classes - 1.

    Example:
        >>> examples = np.array([[[0.0, 1.0]], [[4.0, 1.0]]])  # one of each class: the border is at 2
        >>> few_shot_accuracy(examples, np.array([[1.9, 0.0], [2.1, 9.0], [1.8, 5.0]]), np.array([0, 1, 1]))
        0.6666666666666666
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    classes, k, _ = examples.shape
    rows = np.concatenate(examples).astype(np.float64)  # in float32 the optimiser's line search can fail
    center = rows.mean(axis=0)
    rows -= center
    spread = np.sqrt(np.square(rows).sum(axis=1).mean()) or 1.0
    model = LogisticRegression(C=INVERSE_STRENGTH, max_iter=10_000)
    # The matrix products are small. On two busy cores, a fit of 0.1 s took 2 to 4 s with a second thread.
    with threadpool_limits(1, "blas"):
        model.fit(rows / spread, np.repeat(np.arange(classes), k))
        return float(model.score((features - center) / spread, labels))


def few_shot_accuracies(
    dataset: Dataset, extract: Callable[[np.ndarray], np.ndarray], examples: tuple[int, ...], seed: int
) -> dict[int, float]:
    """`few_shot_accuracy` on the test images, by the number of training images of each class that were seen.

    Args:
        dataset: images of the classes to tell apart.
        extract: turns images into rows of features.
        examples: the numbers of images of each class, such as 1 and 5.
        seed: chooses the images; see `draw_examples`.

    Example:
        >>> from cnn.data import datasets
        >>> accuracies = few_shot_accuracies(datasets.load("digits"), pixels, examples=(1, 20), seed=0)
        >>> accuracies[1] < 0.7 < 0.9 < accuracies[20]
        True
    """
    drawn = draw_examples(dataset.train_labels, max(examples), seed)
    rows = extract(dataset.train_images[drawn.ravel()]).reshape(*drawn.shape, -1)
    test = extract(np.asarray(dataset.test_images))
    return {k: few_shot_accuracy(rows[:, :k], test, dataset.test_labels) for k in examples}
