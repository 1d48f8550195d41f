"""Data sets of TensorFlow Datasets (TFDS): found on disk where TFDS has prepared them, or else downloaded.

TFDS keeps a prepared data set in `DATA_DIR/NAME/[CONFIG/]VERSION`. To find it we only list folders, so a data set whose
arrays are in our cache loads without importing TFDS. Files of format `array_record` are read without TensorFlow. The
other formats need it, and so does the preparation of a data set that is not among `published.PUBLISHED`.

Example:
    >>> prepared_folder(Path("/no/such/folder"), "mnist") is None
    True
"""

import contextlib
import fnmatch
import functools
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

from cnn.data.content import Content, Entry, Options, Source, file_name
from cnn.data.sources import published
from cnn.data.sources.published import quiet, require_packages
from cnn.errors import RequestError
from cnn.places import user_path
from cnn.progress import Progress

BATCH = 500  # records decoded at a time: twice as fast as 64, and larger batches are no faster
# Pillow's modes of images that are read, with the mode that each is converted to. Pixels of one bit (1) become grey,
# and indices into a palette (P) become the palette's colours.
_MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "1": "L", "P": "RGB"}
_NAME = re.compile(  # as TFDS writes names; no part can be "..", or longer than the name of a file may be
    r"(?P<base>[a-z0-9_]{1,100})(/(?P<config>\w[\w.+-]{0,99}))?(:(?P<version>((\d{1,9}|\*)\.){2}(\d{1,9}|\*)))?",
    re.ASCII,
)


def base_name(name: str) -> str:
    """The data set of `NAME[/CONFIG][:VERSION]`; any other text as it is.

    Example:
        >>> base_name("emnist/letters:3.1.0")
        'emnist'
    """
    match = _NAME.fullmatch(name)
    return match["base"] if match else name


def prepared_folder(root: Path, name: str) -> Path | None:
    """The prepared folder of `NAME[/CONFIG][:VERSION]`, of the highest version that fits; None where there is none.

    Where the name has no configuration, TFDS's default is taken, as TFDS recorded it when it prepared the data set.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        return None
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


def read(name: str, folder: Path, progress: Progress = Progress()) -> Content:
    """Decode a prepared folder. The test part is the split `test`, or `validation` where there is no `test`.

    Raises:
        RequestError: it is no image classification set, its images have several shapes or not 8 bits, a split is
            missing, its format needs a package that is not installed (the line says which), or a file is damaged.
    """
    _require_readable(name, folder)
    import tensorflow_datasets as tfds

    with quiet():
        try:
            builder = tfds.builder_from_directory(folder)
        except Exception as error:  # TFDS raises errors of many types for a damaged description
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


def prepare(name: str, root: Path, progress: Progress = Progress()) -> Path | None:
    """Let TFDS download and prepare a data set, which needs TensorFlow. Returns the folder; None for an unknown name.

    Raises:
        RequestError: it is no image classification set, or TensorFlow is not installed.
        OSError: TFDS cannot prepare it.
    """
    builder = _builder(name, root)
    if builder is None:
        return None
    image_and_label(name, builder.info)
    if importlib.util.find_spec("tensorflow") is None:
        _refuse(
            name,
            f"is not prepared under {root}, and preparing it needs TensorFlow",
            "prepared there, or: pip install tensorflow",
        )
    progress.line(f"{name}: TensorFlow Datasets downloads and prepares it under {root}")
    with quiet(), contextlib.redirect_stdout(io.StringIO()):  # TFDS prints its progress
        try:
            builder.download_and_prepare(file_format="array_record")
        except Exception as error:  # each builder of TFDS raises errors of its own types
            raise OSError(f"{name}: TensorFlow Datasets cannot prepare it: {_first_line(error)}") from error
    return Path(builder.data_dir)


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
        _refuse(name, f"has the features {listed}", "a set with one image and one class label")
    if np.dtype(kinds[image].np_dtype) != np.uint8:
        _refuse(name, f"has images of type {np.dtype(kinds[image].np_dtype)}", "a set with uint8 images")
    return image, label


def _require_readable(name: str, folder: Path) -> None:
    """Refuse a folder in a format whose packages are not installed; the line says what to install."""
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
    images = None
    labels = np.empty(count, np.int32)
    done = 0
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
    """The pixels of each row's image file, [height, width, channels].

    A grey image gets as many equal channels as the data set describes. TFDS could decode the images too, but it wraps
    16 bits into 8, and takes an index into a palette for a colour.
    """
    from PIL import Image

    channels = builder.info.features[key].shape[-1]
    decoded = []
    for row in rows:
        try:
            with Image.open(io.BytesIO(row[key])) as image:
                mode = image.mode
                converted = image if _MODES.get(mode, mode) == mode else image.convert(_MODES[mode])
                pixels = np.asarray(converted)
        except Exception as error:  # Pillow raises errors of many types
            _refuse_damaged(name, builder.data_dir, f"split {split}: {_first_line(error)}")
        if mode not in _MODES:
            _refuse(name, f"has an image of mode {mode} in its split {split}", "a set with images of 8 bits a channel")
        decoded.append(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], channels, axis=-1))
    return decoded


def _batches(name: str, builder: Any, split: str, image: str) -> Iterator[list[dict[str, Any]]]:
    """The rows of a split, in batches; each row holds its image as the bytes of a file."""
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
    except Exception as error:  # the readers raise errors of many types
        _refuse_damaged(name, builder.data_dir, f"split {split}: {_first_line(error)}")


def _builder(name: str, root: Path) -> Any:
    """TFDS's builder of a data set; None where TFDS knows no such name."""
    require_packages(name, {"tensorflow_datasets": "tensorflow-datasets"})
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    try:
        with quiet(), contextlib.redirect_stdout(io.StringIO()):  # TFDS prints that TensorFlow is missing
            return tfds.builder(name, data_dir=root)
    except registered.DatasetNotFoundError:
        return None
    except (ValueError, AssertionError) as error:  # no such configuration or version
        raise RequestError(f"dataset={name!r}: {_first_line(error)}") from error
    except Exception as error:  # TFDS raises errors of many types, for a missing package or description
        _refuse(name, f"cannot be loaded ({_first_line(error)})", "a whole set whose packages are installed")


def _require_same_shape(name: str, shapes: list[tuple[int, ...]]) -> None:
    if len(set(shapes)) > 1:
        fault = f"has images of several shapes, such as {min(shapes)} and {max(shapes)}"
        _refuse(name, fault, "a set with images of one shape")


def _refuse(name: str, fault: str, accepted: str) -> NoReturn:
    raise RequestError(f"dataset={name!r}: {fault}; must be {accepted}")


def _refuse_damaged(name: str, folder: str | os.PathLike, reason: str) -> NoReturn:
    _refuse(name, f"{folder} is damaged or incomplete ({reason})", "prepared anew: remove that folder first")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _takes(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _find(name: str, options: Options) -> Entry | None:
    """Takes a prepared folder first, then a download of published files; else TFDS has to prepare the data set."""
    root = user_path(
        "data_dir", options.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    )  # as TFDS
    folder = prepared_folder(root, name)
    if folder is None and base_name(name) in published.PUBLISHED:
        download = functools.partial(published.download, name, root, options.progress)
        return Entry(file_name(name), download, f"{_key_name(name)}-published")
    if folder is None:
        folder = prepare(name, root, options.progress)
    if folder is None:
        return None
    return Entry(file_name(name), functools.partial(read, name, folder, options.progress), _key(name, folder))


def _key(name: str, folder: Path) -> str:
    """The cache key of a prepared folder. It depends on the path, the description, and each file's size and time."""
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(folder.iterdir()):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
        if path.suffix == ".json":
            digest.update(path.read_bytes())
    return f"{_key_name(name)}-{digest.hexdigest()[:12]}"


def _key_name(name: str) -> str:
    return re.sub(r"[^\w.]", "-", name)


def _known() -> list[str]:
    """All names that TFDS can list; without TFDS those that we know ourselves."""
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        return list(published.PUBLISHED)
    return tfds.list_builders(with_community_datasets=False)


SOURCE = Source(
    accepts="mnist, fashion_mnist, cifar10, another TensorFlow Datasets name",
    takes=_takes,
    find=_find,
    known=_known,
    base_name=base_name,
    forms="name, name/config, name:version",
)
