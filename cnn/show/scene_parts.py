"""The parts of a page about objects in scenes: a gallery for each network, with the true boxes and those it found.

Example:
    >>> box = np.array([[[0.5, 0.25, 1.0, 0.5]]], np.float32)
    >>> seen = Scenes(np.zeros((1, 4, 4, 1), np.uint8), box, np.array([[2]]), box, np.array([[1]]))
    >>> *_, gallery = located({"mlp": seen}, ("a", "b", "c"), largest=255)
    >>> gallery.images[0].lines
    ['c, said to be b', 'IoU 1.00']
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from cnn.data.scenes import corners, overlap
from cnn.show.comparison import Scenes
from cnn.show.network_parts import image_png
from cnn.show.parts import Frame, Gallery, Image, Part, Text

WIDTH = 136  # pixels of a scene
WORDS = (
    "The line is the true box, the dashes are the network's. IoU is the intersection over union of the two. "
    "All networks see the same scenes, which are the first ones of the test."
)


def located(networks: Mapping[str, Scenes], class_names: Sequence[str], largest: int) -> list[Part]:
    """Scenes with the boxes of each network.

    Args:
        networks: what each has found, by its name.
        class_names: the name of each class.
        largest: the value of a white pixel.
    """
    parts: list[Part] = [Text((WORDS,))]
    for name, seen in networks.items():
        images = [_scene(name, Scenes(*values), class_names, largest) for values in zip(*seen, strict=True)]
        parts += [Text((f"What the {name} finds:",)), Gallery(images, width=WIDTH)]
    return parts


def _scene(name: str, scene: Scenes, class_names: Sequence[str], largest: int) -> Image:
    """One scene; `scene` holds no axis for several."""
    frames = [*_frames(scene.true_boxes, found=False), *_frames(scene.boxes, found=True)]
    ratios = overlap(scene.true_boxes, scene.boxes).ratio
    lines: list[str] = []
    for truth, said, ratio in zip(scene.true_classes, scene.classes, ratios, strict=True):
        taken = "right" if truth == said else f"said to be {class_names[said]}"
        lines += [f"{class_names[truth]}, {taken}", f"IoU {ratio:.2f}"]
    return Image(image_png(scene.scenes, largest), f"a scene for {name}: {'; '.join(lines)}", lines, frames=frames)


def _frames(boxes: Float[np.ndarray, "objects 4"], found: bool) -> Iterator[Frame]:
    lows, highs = corners(boxes)
    for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
        yield Frame(low[0], low[1], high[0] - low[0], high[1] - low[1], found)
