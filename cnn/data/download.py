"""Published files, fetched and checked by TensorFlow Datasets and decoded by NumPy, without TensorFlow.

TensorFlow Datasets (TFDS) knows the address, the size and the SHA-256 of each file, and its download manager fetches
and checks them; only its extraction and its readers need TensorFlow, and they are not used here. Two formats are read:
gzipped IDX files (MNIST and the sets made like it) and the binary version of CIFAR. Nothing is unpickled, and nothing
is extracted to disk.

Sources: IDX, http://yann.lecun.com/exdb/mnist/; CIFAR, https://www.cs.toronto.edu/~kriz/cifar.html ("binary version").

Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:  # type 8 (unsigned byte), 2 axes, of 1 and 3
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
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn.config import RequestError
from cnn.data.cache import Content
from cnn.progress import Progress, Task


class _Cifar(NamedTuple):
    """What the archive of a CIFAR set holds."""

    folder: str
    train: tuple[str, ...]  # in order
    test: str
    class_names: str
    label_bytes: int  # of a record; the last is the class (CIFAR-100 has the coarse label before it)


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


def prepare(name: str, data_dir: Path, progress: Progress = Progress()) -> Content:
    """Download (into `data_dir/downloads`, as TFDS does) and decode one of the `PUBLISHED` sets, in file order.

    The name may have a version, `NAME:VERSION`, which must be the one that TFDS knows.

    Raises:
        RequestError: another version, TFDS is not installed, or what was downloaded is damaged: it has another SHA-256
            than TFDS registers, or cannot be decoded; one line names its URL. Nothing of it is kept.
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
    files = _fetch(base, data_dir / "downloads", progress)
    try:
        return _read_cifar_set(base, files) if base in CIFAR_SETS else _read_idx_set(base, data_dir, files)
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        sources = ", ".join(f"{url} ({path})" for url, path in files.values())
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RequestError(
            f"dataset={name!r}: {sources}: cannot be decoded: {reason}; must be the file that "
            "TensorFlow Datasets describes"
        ) from error


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of a gzipped IDX file, of whatever shape its header gives.

    Raises:
        ValueError, EOFError, OSError, zlib.error: the file is cut short or is not such a file.
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
    """Images [n, 32, 32, 3] and labels [n] of CIFAR's binary version: label bytes, then red, green and blue planes."""
    records = np.frombuffer(data, np.uint8).reshape(-1, label_bytes + 3 * 32 * 32)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, label_bytes - 1].astype(np.int32)


def _read_idx_set(name: str, data_dir: Path, files: dict[str, tuple[str, Path]]) -> Content:
    import tensorflow_datasets as tfds

    def read(part: str) -> tuple[np.ndarray, np.ndarray]:
        images = read_idx(files[f"{part}-images-idx3-ubyte.gz"][1])
        labels = read_idx(files[f"{part}-labels-idx1-ubyte.gz"][1])
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(f"images {images.shape} and labels {labels.shape} do not go together")
        return images[..., np.newaxis], labels.astype(np.int32)

    with quiet():
        names = tfds.builder(name, data_dir=data_dir).info.features["label"].names
    return _checked(Content(*read("train"), *read("t10k"), tuple(names)))


def _read_cifar_set(name: str, files: dict[str, tuple[str, Path]]) -> Content:
    layout = CIFAR_SETS[name]
    ((_, path),) = files.values()
    members = {}
    with tarfile.open(path, "r|gz") as archive:  # a stream: one pass, whatever the order of the members
        for member in archive:
            content = archive.extractfile(member) if member.name.startswith(layout.folder) else None
            if content is not None:  # a folder has none
                members[Path(member.name).name] = content.read()
    missing = [wanted for wanted in (*layout.train, layout.test, layout.class_names) if wanted not in members]
    if missing:
        raise ValueError(f"{layout.folder}/{missing[0]} is not in the archive")
    train = read_cifar_records(b"".join(members[file] for file in layout.train), layout.label_bytes)
    test = read_cifar_records(members[layout.test], layout.label_bytes)
    return _checked(Content(*train, *test, tuple(members[layout.class_names].decode().split())))


def _checked(content: Content) -> Content:
    for labels in (content.train_labels, content.test_labels):
        if labels.size == 0 or labels.max() >= len(content.class_names):
            raise ValueError(f"labels are empty or go beyond the {len(content.class_names)} classes")
    return content


def _fetch(name: str, folder: Path, progress: Progress) -> dict[str, tuple[str, Path]]:
    """{published file name: (URL, path)}; each file has the size and the SHA-256 that TFDS registers for its URL."""
    import tensorflow_datasets as tfds

    infos = tfds.builder_cls(name).url_infos
    (folder / name).mkdir(parents=True, exist_ok=True)
    total = sum(int(info.size) // 1000 for info in infos.values())
    with _alone(folder / name, progress), progress.task(f"downloading {name} (kB)", total) as task:
        return {info.filename: (url, _fetch_one(name, folder, url, info, task)) for url, info in infos.items()}


def _fetch_one(name: str, folder: Path, url: str, info: Any, task: Task) -> Path:
    """One file, by TFDS's download manager, which keeps it for the next time."""
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import download_manager, resource

    stored_name = resource.get_dl_fname(url, info.checksum)
    places = (folder / "manual" / info.filename, folder / name / stored_name, folder / stored_name)
    stored = next((path for path in places if path.exists()), None)
    # The manager trusts a stored file by its name: one that was damaged later has to be fetched again.
    intact = stored is not None and _sha256(stored) == info.checksum
    before = set((folder / name).glob("*.tmp.*"))
    try:
        with quiet():
            if not intact:
                # The manager tries ten times over three minutes; this says at once that there is no network.
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
        raise OSError(f"{url}: cannot be downloaded: {' '.join(str(error).split())}") from error
    finally:
        for leftover in set((folder / name).glob("*.tmp.*")) - before:
            shutil.rmtree(leftover, ignore_errors=True)


def _watched(manager: Any, url: str, size: int, folder: Path, task: Task) -> Path:
    """Download in a thread and advance the task, in kB, by how far the temporary file has grown."""
    start, kilobytes = task.done, int(size) // 1000
    with futures.ThreadPoolExecutor(1) as pool:
        download = pool.submit(manager.download, url)
        while futures.wait([download], timeout=0.2).not_done:
            with contextlib.suppress(FileNotFoundError):  # the finished file is renamed while we look
                grown = sum(path.stat().st_size for path in folder.glob("*.tmp.*/*")) // 1000
                task.advance(max(0, start + min(grown, kilobytes) - task.done))
    path = Path(download.result())
    task.advance(start + kilobytes - task.done)
    return path


@contextlib.contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[None]:
    """One process at a time fetches a data set. The lock is on the folder itself: it leaves no file behind."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.line(f"waiting for another process that downloads into {folder}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks: two downloads at once cost time, no more
        yield
    finally:
        os.close(handle)


def require_packages(name: str, packages: dict[str, str]) -> None:
    """Refuse data set `name` where a module of {module: package} cannot be imported, saying what to install."""
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
    """TFDS without its own progress bars and warnings; both are as before afterwards."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.utils import tqdm_utils

    logger, bars = logging.getLogger("absl"), tqdm_utils._active  # TFDS has a setter and no getter
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
