"""scikit-learn's `digits`: 1797 grey images of 8 x 8 pixels, with values from 0 to 16. They need no download.

The test part is a fixed fifth, 360 images; see `cnn.data.sources.fifth`.

Source: E. Alpaydin and C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
https://archive.ics.uci.edu/dataset/80; scikit-learn holds its test part.

Example:
    >>> content = read()
    >>> content.train_images.shape, content.test_images.shape, content.class_names[:3]
    ((1437, 8, 8, 1), (360, 8, 8, 1), ('0', '1', '2'))
"""

import numpy as np

from cnn.data.content import Content, Entry, Options, Source
from cnn.data.sources.fifth import without_fifth

NAME = "digits"
LARGEST_PIXEL = 16


def read() -> Content:
    """Both parts, each in the order of scikit-learn's images."""
    # scikit-learn takes more than a second to import; the cache saves that.
    from sklearn import datasets

    digits = datasets.load_digits()
    images = digits.images.astype(np.uint8)[..., np.newaxis]
    labels = digits.target.astype(np.int32)
    train, test = without_fifth(labels)
    return Content(images[train], labels[train], images[test], labels[test], tuple(map(str, digits.target_names)))


def _find(name: str, options: Options) -> Entry:
    return Entry(NAME, read, key=NAME, largest_pixel=LARGEST_PIXEL)


SOURCE = Source(accepts=NAME, takes=NAME.__eq__, find=_find, known=lambda: [NAME])
