"""What the page's part "move an image" needs: networks that run in the page, side by side, and test images.

The part itself is `page/moving.html`, a template that takes a `Moving` as `moving`; its styles are `page/moving.css`.

Example, networks that have not been trained:
    >>> import jax, jax.numpy as jnp, numpy as np
    >>> from cnn.config import NetworkConfig, TrialConfig
    >>> from cnn.data import datasets
    >>> from cnn.network import models
    >>> digits = datasets.load("digits")
    >>> config = TrialConfig("digits", network=NetworkConfig(blocks=1, width=4))
    >>> variables = models.build(config.network, (8, 8, 1), 10).init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    >>> trained = Trained(config, variables, np.zeros(1), np.ones(1), (8, 8, 1), digits.class_names, output_size=10)
    >>> part = moving({"convnet": trained}, {"convnet, permuted": None}, digits, farthest=1)
    >>> [each.name for each in part.plain], part.shuffled
    (['convnet'], ())
    >>> part.left_out
    'The pixels cannot be shuffled here. No network of convnet, permuted was kept.'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnn.data.content import Dataset
from cnn.show.try_it import Example, examples
from cnn.trained.live import Live, NotLive, characters, live
from cnn.trained.network import Trained

MOST_CHARACTERS = 1_200_000  # of the weights of all networks together


@dataclass(frozen=True)
class Named:
    """A network that runs in the page, under the name that the study gives it."""

    name: str
    network: Live

    def to_json(self) -> dict[str, Any]:
        """The plain values of a page."""
        return {"name": self.name, "network": self.network.to_json()}


@dataclass(frozen=True)
class Moving:
    """What the part needs."""

    plain: tuple[Named, ...]  # they see the images as they are; none where these networks cannot run in a page
    shuffled: tuple[Named, ...]  # they shuffle the pixels first, all in one way; none where they do not fit
    left_out: str  # which networks are left out and why, in words; empty where all are there
    farthest: int  # pixels that the study moved its images by at most
    largest_pixel: int  # the value of a white pixel
    examples: tuple[Example, ...]

    def to_json(self) -> dict[str, Any]:
        """The plain values of a page."""
        return {
            "plain": [each.to_json() for each in self.plain],
            "shuffled": [each.to_json() for each in self.shuffled],
            "largest_pixel": self.largest_pixel,
            "examples": [example.to_json() for example in self.examples],
        }


def moving(
    plain: Mapping[str, Trained | None], shuffled: Mapping[str, Trained | None], dataset: Dataset, farthest: int
) -> Moving:
    """What the part needs for networks of one data set.

    The weights take at most 1.2 MB of a page. What does not fit is left out: first the networks with shuffled pixels,
    then all.

    Args:
        plain: the networks that see the images as they are, by name; None where none was kept.
        shuffled: likewise those that shuffle the pixels first, all in the same way.
        dataset: that they learned from.
        farthest: pixels that the study moved its images by at most.
    """
    images = examples(dataset)
    running, reason = _running(plain, 0) if images else ((), "The test images are too large for a page.")
    if not running:
        return Moving((), (), f"No image can be moved here. {reason}", farthest, dataset.largest_pixel, ())
    more, reason = _running(shuffled, _characters(running))
    left_out = "" if more else f"The pixels cannot be shuffled here. {reason}"
    return Moving(running, more, left_out, farthest, dataset.largest_pixel, images)


def _running(networks: Mapping[str, Trained | None], taken: int) -> tuple[tuple[Named, ...], str]:
    """All of the networks as a page runs them; or none, and why."""
    running: list[Named] = []
    for name, trained in networks.items():
        if trained is None:
            return (), f"No network of {name} was kept."
        network = live(trained)
        if isinstance(network, NotLive):
            return (), f"{name}: {network.reason}"
        running.append(Named(name, network))
    whole = taken + _characters(running)
    if whole > MOST_CHARACTERS:
        sizes = f"{whole / 1e6:.2f} MB of a page, and {MOST_CHARACTERS / 1e6:.2f} MB is the most"
        return (), f"All weights together would take {sizes}."
    return tuple(running), ""


def _characters(networks: Sequence[Named]) -> int:
    """How much of a page the weights take, as base64 text."""
    return sum(characters(len(each.network.weights)) for each in networks)
