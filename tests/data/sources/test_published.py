"""Downloads over loopback by TFDS's real download manager; only the addresses and the checksums are ours."""

import gzip
import hashlib
import http.server
import io
import socket
import tarfile
import threading

import filelock
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums
from tensorflow_datasets.core.utils import tqdm_utils

from cnn import files
from cnn.data import datasets
from cnn.data.sources import published
from cnn.errors import RequestError

RNG = np.random.default_rng(0)
CIFAR = {
    "cifar10": ("cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in (1, 2, 3, 4, 5)], "test_batch.bin"),
    "cifar100": ("cifar-100-binary", ["train.bin"], "test.bin"),
}


class Server:
    """Serves `files` {path: bytes} on loopback and counts what was fetched."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fetched: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                known = self.path in server.files
                self.send_response(200 if known else 404)
                self.send_header("Content-Length", str(len(server.files.get(self.path, b""))))
                self.end_headers()

            def do_GET(self) -> None:
                server.fetched.append(self.path)
                self.do_HEAD()
                self.wfile.write(server.files.get(self.path, b""))

            def log_message(self, *arguments: object) -> None:
                """Writes nothing to standard error."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    yield server
    server.close()


def publish(server, monkeypatch, name, files, registered=None):
    """Serve the files, and register their checksums (or those of the `registered` bytes) for their URLs."""
    infos = {}
    for file, data in files.items():
        server.files[f"/{name}/{file}"] = data
        expected = (registered or {}).get(file, data)
        digest = hashlib.sha256(expected).hexdigest()
        infos[f"{server.url}/{name}/{file}"] = checksums.UrlInfo(tfds.core.utils.Size(len(expected)), digest, file)
    monkeypatch.setattr(tfds.builder_cls(name), "url_infos", infos)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def idx_files() -> tuple[list[np.ndarray], dict[str, bytes]]:
    """Train and test images and labels, not square, and their files."""
    arrays = []
    for n in (30, 10):
        arrays += [RNG.integers(0, 256, (n, 6, 5), np.uint8), np.arange(n) % 10]
    names = [f"{part}-{kind}.gz" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    return arrays, {file: idx(array) for file, array in zip(names, arrays, strict=True)}


def pack(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, data in members.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def cifar_members(name: str) -> tuple[list[np.ndarray], dict[str, bytes]]:
    """Train and test images and labels, and the archive's members, the last file of the training part first."""
    folder, train_files, test_file = CIFAR[name]
    classes = 10 if name == "cifar10" else 100
    parts = {}
    members = {}
    for file in (*train_files, test_file):
        images = RNG.integers(0, 256, (4, 32, 32, 3), np.uint8)
        labels = RNG.integers(0, classes, 4)
        planes = images.transpose(0, 3, 1, 2).reshape(4, -1)
        coarse = [np.full((4, 1), 7)] if name == "cifar100" else []
        members[f"{folder}/{file}"] = np.hstack([*coarse, labels[:, None], planes]).astype(np.uint8).tobytes()
        parts[file] = images, labels
    words = "".join(f"class_{i}\n" for i in range(classes)) + "\n"
    members[f"{folder}/{'batches.meta.txt' if name == 'cifar10' else 'fine_label_names.txt'}"] = words.encode()
    members[f"{folder}/coarse_label_names.txt"] = b"coarse\n"
    train = [np.concatenate([parts[file][i] for file in train_files]) for i in (0, 1)]
    return [*train, *parts[test_file]], dict(reversed(members.items()))


def published_files(name: str) -> tuple[list[np.ndarray], dict[str, bytes]]:
    if name in CIFAR:
        arrays, members = cifar_members(name)
        return arrays, {f"{name}-binary.tar.gz": pack(members)}
    arrays, files = idx_files()
    arrays[0] = arrays[0][..., None]
    arrays[2] = arrays[2][..., None]
    return arrays, files


FIRST_CLASSES = {
    "mnist": ("0", "1"),
    "fashion_mnist": ("T-shirt/top", "Trouser"),
    "kmnist": ("o", "ki"),
    "cifar10": ("class_0", "class_1"),
    "cifar100": ("class_0", "class_1"),
}


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_published_set_is_downloaded_once(server, monkeypatch, tmp_path, capfd, recorder, name):
    arrays, files = published_files(name)
    publish(server, monkeypatch, name, files)
    folders = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache"}

    first = datasets.load(name, **folders, progress=recorder)
    for array, expected in zip(
        (first.train_images, first.train_labels, first.test_images, first.test_labels), arrays, strict=True
    ):
        np.testing.assert_array_equal(array, expected)
    assert first.train_labels.dtype == np.int32 and first.train_images.dtype == np.uint8
    assert first.class_names[:2] == FIRST_CLASSES[name] and first.classes == (100 if name == "cifar100" else 10)
    assert sorted(server.fetched) == sorted(server.files)
    (task,) = recorder.tasks
    assert task.done == task.total == sum(len(data) // 1000 for data in files.values())
    assert list((tmp_path / "data").rglob("*.tmp.*")) == []
    assert capfd.readouterr() == ("", "") and tqdm_utils._active

    server.files.clear()  # whatever is asked of the server now fails
    assert datasets.load(name, **folders).fingerprint == first.fingerprint
    again = datasets.load(name, data_dir=tmp_path / "data", cache_dir=tmp_path / "other")
    assert again.fingerprint == first.fingerprint and len(server.fetched) == len(files)


def test_damaged_download_is_fetched_again(server, monkeypatch, tmp_path):
    _, files = published_files("mnist")
    publish(server, monkeypatch, "mnist", files)
    first = datasets.load("mnist", data_dir=tmp_path, cache_dir=tmp_path / "1")
    published = files["train-images-idx3-ubyte.gz"]
    (stored,) = (path for path in (tmp_path / "downloads" / "mnist").iterdir() if path.read_bytes() == published)
    stored.write_bytes(published[:-9])
    assert datasets.load("mnist", data_dir=tmp_path, cache_dir=tmp_path / "2").fingerprint == first.fingerprint
    assert server.fetched.count("/mnist/train-images-idx3-ubyte.gz") == 2 and len(server.fetched) == 5
    assert stored.read_bytes() == published


def test_version(server, monkeypatch, tmp_path):
    publish(server, monkeypatch, "mnist", published_files("mnist")[1])
    known = tfds.builder_cls("mnist").VERSION
    with pytest.raises(RequestError, match=rf"mnist:1\.0\.0.*version must be {known}"):
        datasets.load("mnist:1.0.0", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(RequestError, match=r"mnist/first.*must be mnist$"):
        datasets.load("mnist/first", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert server.fetched == []
    assert datasets.load(f"mnist:{known}", data_dir=tmp_path, cache_dir=tmp_path / "cache").image_shape == (6, 5, 1)


def fails(error, name, tmp_path, *words):
    """The load fails with one line that has these words, and leaves neither an entry nor a partial file."""
    with pytest.raises(error) as caught:
        datasets.load(name, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    assert error is not OSError or message.count("http://") == 1, message  # the URL, once
    assert not (tmp_path / "cache").exists() and list((tmp_path / "data").rglob("*.tmp.*")) == []


@pytest.mark.parametrize("name, file", [("mnist", "t10k-labels-idx1-ubyte.gz"), ("cifar10", "cifar10-binary.tar.gz")])
def test_wrong_checksum(server, monkeypatch, tmp_path, name, file):
    _, files = published_files(name)
    expected = b"what TFDS expects"
    publish(server, monkeypatch, name, files, registered={file: expected})
    fails(RequestError, name, tmp_path, f"{server.url}/{name}/{file}", hashlib.sha256(expected).hexdigest(), "17 bytes")
    server.files[f"/{name}/{file}"] = expected  # the right file, but not an archive
    fails(RequestError, name, tmp_path, f"{server.url}/{name}/{file}", "cannot be decoded")


ALTERED = {
    "empty": lambda data: b"",
    "cut to half": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "with one bit turned": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "longer": lambda data: data + b"\0",
    "a page that asks to log in": lambda data: b"<html>Please log in</html>",
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_a_download_that_was_altered_on_the_way(server, monkeypatch, tmp_path, alter):
    _, files = published_files("mnist")
    publish(server, monkeypatch, "mnist", files)
    path = "/mnist/train-images-idx3-ubyte.gz"
    server.files[path] = alter(server.files[path])
    fails(RequestError, "mnist", tmp_path, server.url + path, "must be", "SHA-256")
    server.files[path] = files[path.rpartition("/")[2]]  # the next try fetches it anew
    assert datasets.load("mnist", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache").image_shape == (6, 5, 1)


def test_missing_on_the_server(server, monkeypatch, tmp_path):
    publish(server, monkeypatch, "fashion_mnist", published_files("fashion_mnist")[1])
    del server.files["/fashion_mnist/train-labels-idx1-ubyte.gz"]
    fails(OSError, "fashion_mnist", tmp_path, f"{server.url}/fashion_mnist/train-labels-idx1-ubyte.gz", "404")


def test_unreachable_host(server, monkeypatch, tmp_path):
    publish(server, monkeypatch, "cifar10", published_files("cifar10")[1])
    with socket.socket() as closed:  # bound and never listening: connections are refused at once
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/cifar-10-binary.tar.gz"
        (info,) = tfds.builder_cls("cifar10").url_infos.values()
        monkeypatch.setattr(tfds.builder_cls("cifar10"), "url_infos", {url: info})
        fails(OSError, "cifar10", tmp_path, url, "refused")


def changed_idx(file, change):
    def files():
        all_files = published_files("mnist")[1]
        return all_files | {file: change(all_files[file])}

    return "mnist", files


def changed_cifar(change):
    def files():
        members = cifar_members("cifar10")[1]
        change(members)
        return {"cifar10-binary.tar.gz": pack(members)}

    return "cifar10", files


IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"
BATCH = "cifar-10-batches-bin/data_batch_3.bin"
UNDECODABLE = {
    "idx cut short": changed_idx(IMAGES, lambda data: data[: len(data) // 2]),
    "idx with a flipped bit": changed_idx(IMAGES, lambda data: data[:-6] + bytes([data[-6] ^ 1]) + data[-5:]),
    "idx without its end": changed_idx(IMAGES, lambda data: gzip.compress(gzip.decompress(data)[:-1])),
    "idx of another type": changed_idx(LABELS, lambda data: gzip.compress(b"\0\0\x0d\1\0\0\0\1\0\0\0\0")),
    "idx empty": changed_idx(LABELS, lambda data: gzip.compress(b"")),
    "not gzip": changed_idx(LABELS, lambda data: b"<html>"),
    "fewer labels than images": changed_idx(LABELS, lambda data: idx(np.arange(3))),
    "label beyond the classes": changed_idx(LABELS, lambda data: idx(np.arange(30))),
    "archive cut short": ("cifar10", lambda: {"cifar10-binary.tar.gz": pack(cifar_members("cifar10")[1])[:-2000]}),
    "archive without a file": changed_cifar(lambda members: members.pop(BATCH)),
    "file cut short": changed_cifar(lambda members: members.update({BATCH: members[BATCH][:-1]})),
}


@pytest.mark.parametrize("name, files", UNDECODABLE.values(), ids=UNDECODABLE)
def test_damaged_content_with_the_right_checksum(server, monkeypatch, tmp_path, name, files):
    publish(server, monkeypatch, name, files())
    fails(RequestError, name, tmp_path, server.url, "cannot be decoded")


def test_two_loads_at_once(server, monkeypatch, tmp_path, recorder):
    """The second waits for the first, finds its files, and fetches nothing."""
    publish(server, monkeypatch, "cifar10", published_files("cifar10")[1])
    folder = tmp_path / "downloads" / "cifar10"
    folder.mkdir(parents=True)
    with files.one_at_a_time(folder, "", recorder):
        prints = []
        arguments = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache", "progress": recorder}
        loads = [
            threading.Thread(target=lambda: prints.append(datasets.load("cifar10", **arguments).fingerprint))
            for _ in range(2)
        ]
        for thread in loads:
            thread.start()
        for _ in range(200):
            if len(recorder.lines) == 2:
                break
            threading.Event().wait(0.05)
        assert len(recorder.lines) == 2 and all("waiting" in line for line in recorder.lines) and server.fetched == []
    for thread in loads:
        thread.join()
    assert len(prints) == 2 and len(set(prints)) == 1 and len(server.fetched) == 1


def test_a_file_system_without_locks(server, monkeypatch, tmp_path):
    """Two processes may then download at once, which only costs time."""
    monkeypatch.setattr(filelock.FileLock, "acquire", lambda *_, **__: (_ for _ in ()).throw(OSError("no locks")))
    publish(server, monkeypatch, "cifar10", published_files("cifar10")[1])
    assert datasets.load("cifar10", data_dir=tmp_path, cache_dir=tmp_path / "cache").classes == 10
