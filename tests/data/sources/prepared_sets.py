"""Prepared folders, written by TensorFlow Datasets itself, with images as PNG, so that no TensorFlow is needed."""

import contextlib
import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cnn.data import datasets
from cnn.data.sources.published import quiet

RNG = np.random.default_rng(0)


def saved(image, form="png"):
    file = io.BytesIO()
    image.save(file, form)
    file.seek(0)
    return file


def png(image):
    return saved(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image))


def write(root, set_name, splits, features=None, version="1.0.0", config=None, supervised=("image", "label")):
    """Have TFDS prepare `splits` {split: rows} as `SET_NAME[/CONFIG]` under `root`."""
    features = features or {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=["cat", "dog", "owl"]),
    }

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = set_name
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=supervised
            )

        def _split_generators(self, manager):
            return {split: self._generate_examples(rows) for split, rows in splits.items()}

        def _generate_examples(self, rows):
            for i, row in enumerate(rows):
                yield i, {key: png(value) if isinstance(value, np.ndarray) else value for key, value in row.items()}

    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        builder = Builder(data_dir=root, file_format="array_record")
        builder.download_and_prepare()
    return builder.data_path


def rows(n, shape=(4, 6, 3), **more):
    return [{"image": RNG.integers(0, 256, shape, np.uint8), "label": i % 3, **more} for i in range(n)]


def load(root, name, **more):
    return datasets.load(name, data_dir=root, cache_dir=root / "cache", **more)


def content(images, labels):
    """Pairs of image and label, whatever their order."""
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
