"""Published files, fetched and checked by TensorFlow Datasets and decoded by NumPy, without TensorFlow.

TensorFlow Datasets (TFDS) knows the address, the size and the SHA-256 of each file; its download manager fetches and
checks the files. TFDS needs TensorFlow to extract and to read them, so we do that ourselves. Two formats are read:
gzipped IDX files (MNIST and the data sets in its format) and the binary version of CIFAR. Nothing is unpickled, and
nothing is extracted to disk.

Sources: IDX, http://yann.lecun.com/exdb/mnist/; CIFAR, https://www.cs.toronto.edu/~kriz/cifar.html ("binary version").

Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:  # type 8 (unsigned byte), 2 axes of 1 and 3 elements
    ...     _ = Path(file.name).write_bytes(gzip.compress(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 5, 6, 7])))
    ...     read_idx(Path(file.name))
    array([[5, 6, 7]], dtype=uint8)
"""

import contextlib
import gzip
import hashlib
import importlib
import logging
import math
import tarfile
import zlib
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn import files
from cnn.data.content import Content
from cnn.errors import RequestError
from cnn.progress import Progress, Work


class _Cifar(NamedTuple):
    """The names in the archive of a CIFAR set, and the form of its records."""

    folder: str
    train: tuple[str, ...]  # the files of the training part, in order
    test: str
    class_names: str
    label_bytes: int  # at the start of a record; the last of them is the class (CIFAR-100 has a coarse label before it)


class _File(NamedTuple):
    """A published file after its download."""

    url: str
    path: Path


IDX_SETS = ("mnist", "fashion_mnist", "kmnist")
CIFAR_SETS = {
    "cifar10": _Cifar(
        "cifar-10-batches-bin",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
        1,
    ),
    "cifar100": _Cifar("cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 2),
}
PUBLISHED = (*IDX_SETS, *CIFAR_SETS)


def download(name: str, data_dir: Path, progress: Progress = Progress()) -> Content:
    """Download and decode one of the `PUBLISHED` data sets; the images are in the order of the files.

    Args:
        name: the data set, or `NAME:VERSION` with the version that TFDS knows.
        data_dir: the files are kept in its folder `downloads`, as TFDS keeps them.
        progress: shows the download.

    Raises:
        RequestError: the version is another one, TFDS is not installed, or a downloaded file is damaged: it has another
            SHA-256 than TFDS registers, or cannot be decoded. One line names its URL. A file with another SHA-256 is
            not kept.
        OSError: a file cannot be fetched; one line names its URL. No partial file is left.
    """
    require_packages(name, {"tensorflow_datasets": "tensorflow-datasets"})
    import tensorflow_datasets as tfds

    base, _, version = name.partition(":")
    if base not in PUBLISHED:
        raise RequestError(f"dataset={name!r}: has one configuration; must be {base.partition('/')[0]}")
    known = tfds.builder_cls(base).VERSION
    if version and not known.match(version):
        raise RequestError(f"dataset={name!r}: is not prepared under {data_dir}; version must be {known}")
    fetched = _fetch(base, data_dir / "downloads", progress)
    try:
        return _read_cifar_set(base, fetched) if base in CIFAR_SETS else _read_idx_set(base, data_dir, fetched)
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        sources = ", ".join(f"{file.url} ({file.path})" for file in fetched.values())
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RequestError(
            f"dataset={name!r}: {sources}: cannot be decoded: {reason}; must be the file that "
            "TensorFlow Datasets describes"
        ) from error


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of a gzipped IDX file, in the shape that its header gives.

    Raises:
        ValueError, EOFError, OSError, zlib.error: the file is cut short, or is no such file.
    """
    with gzip.open(path) as file:
        data = file.read()
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path.name} is not an IDX file of unsigned bytes")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", count=data[3], offset=4))
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape))
    if body.size != math.prod(shape):
        raise ValueError(f"{path.name} holds {body.size} bytes after its header, which promises {math.prod(shape)}")
    return body.reshape(shape)


def read_cifar_records(data: bytes, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 32, 32, 3] and labels [n] of CIFAR's binary version.

    A record holds its label bytes, of which the last is the class, and then the red, the green and the blue plane.

    Raises:
        ValueError: the length of the data is no multiple of a record's.

    Example:
        >>> images, labels = read_cifar_records(bytes([7]) + bytes(1024) + bytes([9]) * 2048, label_bytes=1)
        >>> labels.tolist(), images[0, 0, 0].tolist()
        ([7], [0, 9, 9])
    """
    records = np.frombuffer(data, np.uint8).reshape(-1, label_bytes + 3 * 32 * 32)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, label_bytes - 1].astype(np.int32)


def _read_idx_set(name: str, data_dir: Path, fetched: dict[str, _File]) -> Content:
    import tensorflow_datasets as tfds

    def read(part: str) -> tuple[np.ndarray, np.ndarray]:
        images = read_idx(fetched[f"{part}-images-idx3-ubyte.gz"].path)
        labels = read_idx(fetched[f"{part}-labels-idx1-ubyte.gz"].path)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(f"images {images.shape} and labels {labels.shape} do not go together")
        return images[..., np.newaxis], labels.astype(np.int32)

    with quiet():
        names = tfds.builder(name, data_dir=data_dir).info.features["label"].names
    return _checked(Content(*read("train"), *read("t10k"), tuple(names)))


def _read_cifar_set(name: str, fetched: dict[str, _File]) -> Content:
    layout = CIFAR_SETS[name]
    (archive_file,) = fetched.values()
    members = {}
    with tarfile.open(archive_file.path, "r|gz") as archive:  # reads the archive once, in the order of its members
        for member in archive:
            content = archive.extractfile(member) if member.name.startswith(layout.folder) else None
            if content is not None:  # it is None for a folder
                members[Path(member.name).name] = content.read()
    wanted = (*layout.train, layout.test, layout.class_names)
    missing = [file for file in wanted if file not in members]
    if missing:
        raise ValueError(f"{layout.folder}/{missing[0]} is not in the archive")
    train = read_cifar_records(b"".join(members[file] for file in layout.train), layout.label_bytes)
    test = read_cifar_records(members[layout.test], layout.label_bytes)
    return _checked(Content(*train, *test, tuple(members[layout.class_names].decode().split())))


def _checked(content: Content) -> Content:
    """The content; ValueError where its labels and its classes do not go together."""
    for labels in (content.train_labels, content.test_labels):
        if labels.size == 0 or labels.max() >= len(content.class_names):
            raise ValueError(f"labels are empty or go beyond the {len(content.class_names)} classes")
    return content


def _fetch(name: str, folder: Path, progress: Progress) -> dict[str, _File]:
    """The files of a data set by their published names; each has the size and the SHA-256 that TFDS registers."""
    import tensorflow_datasets as tfds

    infos = tfds.builder_cls(name).url_infos
    (folder / name).mkdir(parents=True, exist_ok=True)
    total = sum(int(info.size) // 1000 for info in infos.values())
    waiting = f"waiting for another process that downloads into {folder / name}"
    with (
        files.one_at_a_time(folder / name, waiting, progress),
        progress.task(f"downloading {name} (kB)", total) as task,
    ):
        return {info.filename: _File(url, _fetch_one(name, folder, url, info, task)) for url, info in infos.items()}


def _fetch_one(name: str, folder: Path, url: str, info: Any, task: Work) -> Path:
    """The path of one file; TFDS's download manager fetches it, and keeps it for the next time."""
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import download_manager, resource

    stored_name = resource.get_dl_fname(url, info.checksum)
    places = (folder / "manual" / info.filename, folder / name / stored_name, folder / stored_name)
    stored = next((path for path in places if path.exists()), None)
    # The manager trusts a stored file without reading it, so we look whether it has been damaged since.
    intact = stored is not None and _sha256(stored) == info.checksum
    before = set((folder / name).glob("*.tmp.*"))
    try:
        with quiet():
            if not intact:
                # Without network this fails at once, while the manager would try ten times over three minutes.
                requests.head(url, timeout=20, allow_redirects=True).close()
            manager = tfds.download.DownloadManager(
                download_dir=folder,
                manual_dir=folder / "manual",
                dataset_name=name,
                url_infos={url: info},
                force_checksums_validation=True,
                force_download=stored is not None and not intact,
            )
            return _watched(manager, url, info.size, folder / name, task)
    except download_manager.NonMatchingChecksumError as error:
        expected = f"{int(info.size)} bytes with SHA-256 {info.checksum}"
        raise RequestError(
            f"dataset={name!r}: {url}: what was downloaded is damaged or another file; must be {expected}"
        ) from error
    except (OSError, tfds.download.DownloadError) as error:
        raise OSError(f"{url}: cannot be downloaded: {_reason(error, url)}") from error
    finally:
        for leftover in set((folder / name).glob("*.tmp.*")) - before:
            with contextlib.suppress(OSError):
                files.remove(leftover)


def _reason(error: BaseException, url: str) -> str:
    """Why a download failed, without the URL, which the message names already."""
    inner = getattr(error.args[0], "reason", None) if error.args else None  # of requests: what urllib3 says of the host
    text = str(inner or error).rpartition("): ")[2] if inner else str(error)
    return " ".join(text.replace(url, "").split()).removeprefix("Failed to get url ").strip()


def _watched(manager: Any, url: str, size: int, folder: Path, task: Work) -> Path:
    """Download in a thread, and meanwhile advance the task, in kB, as the temporary file grows."""
    start = task.done
    kilobytes = int(size) // 1000
    with futures.ThreadPoolExecutor(1) as pool:
        download = pool.submit(manager.download, url)
        while futures.wait([download], timeout=0.2).not_done:
            with contextlib.suppress(FileNotFoundError):  # the manager renames the finished file
                grown = sum(path.stat().st_size for path in folder.glob("*.tmp.*/*")) // 1000
                task.advance(max(0, start + min(grown, kilobytes) - task.done))
    path = Path(download.result())
    task.advance(start + kilobytes - task.done)
    return path


def require_packages(name: str, packages: dict[str, str]) -> None:
    """Refuse data set `name` where a module cannot be imported; the line says which package to install.

    Args:
        name: the data set.
        packages: the package of each module.

    Raises:
        RequestError: a module cannot be imported.
    """
    for module, package in packages.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise RequestError(
                f"dataset={name!r}: needs the package {package}, which cannot be imported ({error}); "
                f"must be installed: pip install {package}"
            ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep TFDS from showing its own progress bars and warnings inside the block."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.utils import tqdm_utils

    logger = logging.getLogger("absl")
    bars = tqdm_utils._active  # TFDS has no public function that tells
    level = logger.level
    logger.setLevel(logging.ERROR)
    tfds.display_progress_bar(enable=False)
    try:
        yield
    finally:
        tfds.display_progress_bar(enable=bars)
        logger.setLevel(level)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
