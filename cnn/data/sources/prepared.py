"""Reads what TensorFlow Datasets has prepared: the images and labels of a folder.

Files of format `array_record` are read without TensorFlow, also image by image: see `cnn.data.records`. The other
formats need TensorFlow, and give the images in their order alone.
"""

import importlib.util
import io
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from cnn.data.content import Content
from cnn.data.records import IN_MEMORY, NoRoomError, Records, Room
from cnn.data.sources.published import quiet, require_packages
from cnn.errors import first_line, refuse_dataset
from cnn.progress import Progress

BATCH = 500  # records decoded at a time: twice as fast as 64, and larger batches are no faster
# Pillow's modes of images that are read, with the mode that each is converted to. Pixels of one bit (1) become grey,
# and indices into a palette (P) become the palette's colours.
_MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "1": "L", "P": "RGB"}


def read(name: str, folder: Path, progress: Progress = Progress(), room: Room = IN_MEMORY) -> Content:
    """Decode a prepared folder. The test part is the split `test`, or `validation` where there is no `test`.

    A part that has no room is checked, and given as `Records`, if its format is `array_record`.

    Raises:
        RequestError: it is no image classification set, its images have several shapes or not 8 bits, a split is
            missing, its format needs a package that is not installed (the line says which), or a file is damaged.
        NoRoomError: a part of another format has no room.
    """
    with quiet():
        train, test = _splits(name, folder)
        feature = train.builder.info.features[train.label]
        names = tuple(feature.names or map(str, range(feature.num_classes)))
        train_images, train_labels = train.decoded(progress, room)
        test_images, test_labels = test.decoded(progress, room)
    _require_same_shape(name, [train_images.shape[1:], test_images.shape[1:]])
    for labels in (train_labels, test_labels):
        if labels.min() < 0 or labels.max() >= len(names):
            refuse_dataset(name, f"has labels {labels.min()} to {labels.max()}", f"labels of its {len(names)} classes")
    return Content(train_images, train_labels, test_images, test_labels, names)


def reopen(name: str, folder: Path, part: str, shape: tuple[int, ...]) -> Records:
    """The images of a part of a prepared folder that `read` gave as `Records`: `train_images` or `test_images`.

    Raises:
        RequestError: as `read`.
    """
    with quiet():
        train, test = _splits(name, folder)
        return {"train_images": train, "test_images": test}[part].records(shape)


def image_and_label(name: str, info: Any) -> tuple[str, str]:
    """The names of the features that hold the image and the label.

    They are the supervised keys, or else the only image and the only class label.
    """
    import tensorflow_datasets as tfds

    kinds = dict(info.features.items()) if isinstance(info.features, tfds.features.FeaturesDict) else {}
    images = [key for key, feature in kinds.items() if isinstance(feature, tfds.features.Image)]
    labels = [key for key, feature in kinds.items() if isinstance(feature, tfds.features.ClassLabel)]
    pair = info.supervised_keys if isinstance(info.supervised_keys, tuple) else ()
    if len(pair) == 2 and pair[0] in images and pair[1] in labels:
        image, label = pair
    elif len(images) == 1 and len(labels) == 1:
        image = images[0]
        label = labels[0]
    else:
        listed = ", ".join(sorted(kinds)) or "none"
        refuse_dataset(name, f"has the features {listed}", "a set with one image and one class label")
    if np.dtype(kinds[image].np_dtype) != np.uint8:
        refuse_dataset(name, f"has images of type {np.dtype(kinds[image].np_dtype)}", "a set with uint8 images")
    return image, label


def _splits(name: str, folder: Path) -> "tuple[_Split, _Split]":
    """The splits of the training part and of the test part."""
    _require_readable(name, folder)
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # TFDS raises errors of many types for a damaged description
        _refuse_damaged(name, folder, first_line(error))
    splits = builder.info.splits
    test = "test" if "test" in splits else "validation"
    if "train" not in splits or test not in splits:
        refuse_dataset(name, f"has the splits {', '.join(splits)}", "a set with train, and test or validation")
    keys = image_and_label(name, builder.info)
    return _Split(name, builder, "train", *keys), _Split(name, builder, test, *keys)


def _require_readable(name: str, folder: Path) -> None:
    """Refuse a folder in a format whose packages are not installed; the line says what to install."""
    try:
        stored = json.loads((folder / "dataset_info.json").read_text()).get("fileFormat") or "tfrecord"
    except (ValueError, AttributeError, RecursionError) as error:
        _refuse_damaged(name, folder, f"dataset_info.json: {first_line(error)}")
    packages = {"tensorflow_datasets": "tensorflow-datasets", "PIL.Image": "pillow"}
    if stored == "array_record":
        packages["array_record.python.array_record_data_source"] = "array_record"
    elif importlib.util.find_spec("tensorflow") is None:
        refuse_dataset(
            name,
            f"is stored as {stored} in {folder}, which needs TensorFlow",
            "prepared with file_format='array_record', or: pip install tensorflow",
        )
    require_packages(name, packages)


class _Split(NamedTuple):
    """A split of a prepared folder."""

    name: str  # of the data set, for messages
    builder: Any  # TFDS's
    split: str
    image: str  # the feature that holds the image
    label: str  # the feature that holds the class

    def decoded(self, progress: Progress, room: Room) -> tuple[np.ndarray | Records, np.ndarray]:
        """Images [n, height, width, channels] and labels [n], in the order of the files.

        Raises:
            NoRoomError: the images have no room, and the format does not give single images.
        """
        count = self.builder.info.splits[self.split].num_examples
        images: np.ndarray | Records | None = None
        labels = np.empty(count, np.int32)
        done = 0
        with progress.task(f"decoding {self.name} {self.split}", total=count) as task:
            for rows in self._batches():
                pixels = self._pixels(rows)
                shapes = [image.shape for image in pixels]
                if images is None:
                    images = self._room((count, *shapes[0]), room)
                _require_same_shape(self.name, [images.shape[1:], *shapes])
                if not isinstance(images, Records):
                    images[done : done + len(rows)] = pixels
                labels[done : done + len(rows)] = [row[self.label] for row in rows]
                done += len(rows)
                task.advance(len(rows))
        if images is None or done != count:
            fault = f"split {self.split} holds {done} images, described are {count}"
            _refuse_damaged(self.name, self.builder.data_dir, fault)
        return images, labels

    def records(self, shape: tuple[int, ...]) -> Records:
        """The images, decoded when they are taken; the files stay open."""
        rows = self._rows()

        def decode(places: Sequence[int]) -> list[np.ndarray]:
            pixels = self._pixels(self._at(rows, places))
            _require_same_shape(self.name, [shape[1:], *(image.shape for image in pixels)])
            return pixels

        return Records(shape, decode)

    def _room(self, shape: tuple[int, ...], room: Room) -> np.ndarray | Records:
        try:
            return room(shape)
        except NoRoomError:
            if self._gives_single_images():
                return self.records(shape)
            raise

    def _gives_single_images(self) -> bool:
        import tensorflow_datasets as tfds

        return self.builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD

    def _decoders(self) -> Mapping[str, Any]:
        """Leave an image as the bytes of its file."""
        import tensorflow_datasets as tfds

        return {self.image: tfds.decode.SkipDecoding()}

    def _rows(self) -> Any:
        """All rows of the format `array_record`, by their places."""
        try:
            return self.builder.as_data_source(split=self.split, decoders=self._decoders())
        except Exception as error:  # the readers raise errors of many types
            self._refuse_split(error)

    def _at(self, rows: Any, places: Sequence[int]) -> list[Mapping[str, Any]]:
        try:
            return rows.__getitems__(places)
        except Exception as error:  # the readers raise errors of many types
            self._refuse_split(error)

    def _batches(self) -> Iterator[list[Mapping[str, Any]]]:
        """The rows, in batches; each row holds its image as the bytes of a file."""
        if self._gives_single_images():
            rows = self._rows()
            starts = range(0, len(rows), BATCH)
            yield from (self._at(rows, range(start, min(start + BATCH, len(rows)))) for start in starts)
            return
        import tensorflow_datasets as tfds

        try:
            stored = self.builder.as_dataset(split=self.split, shuffle_files=False, decoders=self._decoders())
            each = iter(tfds.as_numpy(stored))
            yield from iter(lambda: list(itertools.islice(each, BATCH)), [])
        except Exception as error:  # the readers raise errors of many types
            self._refuse_split(error)

    def _pixels(self, rows: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        """The pixels of each row's image file, [height, width, channels].

        A grey image gets as many equal channels as the data set describes. TFDS could decode the images too, but it
        wraps 16 bits into 8, and takes an index into a palette for a colour.
        """
        from PIL import Image

        channels = self.builder.info.features[self.image].shape[-1]
        decoded = []
        for row in rows:
            try:
                with Image.open(io.BytesIO(row[self.image])) as image:
                    mode = image.mode
                    converted = image if _MODES.get(mode, mode) == mode else image.convert(_MODES[mode])
                    pixels = np.asarray(converted)
            except Exception as error:  # Pillow raises errors of many types
                self._refuse_split(error)
            if mode not in _MODES:
                fault = f"has an image of mode {mode} in its split {self.split}"
                refuse_dataset(self.name, fault, "a set with images of 8 bits a channel")
            decoded.append(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], channels, axis=-1))
        return decoded

    def _refuse_split(self, error: Exception) -> NoReturn:
        _refuse_damaged(self.name, self.builder.data_dir, f"split {self.split}: {first_line(error)}")


def _require_same_shape(name: str, shapes: list[tuple[int, ...]]) -> None:
    if len(set(shapes)) > 1:
        fault = f"has images of several shapes, such as {min(shapes)} and {max(shapes)}"
        refuse_dataset(name, fault, "a set with images of one shape")


def _refuse_damaged(name: str, folder: str | os.PathLike, reason: str) -> NoReturn:
    refuse_dataset(name, f"{folder} is damaged or incomplete ({reason})", "prepared anew: remove that folder first")
