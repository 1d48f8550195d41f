"""Scenes on a page: the boxes lie where they were found, and every object is named."""

import numpy as np
import pytest

from cnn.show import page
from cnn.show.comparison import Scenes
from cnn.show.parts import Gallery, Page, Section
from cnn.show.scene_parts import located

HOSTILE = "</script><script>alert(1)</script>"
NAMES = ("none", "cat", HOSTILE)


def seen(said, boxes):
    """Two scenes of two objects; the true boxes are the left and the right half."""
    halves = np.array([[0.5, 0.25, 1.0, 0.5], [0.5, 0.75, 1.0, 0.5]], np.float32)
    images = np.zeros((2, 6, 8, 1), np.uint8)
    return Scenes(images, np.stack([halves, halves]), np.array([[1, 2], [1, 2]]), np.stack(boxes), np.asarray(said))


@pytest.fixture
def parts():
    halves = seen([[0, 0]], [np.zeros((2, 4))] * 2).true_boxes[0]
    swapped = halves[::-1]
    return located({"convnet": seen([[1, 2], [2, 1]], [halves, swapped])}, NAMES, largest=255)


def test_each_object_has_its_class_and_its_overlap(parts):
    first, second = parts[-1].images
    assert first.lines == ["cat, right", "IoU 1.00", f"{HOSTILE}, right", "IoU 1.00"]
    assert second.lines[:3] == [f"cat, said to be {HOSTILE}", "IoU 0.00", f"{HOSTILE}, said to be cat"]


def test_frames_lie_where_the_boxes_are(parts):
    places = [(frame.top, frame.left, frame.height, frame.width, frame.found) for frame in parts[-1].images[1].frames]
    left, right = (0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 0.5)
    assert places == [(*left, False), (*right, False), (*right, True), (*left, True)]


def test_the_page_has_a_frame_for_each_box_and_names_are_text(parts):
    text = page.render(Page("t", "q", "a", (), "c", (Section("scenes", "Scenes", parts),), {}))
    assert text.count('<rect class="true"') == text.count('<rect class="found"') == 4
    assert "alert(1)</script>" not in text


def test_every_network_has_a_gallery():
    one = seen([[1, 2], [1, 2]], [np.zeros((2, 4), np.float32)] * 2)
    parts = located({"a": one, "b": one}, NAMES, largest=255)
    assert [len(part.images) for part in parts if isinstance(part, Gallery)] == [2, 2]
