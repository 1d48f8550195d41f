"""Prepared data of TensorFlow Datasets (TFDS): found on disk, read without TensorFlow where its format allows.

TFDS keeps a prepared set in `DATA_DIR/NAME/[CONFIG/]VERSION`. Finding it is a listing, so that a set whose arrays are
in our cache is loaded without importing TFDS. `array_record` files need no TensorFlow; the other formats do.

Example:
    >>> find(Path("/no/such/folder"), "mnist") is None
    True
"""

import contextlib
import difflib
import fnmatch
import hashlib
import importlib.util
import io
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from cnn.config import DATASETS, RequestError, user_path
from cnn.data.cache import Content
from cnn.data.download import quiet, require_packages
from cnn.progress import Progress

BATCH = 500  # records decoded at a time: twice as fast as 64, and larger batches are no faster
# How Pillow reads what has 8 bits a channel, and what it holds in another form: of one bit, and of a palette's colours.
_MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "1": "L", "P": "RGB"}
_NAME = re.compile(  # as TFDS writes names: no part is "..", and none is longer than a file's name may be
    r"(?P<base>[a-z0-9_]{1,100})(/(?P<config>\w[\w.+-]{0,99}))?(:(?P<version>((\d{1,9}|\*)\.){2}(\d{1,9}|\*)))?",
    re.ASCII,
)


def data_folder(data_dir: str | os.PathLike | None) -> Path:
    """Where TFDS looks: the argument, else `TFDS_DATA_DIR`, else `~/tensorflow_datasets`."""
    return user_path("data_dir", data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def base_name(name: str) -> str:
    """The data set of `NAME[/CONFIG][:VERSION]`.

    Raises:
        RequestError: the text has another form.

    Example:
        >>> base_name("emnist/letters:3.1.0")
        'emnist'
    """
    return _parts(name)["base"]


def _parts(name: str) -> re.Match[str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise RequestError(f"dataset={name!r}: must be {DATASETS} (name, name/config, name:version)")
    return match


def find(root: Path, name: str) -> Path | None:
    """The prepared folder of `NAME[/CONFIG][:VERSION]`, of the highest version that fits; None where there is none.

    Where no configuration is named, it is the one that TFDS recorded as the default when it prepared the set.
    """
    parts = _parts(name)
    folder = root / parts["base"]
    config = parts["config"]
    if config is None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            config = json.loads((folder / ".config" / "metadata.json").read_text()).get("default_config_name")
    versions = []
    for path in (folder / (config or "")).glob("*.*.*"):
        numbers = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", path.name)
        whole = (path / "dataset_info.json").exists() and (path / "features.json").exists()
        if numbers and whole and fnmatch.fnmatchcase(path.name, parts["version"] or "*"):
            versions.append((tuple(map(int, numbers.groups())), path))
    return max(versions)[1] if versions else None


def key(name: str, folder: Path) -> str:
    """The cache entry of a prepared folder: another folder, description, or size or time of a file, another entry."""
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(folder.iterdir()):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
        if path.suffix == ".json":
            digest.update(path.read_bytes())
    return f"{slug(name)}-{digest.hexdigest()[:12]}"


def slug(name: str) -> str:
    """The name as a part of a file name.

    Example:
        >>> slug("emnist/letters:3.1.0")
        'emnist-letters-3.1.0'
    """
    return re.sub(r"[^\w.]", "-", name)


def read(name: str, folder: Path, progress: Progress = Progress()) -> Content:
    """Decode a prepared folder. The test part is the split `test`, or else `validation`.

    Raises:
        RequestError: not an image classification set, images of several shapes or not of 8 bits, no such split, a
            format that needs a package which is not installed (the line says which to install), or damaged files.
    """
    _require_readable(name, folder)
    import tensorflow_datasets as tfds

    with quiet():
        try:
            builder = tfds.builder_from_directory(folder)
        except Exception as error:  # whatever TFDS raises for a damaged description
            _refuse_damaged(name, folder, _first_line(error))
        splits = builder.info.splits
        test = "test" if "test" in splits else "validation"
        if "train" not in splits or test not in splits:
            _refuse(name, f"has the splits {', '.join(splits)}", "a set with train, and test or validation")
        image, label = image_and_label(name, builder.info)
        feature = builder.info.features[label]
        names = tuple(feature.names or map(str, range(feature.num_classes)))
        train_images, train_labels = _decode(name, builder, "train", (image, label), progress)
        test_images, test_labels = _decode(name, builder, test, (image, label), progress)
    _require_same_shape(name, [train_images.shape[1:], test_images.shape[1:]])
    for labels in (train_labels, test_labels):
        if labels.min() < 0 or labels.max() >= len(names):
            _refuse(name, f"has labels {labels.min()} to {labels.max()}", f"labels of its {len(names)} classes")
    return Content(train_images, train_labels, test_images, test_labels, names)


def prepare(name: str, root: Path, progress: Progress = Progress()) -> Path:
    """Have TFDS itself download and prepare the set, which takes TensorFlow; gives the folder.

    Raises:
        RequestError: unknown name, not an image classification set, or TensorFlow is not installed.
        OSError: TFDS could not prepare it.
    """
    builder = _builder(name, root)
    image_and_label(name, builder.info)
    if importlib.util.find_spec("tensorflow") is None:
        _refuse(
            name,
            f"is not prepared under {root}, and preparing it needs TensorFlow",
            "prepared there, or: pip install tensorflow",
        )
    progress.line(f"{name}: TensorFlow Datasets downloads and prepares it under {root}")
    with quiet(), contextlib.redirect_stdout(io.StringIO()):  # TFDS prints what it does
        try:
            builder.download_and_prepare(file_format="array_record")
        except Exception as error:  # its builders raise whatever they like
            raise OSError(f"{name}: TensorFlow Datasets cannot prepare it: {_first_line(error)}") from error
    return Path(builder.data_dir)


def image_and_label(name: str, info: Any) -> tuple[str, str]:
    """The features that hold image and label: the supervised keys, or else the only image and the only class label."""
    import tensorflow_datasets as tfds

    kinds = dict(info.features.items()) if isinstance(info.features, tfds.features.FeaturesDict) else {}
    images = [key for key, feature in kinds.items() if isinstance(feature, tfds.features.Image)]
    labels = [key for key, feature in kinds.items() if isinstance(feature, tfds.features.ClassLabel)]
    pair = info.supervised_keys if isinstance(info.supervised_keys, tuple) else ()
    if len(pair) == 2 and pair[0] in images and pair[1] in labels:
        image, label = pair
    elif len(images) == 1 and len(labels) == 1:
        image, label = images[0], labels[0]
    else:
        found = ", ".join(sorted(kinds)) or "none"
        _refuse(name, f"has the features {found}", "a set with one image and one class label")
    if np.dtype(kinds[image].np_dtype) != np.uint8:
        _refuse(name, f"has images of type {np.dtype(kinds[image].np_dtype)}", "a set with uint8 images")
    return image, label


def _require_readable(name: str, folder: Path) -> None:
    """Refuse a folder whose format needs what is not installed, with the line that says what to install."""
    try:
        stored = json.loads((folder / "dataset_info.json").read_text()).get("fileFormat") or "tfrecord"
    except (ValueError, AttributeError, RecursionError) as error:
        _refuse_damaged(name, folder, f"dataset_info.json: {_first_line(error)}")
    packages = {"tensorflow_datasets": "tensorflow-datasets", "PIL.Image": "pillow"}
    if stored == "array_record":
        packages["array_record.python.array_record_data_source"] = "array_record"
    elif importlib.util.find_spec("tensorflow") is None:
        _refuse(
            name,
            f"is stored as {stored} in {folder}, which needs TensorFlow",
            "prepared with file_format='array_record', or: pip install tensorflow",
        )
    require_packages(name, packages)


def _decode(name: str, builder: Any, split: str, keys: tuple[str, str], progress: Progress) -> tuple[Any, Any]:
    """Images [n, height, width, channels] and labels [n] of a split, in the order of its files."""
    image_key, label_key = keys
    count = builder.info.splits[split].num_examples
    images, labels, done = None, np.empty(count, np.int32), 0
    with progress.task(f"decoding {name} {split}", total=count) as task:
        for rows in _batches(name, builder, split, image_key):
            pixels = _pixels(name, builder, split, image_key, rows)
            shapes = [image.shape for image in pixels]
            if images is None:
                images = np.empty((count, *shapes[0]), np.uint8)
            _require_same_shape(name, [images.shape[1:], *shapes])
            images[done : done + len(rows)] = pixels
            labels[done : done + len(rows)] = [row[label_key] for row in rows]
            done += len(rows)
            task.advance(len(rows))
    if images is None or done != count:
        _refuse_damaged(name, builder.data_dir, f"split {split} holds {done} images, described are {count}")
    return images, labels


def _pixels(name: str, builder: Any, split: str, key: str, rows: list[dict[str, Any]]) -> list[np.ndarray]:
    """The pixels of the rows' image files, each [height, width, channels]; a grey one has the described channels.

    TFDS would decode them too, but wraps 16 bits into 8 and takes the index into a palette for a colour.
    """
    from PIL import Image

    channels, found = builder.info.features[key].shape[-1], []
    for row in rows:
        try:
            with Image.open(io.BytesIO(row[key])) as image:
                mode = image.mode
                converted = image if _MODES.get(mode, mode) == mode else image.convert(_MODES[mode])
                pixels = np.asarray(converted)
        except Exception as error:  # Pillow's readers raise whatever they like
            _refuse_damaged(name, builder.data_dir, f"split {split}: {_first_line(error)}")
        if mode not in _MODES:
            _refuse(name, f"has an image of mode {mode} in its split {split}", "a set with images of 8 bits a channel")
        found.append(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], channels, axis=-1))
    return found


def _batches(name: str, builder: Any, split: str, image: str) -> Iterator[list[dict[str, Any]]]:
    """Rows of a split, the image as the bytes of its file."""
    import tensorflow_datasets as tfds

    encoded = {image: tfds.decode.SkipDecoding()}
    try:
        if builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:
            source = builder.as_data_source(split=split, decoders=encoded)
            for start in range(0, len(source), BATCH):
                yield source.__getitems__(range(start, min(start + BATCH, len(source))))
        else:
            stored = builder.as_dataset(split=split, shuffle_files=False, decoders=encoded)
            rows = iter(tfds.as_numpy(stored))
            yield from iter(lambda: list(itertools.islice(rows, BATCH)), [])
    except Exception as error:  # the readers raise whatever they like
        _refuse_damaged(name, builder.data_dir, f"split {split}: {_first_line(error)}")


def _builder(name: str, root: Path) -> Any:
    require_packages(name, {"tensorflow_datasets": "tensorflow-datasets"})
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    try:
        with quiet(), contextlib.redirect_stdout(io.StringIO()):  # TFDS prints that TensorFlow is missing
            return tfds.builder(name, data_dir=root)
    except registered.DatasetNotFoundError as error:
        known = ["digits", *tfds.list_builders(with_community_datasets=False)]
        nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)[0]
        raise RequestError(f"dataset={name!r}: must be {DATASETS}; nearest: {nearest}") from error
    except (ValueError, AssertionError) as error:  # no such configuration or version
        raise RequestError(f"dataset={name!r}: {_first_line(error)}") from error
    except Exception as error:  # a package that it needs, a description that is gone: TFDS raises whatever it likes
        _refuse(name, f"cannot be loaded ({_first_line(error)})", "a whole set whose packages are installed")


def _require_same_shape(name: str, shapes: list[tuple[int, ...]]) -> None:
    if len(set(shapes)) > 1:
        low, high = min(shapes), max(shapes)
        _refuse(name, f"has images of several shapes, such as {low} and {high}", "a set with images of one shape")


def _refuse(name: str, what: str, accepted: str) -> NoReturn:
    raise RequestError(f"dataset={name!r}: {what}; must be {accepted}")


def _refuse_damaged(name: str, folder: str | os.PathLike, reason: str) -> NoReturn:
    _refuse(name, f"{folder} is damaged or incomplete ({reason})", "prepared anew: remove that folder first")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
