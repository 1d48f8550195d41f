"""What identifies a data set: its fingerprint, and its name in a form that fits into a path."""

import pytest

from cnn.data.content import file_name, fingerprint
from tests.data.test_cache import content


def test_fingerprint_covers_values_shape_and_names():
    base = content()
    pixels = base.train_images.copy()
    pixels[0, 0, 0, 0] ^= 1
    variants = [
        base,
        base._replace(train_images=pixels),
        base._replace(train_images=base.train_images.reshape(7, 6, 4, 2)),
        base._replace(test_labels=base.test_labels + 1),
        base._replace(class_names=("a", "b", "c")),
    ]
    assert len({fingerprint(variant) for variant in variants}) == len(variants)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("digits", "digits"),
        ("mnist:3.0.1", "mnist_3.0.1"),
        ("emnist/letters:3.1.0", "emnist_letters_3.1.0"),
        ("../../etc/x", ".._.._etc_x"),
        ("a b;c", "a_b_c"),
        ("näh", "n_h"),
    ],
)
def test_a_name_becomes_one_part_of_a_path(name, expected):
    assert file_name(name) == expected
