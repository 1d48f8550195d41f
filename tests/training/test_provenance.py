import json
import subprocess
import sys

import jax
import pytest

from cnn.training import provenance
from cnn.training.provenance import digest, machine


def test_a_machine_is_plain_json_and_its_digest_changes_with_each_part():
    found = machine()
    assert json.loads(json.dumps(found)) == found == machine()
    assert found["cpu"] and found["packages"]["jax"] == jax.__version__
    assert len({digest(found), *(digest(found | {name: "other"}) for name in found)}) == len(found) + 1


def test_the_command_is_what_a_shell_would_run(tmp_path):
    code = "from cnn.training.provenance import provenance; print(provenance()['command'])"
    arguments = [sys.executable, "-W", "error", "-c", code, "a b;c", "$(id)"]
    said = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()
    assert subprocess.run(said, shell=True, capture_output=True, text=True, check=True).stdout.strip() == said


@pytest.fixture
def repository(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ("-c", "user.name=n", "-c", "user.email=e")
        command = ("git", "-C", str(tmp_path), *identity, *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    provenance._git_revision.cache_clear()
    yield git
    provenance._git_revision.cache_clear()


def test_the_revision_says_whether_files_differ_from_it(repository, tmp_path):
    commit = repository("rev-parse", "HEAD")
    assert provenance._git_revision() == commit
    (tmp_path / "file").write_text("2")
    provenance._git_revision.cache_clear()
    assert provenance._git_revision() == f"{commit}-dirty"


def test_asking_for_the_revision_writes_nothing_into_the_repository(repository, tmp_path):
    (tmp_path / "file").write_text("1")  # a new time stamp, for which git would like to write its index anew
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / ".git").rglob("*")}
    assert provenance._git_revision() is not None
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / ".git").rglob("*")} == before


def test_code_without_a_history_has_no_revision(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    provenance._git_revision.cache_clear()
    assert provenance._git_revision() is None
    provenance._git_revision.cache_clear()
