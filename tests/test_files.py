import ast
import json
import os
import platform
from pathlib import Path

import pytest

from cnn import files
from cnn.errors import RequestError
from cnn.files import one_writer, read_json, write, write_json


def test_one_writer_and_the_next_when_it_has_left(tmp_path):
    folder = tmp_path / "deep" / "w"
    with one_writer(folder):
        expected = rf"in use by process {os.getpid()} on {platform.node()} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
        with pytest.raises(RequestError, match=expected), one_writer(folder):
            pass
    with one_writer(folder):
        pass
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_an_error_gives_the_folder_back(tmp_path):
    with pytest.raises(ZeroDivisionError), one_writer(tmp_path):
        raise ZeroDivisionError
    with one_writer(tmp_path):
        pass


@pytest.mark.parametrize("deleted", [[".lock"], [".writer.json"], [".lock", ".writer.json"]])
def test_a_deleted_lock_lets_nobody_in(tmp_path, deleted):
    with one_writer(tmp_path):
        for name in deleted:
            (tmp_path / name).unlink()
        with pytest.raises(RequestError, match="in use by"), one_writer(tmp_path):
            pass
    with one_writer(tmp_path):
        pass


def test_what_a_killed_writer_left_says_nothing_and_goes(tmp_path):
    (tmp_path / ".writer.json").write_text('{"process": 1, "host": "gone", "since": "yesterday"}')
    half = tmp_path / f".config.json.{'0' * 32}"
    half.write_text("{")
    (tmp_path / ".hidden").write_text("somebody's")
    with one_writer(tmp_path):
        assert not half.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", ".lock"]


@pytest.mark.parametrize("path", ["/proc/nowhere", "/etc/hostname", "/etc/hostname/x"])
def test_a_folder_that_cannot_be_written(path):
    with (
        pytest.raises(RequestError, match=f"workdir='{path}': must be a folder that can be written"),
        one_writer(Path(path)),
    ):
        pass


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.json"
    write(path, "old")
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write(path, "new")
    assert path.read_text() == "old" and [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_json_and_its_name_are_flushed_to_disk(tmp_path, monkeypatch):
    flushed = []
    flush = os.fsync

    def fsync(file):
        flushed.append((os.fstat(file).st_ino, (tmp_path / "result.json").exists()))
        flush(file)

    monkeypatch.setattr(os, "fsync", fsync)
    write_json(tmp_path / "result.json", {"status": "done"})
    named = [tmp_path / "result.json", tmp_path]
    assert flushed == [(path.stat().st_ino, renamed) for path, renamed in zip(named, (False, True), strict=True)]


def test_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"accuracy": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_json_names_the_file(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(RequestError, match=r"config\.json: is not JSON"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_only_a_regular_file_is_read(tmp_path, make):
    """A pipe would block, and a device would never end."""
    make(tmp_path / "config.json")
    with pytest.raises(RequestError, match=r"config\.json: cannot be read \((not a regular file|Is a directory)\)"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize("change", [{"seed": 1}, {"seed": "0"}, {"seed": None}, {"more": 0}, {"seal": None}])
def test_what_was_altered_is_not_unsealed(change):
    sealed = json.loads(json.dumps(files.seal({"seed": 0, "rate": 0.1})))
    assert files.unseal(sealed) == {"seed": 0, "rate": 0.1}
    assert files.unseal({**sealed, **change}) is None
    assert files.unseal({"seed": 0, "rate": 0.1}) is None


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a: 1, now 2"]),
        ({"a": {"b": [1]}}, {"a": {"b": [1, 2]}}, ["a.b: [1], now [1, 2]"]),
        ({"a": 1}, {"b": 1}, ["a: 1, now None", "b: None, now 1"]),
    ],
)
def test_differences(old, new, expected):
    assert files.differences(old, new) == expected


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    place = tmp_path / "deep" / "entry"
    with pytest.raises(ZeroDivisionError), files.whole_folder(place) as folder:
        (folder / "half").write_text("1")
        raise ZeroDivisionError
    assert list(place.parent.iterdir()) == []
    with files.whole_folder(place) as folder:
        assert not place.exists()
        (folder / "whole").write_text("1")
    assert [path.name for path in place.iterdir()] == ["whole"]
    with pytest.raises(OSError, match="not empty"), files.whole_folder(place):
        pass
    assert [path.name for path in place.parent.iterdir()] == ["entry"]


def test_to_remove_a_link_leaves_what_it_points_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("1")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "kept")
    files.remove(link)
    files.remove(tmp_path / "never there")
    assert not link.exists() and (tmp_path / "kept" / "file").read_text() == "1"
    files.remove(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


ROOT = Path(__file__).parents[1]
DELETERS = {"unlink", "rmdir", "rmtree", "removedirs", "remove_tree"}


def deleted(path):
    """The calls in a file that delete from the file system."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and (
            node.attr in DELETERS or (node.attr == "remove" and ast.unparse(node.value) == "os")
        ):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}"


def test_one_function_deletes():
    sources = [path for room in ("cnn", "experiments") for path in (ROOT / room).rglob("*.py")]
    deletions = [call for path in sources for call in deleted(path)]
    assert [call for call in deletions if not call.startswith("cnn/files.py")] == [] and len(deletions) == 2
