"""The cache: whole entries, checked, rebuilt, shared between writers."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from cnn.data import cache
from cnn.data.content import Content, fingerprint


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


def must_not_build() -> Content:
    raise AssertionError("the entry should have been read")


def test_second_load_reads_memory_maps(tmp_path, recorder):
    first, mark = cache.load(tmp_path, "toy", content, recorder)
    second, again = cache.load(tmp_path, "toy", must_not_build, recorder)
    assert same(first, content()) and same(second, content()) and mark == again
    assert isinstance(second.train_images, np.memmap) and not second.train_images.flags.writeable
    assert recorder.lines == [] and [path.name for path in tmp_path.iterdir()] == ["toy"]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def edit_manifest(path: Path) -> None:
    manifest = json.loads(path.read_text())
    manifest["class_names"][0] = "z"
    path.write_text(json.dumps(manifest))


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
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_noticed_and_repaired(tmp_path, recorder, damage):
    cache.load(tmp_path, "toy", content)
    damage(tmp_path / "toy")
    repaired, _ = cache.load(tmp_path, "toy", lambda: content(1), recorder)
    assert same(repaired, content(1))
    assert len(recorder.lines) == 1 and "damaged" in recorder.lines[0] and str(tmp_path / "toy") in recorder.lines[0]
    assert same(cache.load(tmp_path, "toy", must_not_build)[0], content(1))
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_failed_build_leaves_nothing(tmp_path):
    def fail() -> Content:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        cache.load(tmp_path, "toy", fail)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path, recorder):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    found, mark = cache.load(blocked, "toy", content, recorder)
    assert same(found, content()) and mark == fingerprint(content())
    assert len(recorder.lines) == 1 and "stay in memory" in recorder.lines[0]


@pytest.mark.parametrize("damaged_before", [False, True])
def test_concurrent_writers_get_the_same_entry(tmp_path, damaged_before):
    if damaged_before:
        cache.load(tmp_path, "toy", content)
        DAMAGE["image byte"](tmp_path / "toy")
    writers = 6
    meet = threading.Barrier(writers)
    found = []
    failures = []

    def build() -> Content:
        meet.wait(timeout=30)  # every writer has seen that the entry is missing
        return content()

    def write() -> None:
        try:
            found.append(cache.load(tmp_path, "toy", build)[0])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and len(found) == writers and all(same(one, content()) for one in found)
    assert same(cache.load(tmp_path, "toy", must_not_build)[0], content())
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


@pytest.mark.parametrize(
    "variable, expected", [("/elsewhere", "/elsewhere/conv-relu-pool"), ("", "/home/me/.cache/conv-relu-pool")]
)
def test_default_folder(monkeypatch, variable, expected):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert cache.default_folder() == Path(expected)


def test_another_format_builds_again(tmp_path, recorder, monkeypatch):
    cache.load(tmp_path, "toy", content, recorder)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    cache.load(tmp_path, "toy", content, recorder)
    assert "format 1, now 2" in recorder.lines[0]
    cache.load(tmp_path, "toy", must_not_build, recorder)
