"""The cache: whole entries, checked, rebuilt, shared between writers."""

import json
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnn import files
from cnn.data import cache
from cnn.data.content import Content, fingerprint
from cnn.errors import RequestError


def content(seed: int = 0) -> Content:
    rng = np.random.default_rng(seed)
    parts = []
    for n in (7, 3):
        parts += [rng.integers(0, 256, (n, 4, 6, 2), np.uint8), rng.integers(0, 3, n, np.int32)]
    return Content(*parts, ("a", "b", "ü"))


def same(left: Content, right: Content) -> bool:
    return left.class_names == right.class_names and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(left[:4], right[:4], strict=True)
    )


def names(folder: Path) -> list[str]:
    """What is in a folder, beside the lock of those who write."""
    return sorted(path.name for path in folder.iterdir() if path.name != files.LOCK)


def must_not_build() -> Content:
    raise AssertionError("the entry should have been read")


def test_second_load_reads_memory_maps(tmp_path, recorder):
    first, mark = cache.load(tmp_path, "toy", content, recorder)
    second, again = cache.load(tmp_path, "toy", must_not_build, recorder)
    assert same(first, content()) and same(second, content()) and mark == again
    assert isinstance(second.train_images, np.memmap) and not second.train_images.flags.writeable
    assert recorder.lines == [] and names(tmp_path) == ["toy"]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def edit_manifest(path: Path) -> None:
    manifest = json.loads(path.read_text())
    manifest["class_names"][0] = "z"
    path.write_text(json.dumps(manifest))


def in_place_of(path: Path, make: Callable[[Path], object]) -> None:
    """Something else has the name of a file or folder of the entry."""
    files.remove(path)
    make(path)


def sign(entry: Path, **changes: object) -> None:
    """Change the manifest, and give it the checksums that fit: those of its own content, and of the arrays."""
    path = entry / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    manifest.pop("crc32")
    for name in manifest["files"] if isinstance(manifest["files"], dict) else ():
        content = (entry / f"{name}.npy").read_bytes()
        manifest["files"][name] = {"size": len(content), "crc32": zlib.crc32(content)}
    crc32 = zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
    path.write_text(json.dumps({**manifest, "crc32": crc32}))


def replace(entry: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Put another array in the place of one, with checksums that fit."""
    array = np.load(entry / f"{name}.npy")
    np.save(entry / f"{name}.npy", change(array))
    sign(entry)


def write_signed(entry: Path, name: str, content: bytes) -> None:
    (entry / f"{name}.npy").write_bytes(content)
    sign(entry)


DAMAGE = {
    "image byte": lambda entry: flip(entry / "train_images.npy", -1),
    "first header byte": lambda entry: flip(entry / "test_images.npy", 0),
    "label byte": lambda entry: flip(entry / "test_labels.npy", -4),
    "images truncated": lambda entry: (entry / "train_images.npy").write_bytes(b"\x93NUMPY"),
    "images empty": lambda entry: (entry / "train_images.npy").write_bytes(b""),
    "labels missing": lambda entry: (entry / "train_labels.npy").unlink(),
    "manifest missing": lambda entry: (entry / "manifest.json").unlink(),
    "manifest truncated": lambda entry: (entry / "manifest.json").write_bytes(b'{"files"'),
    "manifest is a list": lambda entry: (entry / "manifest.json").write_text("[]"),
    "manifest is no text": lambda entry: (entry / "manifest.json").write_bytes(b"\xff\xfe\xff"),
    "class name changed": lambda entry: edit_manifest(entry / "manifest.json"),
    "manifest is a pipe": lambda entry: in_place_of(entry / "manifest.json", os.mkfifo),
    "manifest is a folder": lambda entry: in_place_of(entry / "manifest.json", Path.mkdir),
    "manifest is a device": lambda entry: in_place_of(
        entry / "manifest.json", lambda path: path.symlink_to("/dev/zero")
    ),
    "manifest is nested": lambda entry: (entry / "manifest.json").write_text("[" * 100_000),
    "labels are a pipe": lambda entry: in_place_of(entry / "train_labels.npy", os.mkfifo),
    "entry is a pipe": lambda entry: in_place_of(entry, os.mkfifo),
    "entry is a link to nothing": lambda entry: in_place_of(entry, lambda path: path.symlink_to("nothing")),
    "class names are null": lambda entry: sign(entry, class_names=None),
    "class names are numbers": lambda entry: sign(entry, class_names=list(range(10))),
    "class names are missing": lambda entry: sign(entry, class_names=[]),
    "label too large": lambda entry: replace(entry, "train_labels", lambda labels: labels + 1000),
    "label negative": lambda entry: replace(entry, "test_labels", lambda labels: labels - 1000),
    "labels of another type": lambda entry: replace(entry, "test_labels", lambda labels: labels.astype(np.float32)),
    "fewer labels than images": lambda entry: replace(entry, "train_labels", lambda labels: labels[1:]),
    "images of another type": lambda entry: replace(entry, "train_images", lambda images: images.astype(np.int16)),
    "images without channels": lambda entry: replace(entry, "train_images", lambda images: images[..., 0]),
    "images of two shapes": lambda entry: replace(entry, "test_images", lambda images: images[:, 1:]),
    "no image": lambda entry: replace(entry, "train_images", lambda images: images[:0]),
    "images are an archive": lambda entry: write_signed(entry, "test_images", b"PK\x03\x04" + bytes(60)),
    "a header that does not end": lambda entry: write_signed(
        entry, "test_images", b"\x93NUMPY\x01\x00\x0a\x00{'descr': ("
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_noticed_and_repaired(tmp_path, recorder, damage):
    cache.load(tmp_path, "toy", content)
    damage(tmp_path / "toy")
    repaired, _ = cache.load(tmp_path, "toy", lambda: content(1), recorder)
    assert same(repaired, content(1))
    assert len(recorder.lines) == 1 and "damaged" in recorder.lines[0] and str(tmp_path / "toy") in recorder.lines[0]
    assert same(cache.load(tmp_path, "toy", must_not_build)[0], content(1))
    assert names(tmp_path) == ["toy"]


WRITER = """
import sys
from pathlib import Path

import numpy as np

from cnn.data import cache
from cnn.data.content import Content

save = np.save


def save_and_wait(file, array, **options):
    save(file, array, **options)
    print("half-written", flush=True)
    sys.stdin.read()


np.save = save_and_wait
part = (np.zeros((2, 4, 6, 2), np.uint8), np.zeros(2, np.int32))
cache.load(Path(sys.argv[1]), sys.argv[2], lambda: Content(*part, *part, ("a",)))
"""


@pytest.fixture
def half_written(tmp_path):
    """Starts a process that writes an entry, and waits after the first array until its standard input is closed."""
    writers = []

    def begin(key: str) -> subprocess.Popen:
        command = [sys.executable, "-W", "error", "-c", WRITER, str(tmp_path), key]
        writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        writers.append(writer)
        assert writer.stdout.readline() == "half-written\n"
        return writer

    yield begin
    for writer in writers:
        writer.kill()
        writer.communicate()


def test_a_note_is_kept_and_an_old_entry_has_none(tmp_path):
    noted = content()._replace(note="2 of 3 ü laid on white")
    mark = cache.load(tmp_path, "noted", lambda: noted)[1]
    assert cache.load(tmp_path, "noted", must_not_build)[0].note == noted.note and mark == fingerprint(content())
    cache.load(tmp_path, "plain", content)
    assert "note" not in json.loads((tmp_path / "plain" / "manifest.json").read_text())
    assert cache.load(tmp_path, "plain", must_not_build)[0].note == ""


@pytest.mark.thorough
@pytest.mark.parametrize("next_start", ["reads", "builds"])
def test_what_a_killed_writer_left_is_removed(tmp_path, half_written, next_start):
    if next_start == "reads":
        cache.load(tmp_path, "toy", content)
    writer = half_written("other")
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(files.temporary_files(tmp_path)) == 1
    cache.load(tmp_path, "toy", must_not_build if next_start == "reads" else content)
    assert names(tmp_path) == ["toy"]


@pytest.mark.thorough
def test_a_living_writer_loses_nothing_and_keeps_no_reader_waiting(tmp_path, half_written, recorder):
    cache.load(tmp_path, "toy", content)
    writer = half_written("other")
    half = files.temporary_files(tmp_path)
    cache.load(tmp_path, "toy", must_not_build, recorder)
    assert files.temporary_files(tmp_path) == half and recorder.lines == []
    second = threading.Thread(target=cache.load, args=(tmp_path, "third", content, recorder))
    second.start()  # a second writer, which waits for the first
    while not recorder.lines:
        assert second.is_alive()
    assert files.temporary_files(tmp_path) == half and "waiting for another process" in recorder.lines[0]
    writer.communicate()
    second.join()
    assert writer.returncode == 0 and names(tmp_path) == ["other", "third", "toy"]
    assert cache.load(tmp_path, "other", must_not_build)[0].class_names == ("a",)


def test_failed_build_leaves_nothing(tmp_path):
    def fail() -> Content:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        cache.load(tmp_path, "toy", fail)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path, recorder):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    built, mark = cache.load(blocked, "toy", content, recorder)
    assert same(built, content()) and mark == fingerprint(content())
    assert len(recorder.lines) == 1 and "stay in memory" in recorder.lines[0]


@pytest.mark.parametrize("damaged_before", [False, True])
def test_concurrent_writers_get_the_same_entry(tmp_path, damaged_before):
    if damaged_before:
        cache.load(tmp_path, "toy", content)
        DAMAGE["image byte"](tmp_path / "toy")
    writers = 6
    meet = threading.Barrier(writers)
    loaded = []
    failures = []

    def build() -> Content:
        meet.wait(timeout=30)  # every writer has seen that the entry is missing
        return content()

    def write() -> None:
        try:
            loaded.append(cache.load(tmp_path, "toy", build)[0])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and len(loaded) == writers and all(same(one, content()) for one in loaded)
    assert same(cache.load(tmp_path, "toy", must_not_build)[0], content())
    assert names(tmp_path) == ["toy"]


@pytest.mark.parametrize(
    "variable, expected", [("/elsewhere", "/elsewhere/conv-relu-pool"), ("", "/home/me/.cache/conv-relu-pool")]
)
def test_default_folder(monkeypatch, variable, expected):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert cache.default_folder() == Path(expected)


def test_without_a_home_the_default_folder_is_refused_in_words(monkeypatch):
    def nobody(cls):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(nobody))
    with pytest.raises(RequestError, match=r"^XDG_CACHE_HOME and HOME are not set, .*: set one of them$"):
        cache.default_folder()


def test_another_format_builds_again(tmp_path, recorder, monkeypatch):
    cache.load(tmp_path, "toy", content, recorder)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    cache.load(tmp_path, "toy", content, recorder)
    assert "format 1, now 2" in recorder.lines[0]
    cache.load(tmp_path, "toy", must_not_build, recorder)
