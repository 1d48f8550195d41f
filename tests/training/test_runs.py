import json
import os

import numpy as np
import pytest

from cnn.config import RequestError
from cnn.training.runs import TrialFolder, default_workdir, differences, read_json, write, write_json


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.json"
    write(path, "old")
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write(path, "new")
    assert path.read_text() == "old" and [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_json_and_its_name_are_flushed_to_disk(tmp_path, monkeypatch):
    flushed, flush = [], os.fsync

    def fsync(file):
        flushed.append((os.fstat(file).st_ino, (tmp_path / "result.json").exists()))
        flush(file)

    monkeypatch.setattr(os, "fsync", fsync)
    write_json(tmp_path / "result.json", {"status": "done"})
    named = [tmp_path / "result.json", tmp_path]
    assert flushed == [(path.stat().st_ino, renamed) for path, renamed in zip(named, (False, True))]


def test_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"accuracy": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_json_names_the_file(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(RequestError, match=r"config\.json: is not JSON"):
        read_json(tmp_path / "config.json")


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
    assert differences(old, new) == expected


@pytest.mark.parametrize("dataset", ["digits", "emnist/letters", "../../etc/x.npz", "a b;c.npz", ".npz"])
def test_the_default_folder_stays_under_runs(dataset):
    path = default_workdir("train", dataset, {"dataset": dataset})
    assert path.parts[:2] == ("runs", "train") and len(path.parts) == 3 and ".." not in path.parts
    assert path == default_workdir("train", dataset, {"dataset": dataset})
    assert path != default_workdir("train", dataset, {"dataset": dataset, "seed": 1})


def test_a_trial_folder_keeps_what_it_is_given(tmp_path):
    folder = TrialFolder(tmp_path / "trial")
    assert folder.result() is None and folder.metrics() == [] and not folder.path.exists()
    folder.begin({"seed": 0})
    folder.begin({"seed": 0})
    with pytest.raises(RequestError, match="seed: 0, now 1"):
        folder.begin({"seed": 1})
    folder.write_metrics([{"epoch": 1}, {"epoch": 2}])
    assert folder.metrics() == [{"epoch": 1}, {"epoch": 2}]
    right = np.array([True, False, True] * 5)
    folder.finish({"status": "done", "test_examples": 15, "test_accuracy": 10 / 15}, right)
    np.testing.assert_array_equal(folder.correct_images(), right)
    assert json.loads((folder.path / "result.json").read_text())["status"] == "done"


def test_a_failed_trial_is_not_finished(tmp_path):
    folder = TrialFolder(tmp_path)
    folder.finish({"status": "failed", "reason": "out of memory"})
    assert folder.result() is None and folder.correct_images() is None
