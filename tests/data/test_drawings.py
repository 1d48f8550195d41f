"""What a data set's images have in common as drawings: real digits, and made-up sets."""

import numpy as np
import pytest

from cnn.data import datasets, drawings


def crosses(sizes, places, image=24, pen=2, ground=0, ink=255):
    """Upright crosses with arms of one width, each in the box of that size with that top left corner."""
    images = np.full((len(sizes), image, image, 1), ground, np.uint8)
    for picture, size, (top, left) in zip(images, sizes, places, strict=True):
        middle = (size - pen) // 2
        picture[top + middle : top + middle + pen, left : left + size] = ink
        picture[top : top + size, left + middle : left + middle + pen] = ink
    return images


def discs(count=10):
    rows, columns = np.ogrid[:24, :24]
    inside = (rows - 11.5) ** 2 + (columns - 11.5) ** 2 < 80
    return np.repeat((200 * inside).astype(np.uint8).reshape(1, 24, 24, 1), count, axis=0)


def test_digits_fill_their_images():
    found = drawings.measure(datasets.load("digits").train_images)
    assert (found.ground, found.ink, found.side, found.centred) == (0, 16, 8.0, "box")
    assert found.centre == pytest.approx((4, 4), abs=0.2) and 1 < found.pen < 2


@pytest.mark.real_data
def test_mnist_is_as_its_authors_say(real_data_dir):
    """Boxes of 20 pixels in images of 28, centred by mass: LeCun et al. 1998, section III-A."""
    found = drawings.measure(datasets.load("mnist", data_dir=real_data_dir).train_images)
    assert (found.ground, found.ink, found.side, found.centred) == (0, 255, 20.0, "mass")
    assert found.centre == pytest.approx((14.5, 14.5), abs=0.02) and 2 < found.pen < 3


@pytest.mark.parametrize("ground, ink", [(0, 255), (255, 0), (0, 16), (240, 10)])
def test_crosses_by_hand(ground, ink):
    images = crosses([10, 12, 14], [(7, 7), (6, 6), (5, 5)], ground=ground, ink=ink)
    found = drawings.measure(images)
    assert (found.ground, found.ink, found.side, found.centre) == (ground, ink, 12.0, (12.0, 12.0))
    # Half the outline of a cross of size s is 2 s cells, and its mass 2 * 2 s - 4.
    assert found.pen == pytest.approx((2 * 24 - 4) / 24 / (np.pi / 4))


def with_tail(images, length):
    """A longer right arm for every second cross: it moves the box further than the mass."""
    for picture in images[::2]:
        end = np.flatnonzero(picture.any(axis=(0, 2)))[-1] + 1
        rows = picture[:, end - 1].any(axis=1)
        picture[rows, end : end + length] = 255
    return images


def test_the_centre_is_that_which_varies_less():
    same_boxes = crosses([12] * 6, [(6, 6)] * 6)
    same_boxes[::2, 6:9, 6:9] = 255  # a blot in a corner of the box moves the mass
    assert drawings.measure(same_boxes).centred == "box"
    assert drawings.measure(with_tail(crosses([12] * 6, [(6, 4)] * 6), 6)).centred == "mass"


def photographs(channels=1):
    return np.random.default_rng(0).integers(0, 256, (50, 24, 24, channels), np.uint8)


@pytest.mark.parametrize(
    "images",
    [
        photographs(),
        photographs(3),
        np.repeat(crosses([12] * 3, [(6, 6)] * 3), 3, axis=-1),
        discs(),
        np.zeros((5, 24, 24, 1), np.uint8),
        np.zeros((0, 24, 24, 1), np.uint8),
    ],
    ids=["grey noise", "colour noise", "colours", "solid shapes", "empty images", "no images"],
)
def test_no_drawings(images):
    assert drawings.measure(images) is None


def test_a_few_images_stand_for_many(monkeypatch):
    images = crosses([10, 12] * 50, [(7, 7), (6, 6)] * 50)
    monkeypatch.setattr(drawings, "MOST_IMAGES", 7)
    assert drawings.measure(images).ink == 255
