"""The recorded studies: kept whole and small, without what names the machine that ran them."""

import dataclasses
import json
import shutil

import pytest

from benchmarks import found_records
from benchmarks.found_records import RESULTS, Compared
from cnn.errors import RequestError
from cnn.study.swept import Swept

RECORDS = found_records.recorded(RESULTS)
NAMES = [str(record.folder.relative_to(RESULTS)) for record in RECORDS]
ONE_OF_EACH = [next(record for record in RECORDS if isinstance(record, kind)) for kind in (Swept, Compared)]


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_a_record_is_whole_and_small(record):
    names = {path.name for path in record.folder.iterdir()}
    assert {"config.json", *found_records.TABLES} < names
    assert {name for name in names if not name.endswith(".png")} == {"config.json", *found_records.TABLES}
    assert sum(path.stat().st_size for path in record.folder.iterdir()) < 400_000


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_a_record_is_of_a_committed_revision_and_names_no_folder(record):
    provenance = json.loads((record.folder / "config.json").read_text())["provenance"]
    assert provenance["command"].startswith("python -m experiments.") and "=/" not in provenance["command"]
    assert provenance["git_revision"].isalnum() and "host" not in provenance


@pytest.mark.parametrize("record", ONE_OF_EACH, ids=["sweep", "comparison"])
def test_a_study_is_kept_without_what_names_its_machine(record, tmp_path):
    """The command is one that anybody can type; everything else stays as it was."""
    worked = tmp_path / "worked"
    shutil.copytree(record.folder, worked)
    settings = json.loads((worked / "config.json").read_text())
    before = settings["provenance"] | {
        "host": "somewhere",
        "command": "/home/me/bin/python -m experiments.some_study --workdir=/x --data_dir /y --width=16 --seeds=5",
    }
    (worked / "config.json").write_text(json.dumps(settings | {"provenance": before}))
    (worked / "report.html").write_text("large")
    to = tmp_path / "kept" / "one"
    to.mkdir(parents=True)
    (to / "of_an_older_record.png").write_text("old")
    found_records.add(worked, tmp_path, "kept/one")
    assert {path.name for path in to.iterdir()} == {path.name for path in record.folder.iterdir()}
    kept = json.loads((to / "config.json").read_text())
    after = before | {"command": "python -m experiments.some_study --width=16 --seeds=5"}
    del after["host"]
    assert kept == settings | {"provenance": after}
    (again,) = found_records.recorded(tmp_path)
    assert again == dataclasses.replace(record, folder=to)


def edited(folder):
    path = folder / "answer.json"
    path.write_text(path.read_text().replace("digits", "mnist"))


def unfinished(folder):
    (folder / "answer.json").unlink()


@pytest.mark.parametrize("damage", [edited, unfinished])
@pytest.mark.parametrize("record", ONE_OF_EACH, ids=["sweep", "comparison"])
def test_what_is_no_finished_study_is_not_kept(record, damage, tmp_path):
    worked = tmp_path / "worked"
    shutil.copytree(record.folder, worked)
    damage(worked)
    with pytest.raises(RequestError, match=r"folder=|was edited"):
        found_records.add(worked, tmp_path, "kept/one")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", ["", "mnist", "/tmp/x", "../x", "a/..", "a/b/c", "a/"])
def test_a_name_that_is_none_of_a_record_is_refused(name, tmp_path):
    """Nothing is deleted: an empty name would be the folder of all records."""
    old = tmp_path / "mnist" / "a"
    old.mkdir(parents=True)
    with pytest.raises(RequestError, match=r"^to=.*: must be STUDY/NAME"):
        found_records.add(ONE_OF_EACH[0].folder, tmp_path, name)
    assert old.exists()


def test_a_copy_that_fails_leaves_the_old_record(tmp_path, monkeypatch):
    old = tmp_path / "mnist" / "a"
    old.mkdir(parents=True)
    (old / "answer.json").write_text("old")
    monkeypatch.setattr(shutil, "copyfile", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found_records.add(ONE_OF_EACH[0].folder, tmp_path, "mnist/a")
    assert [path.name for path in old.parent.iterdir()] == ["a"] and (old / "answer.json").read_text() == "old"


def test_sweeps_stand_first_and_the_usual_ones_before_others():
    places = [(record.folder.parent.name, isinstance(record, Compared)) for record in RECORDS]
    assert places == sorted(places)
    digits = [record.folder.name for record in RECORDS if record.folder.parent.name == "digits"]
    assert digits == ["width", "parameters", "macs", "average"]
