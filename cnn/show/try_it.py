"""What the page's part "try it" needs: a network that runs in the page, test images, and how to prepare drawings.

The part itself is `page/try.html`, a template that takes a `TryIt` as `try_it`; its styles are `page/try.css`.

Example, a network that has not been trained:
    >>> import jax, jax.numpy as jnp
    >>> from cnn.config import NetworkConfig, TrialConfig
    >>> from cnn.data import datasets
    >>> from cnn.network import models
    >>> digits = datasets.load("digits")
    >>> config = TrialConfig("digits", network=NetworkConfig(blocks=1, width=4))
    >>> variables = models.build(config.network, (8, 8, 1), 10).init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    >>> trained = Trained(config, variables, np.zeros(1), np.ones(1), (8, 8, 1), digits.class_names, output_size=10)
    >>> part = try_it(trained, digits)
    >>> [example.label for example in part.examples], part.largest_pixel, part.drawing.ink
    ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 16, 16)
"""

import base64
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn.data import drawings
from cnn.data.content import Dataset
from cnn.data.drawings import Drawing
from cnn.trained.live import Live, NotLive, characters, live
from cnn.trained.network import Trained

MOST_EXAMPLES = 20
MOST_CHARACTERS = 100_000  # of the test images in the page


@dataclass(frozen=True)
class Example:
    """A test image."""

    label: int
    pixels: bytes  # uint8, in the order of [height, width, channels]

    def to_json(self) -> dict[str, Any]:
        """The plain values of a page, with the pixels as base64 text."""
        return {"label": self.label, "pixels": base64.b64encode(self.pixels).decode()}


@dataclass(frozen=True)
class TryIt:
    """What the part needs."""

    network: Live | NotLive
    largest_pixel: int  # the value of a white pixel
    drawing: Drawing | None  # what drawings are prepared like; None where the images are no drawings
    examples: tuple[Example, ...]

    def to_json(self) -> dict[str, Any]:
        """The plain values of a page."""
        return {
            "network": self.network.to_json(),
            "largest_pixel": self.largest_pixel,
            "drawing": dataclasses.asdict(self.drawing) if self.drawing else None,
            "examples": [example.to_json() for example in self.examples],
        }


def try_it(trained: Trained, dataset: Dataset) -> TryIt:
    """What the part needs for a network and the data set that it learned from.

    Of the test images it takes the first one of each class, of at most 20 classes, as far as they fit in 0.1 MB.
    """
    return TryIt(
        network=live(trained),
        largest_pixel=dataset.largest_pixel,
        drawing=drawings.measure(dataset.train_images),
        examples=examples(dataset),
    )


def examples(dataset: Dataset) -> tuple[Example, ...]:
    """The first test image of each class, of at most 20 classes, as far as they fit in 0.1 MB."""
    labels, first = np.unique(dataset.test_labels, return_index=True)
    count = min(MOST_EXAMPLES, MOST_CHARACTERS // characters(dataset.test_images[0].nbytes))
    pairs = list(zip(labels.tolist(), first.tolist(), strict=True))[:count]
    return tuple(Example(label, np.ascontiguousarray(dataset.test_images[index]).tobytes()) for label, index in pairs)
