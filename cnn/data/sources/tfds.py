"""Data sets of TensorFlow Datasets (TFDS): found on disk where TFDS has prepared them, or else downloaded.

TFDS keeps a prepared data set in `DATA_DIR/NAME/[CONFIG/]VERSION`. To find it we only list folders, so a data set whose
arrays are in our cache loads without importing TFDS. `cnn.data.sources.prepared` reads such a folder. The preparation
of a data set that is not among `published.PUBLISHED` needs TensorFlow.

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
import json
import os
import re
from pathlib import Path
from typing import Any

from cnn.data.content import Entry, Options, Source, file_name
from cnn.data.sources import prepared, published
from cnn.data.sources.prepared import image_and_label
from cnn.data.sources.published import quiet, require_packages
from cnn.errors import RequestError, first_line, refuse_dataset
from cnn.places import user_path
from cnn.progress import Progress

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
        refuse_dataset(
            name,
            f"is not prepared under {root}, and preparing it needs TensorFlow",
            "prepared there, or: pip install tensorflow",
        )
    progress.line(f"{name}: TensorFlow Datasets downloads and prepares it under {root}")
    with quiet(), contextlib.redirect_stdout(io.StringIO()):  # TFDS prints its progress
        try:
            builder.download_and_prepare(file_format="array_record")
        except Exception as error:  # each builder of TFDS raises errors of its own types
            raise OSError(f"{name}: TensorFlow Datasets cannot prepare it: {first_line(error)}") from error
    return Path(builder.data_dir)


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
        raise RequestError(f"dataset={name!r}: {first_line(error)}") from error
    except Exception as error:  # TFDS raises errors of many types, for a missing package or description
        refuse_dataset(name, f"cannot be loaded ({first_line(error)})", "a whole set whose packages are installed")


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
    read_it = functools.partial(prepared.read, name, folder, options.progress, options.room)
    return Entry(file_name(name), read_it, _key(name, folder), reopen=functools.partial(prepared.reopen, name, folder))


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
