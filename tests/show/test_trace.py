"""The picture of one filter's steps: which matrices stand in a row, and which digits in them."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from cnn.errors import RequestError
from cnn.network import trace
from cnn.show import canvas
from cnn.show.trace import filter_trace
from tests.show.looking import drawn

IMAGE = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], np.uint8).reshape(4, 4, 1)
DIAGONAL = np.array([[1, 0], [0, -1]]).reshape(2, 2, 1)


def test_filter_trace_shows_each_step():
    steps = trace.steps(IMAGE, DIAGONAL)
    pixels, texts = drawn(filter_trace(IMAGE, steps, [0, 4]))
    assert texts[:5] == ["image", "segment", "filter", "products", "output"]
    assert [tile.shape[:2] for tile in pixels] == [(2, 2), (2, 2), (2, 2), (4, 4), (3, 3)] * 2
    assert [text for text in texts if text.startswith("sum")] == ["sum = \u22125", "sum = 5"]
    grey = to_rgba(canvas.PALE)
    unfilled = [np.isclose(output, grey, atol=0.005).all(-1).sum() for output in (pixels[4], pixels[9])]
    assert unfilled == [8, 4]
    second_row = texts[texts.index("sum = \u22125") + 1 :]
    assert second_row[:8] == ["1", "1", "2", "4", "5", "6", "7", "8"]  # the image comes after the products
    assert second_row[16] == "\u22125"  # the first output cell
    assert texts[-5:] == ["\u22125", "\u22126", "\u22126", "3", "5"]


def test_filter_trace_shows_the_padding_and_the_bias():
    image = np.zeros((5, 4, 1))
    steps = trace.steps(image, np.ones((3, 3, 1)), bias=0.5, stride=2, padding=((1, 1), (0, 2)))
    pixels, texts = drawn(filter_trace(image, steps, [len(steps) - 1]))
    assert pixels[3].shape[:2] == (7, 5)  # the last column of the padding is never entered
    assert np.isclose(pixels[3], to_rgba(canvas.PALE), atol=0.005).all(-1).sum() == 7 * 5 - 5 * 4
    assert "sum + bias = 0.5" in texts


def test_numbers_that_have_no_room_are_left_out():
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 1))
    steps = trace.steps(image, np.full((5, 5, 1), 0.123))
    _, texts = drawn(filter_trace(image, steps, [0]))
    assert texts.count("0.12") == 25 and len(texts) <= 5 + 3 * 25 + 4  # names, three small matrices, signs and sum


def test_filter_trace_refuses_colours():
    with pytest.raises(RequestError, match=r"image=\(4, 4, 3\): must be \[height, width, 1\]"):
        filter_trace(np.zeros((4, 4, 3)), trace.steps(IMAGE, DIAGONAL), [0])
