import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from cnn import machine
from cnn.backends import PRECISIONS
from cnn.errors import RequestError


def test_a_machine_is_plain_json_and_its_digest_changes_with_each_part():
    here = machine.here()
    description = here.to_json()
    assert json.loads(json.dumps(description)) == description == machine.here().to_json()
    assert description["packages"]["jax"] == jax.__version__
    assert description["cpu"] and description["cores"] == machine.cores()
    plain = description.keys() - {"packages", "instructions", "devices", "cores", "jax_settings"}
    others = [dataclasses.replace(here, **{name: "other"}) for name in plain]
    changed = {"packages": (("jax", "0"),), "instructions": ("mmx",), "jax_settings": (("a", "b"),)}
    changed |= {"devices": 1000, "cores": 1000}
    others += [dataclasses.replace(here, **{name: value}) for name, value in changed.items()]
    assert len({here.digest(), *(other.digest() for other in others)}) == len(description) + 1


def test_a_machine_comes_back_from_a_file():
    here = dataclasses.replace(machine.here(), jax_settings=(("jax_enable_x64", "True"),))
    plain = json.loads(json.dumps(here.to_json()))
    assert machine.Machine.from_json(plain) == here
    assert here.differences(machine.here()) == ["jax_settings.jax_enable_x64: None, now 'True'"]
    for damaged in ({}, {**plain, "packages": "x"}, {**plain, "more": 1}, {**plain, "instructions": None}):
        with pytest.raises(RequestError, match="plain values of a machine"):
            machine.Machine.from_json(damaged)


@pytest.mark.parametrize("name, value", [("jax_enable_x64", True), ("jax_disable_most_optimizations", True)])
def test_a_setting_of_jax_that_changes_numbers_is_part_of_the_machine(name, value):
    before = machine.here()
    kept = jax.config.values[name]
    jax.config.update(name, value)
    try:
        assert machine.here().differences(before) == [f"jax_settings.{name}: None, now '{value}'"]
    finally:
        jax.config.update(name, kept)


def test_the_command_is_what_a_shell_would_run(tmp_path):
    code = "from cnn import machine; print(machine.provenance(machine.here())['command'])"
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
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    machine.git_revision.cache_clear()
    yield git
    machine.git_revision.cache_clear()


def test_the_revision_says_whether_files_differ_from_it(repository, tmp_path):
    commit = repository("rev-parse", "HEAD")
    assert machine.git_revision() == commit
    (tmp_path / "file").write_text("2")
    machine.git_revision.cache_clear()
    assert machine.git_revision() == f"{commit}-dirty"


def test_where_git_does_not_say_whether_files_differ_neither_does_the_revision(repository, monkeypatch):
    commit = repository("rev-parse", "HEAD")
    output = machine._output
    monkeypatch.setattr(machine, "_output", lambda *words: None if "status" in words else output(*words))
    assert machine.git_revision() == f"{commit}-unknown"


def test_asking_for_the_revision_writes_nothing_into_the_repository(repository, tmp_path):
    (tmp_path / "file").write_text("1")  # a new time stamp, for which git would like to write its index anew
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / ".git").rglob("*")}
    assert machine.git_revision() is not None
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / ".git").rglob("*")} == before


def test_code_without_a_history_has_no_revision(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    machine.git_revision.cache_clear()
    assert machine.git_revision() is None
    machine.git_revision.cache_clear()


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    for name in machine.NUMBER_OF_THREADS:
        monkeypatch.delenv(name, raising=False)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert machine.cores() == 1 == machine.here().cores
    finally:
        os.sched_setaffinity(0, allowed)
    assert machine.cores() == len(allowed)


@pytest.mark.parametrize(
    "first, second, expected",
    [("3", "5", 3), ("", "5", 5), ("many", "5", 5), ("0", "5", 1), ("", "", len(os.sched_getaffinity(0)))],
)
def test_cores_are_as_many_as_xla_has_threads(monkeypatch, first, second, expected):
    monkeypatch.setenv("PJRT_NPROC", first)
    monkeypatch.setenv("NPROC", second)
    assert machine.cores() == expected


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_product_sums_in_float32(precision):
    product = machine.matrix_product(precision, 8)()
    assert product.shape == (8, 8) and product.dtype == "float32"
    assert machine.matrix_product_rate(precision, repeats=2, side=64) > 0


@pytest.mark.parametrize("said, expected", [({"bytes_limit": 5}, 5), ({}, None), (None, None)])
def test_the_memory_of_an_accelerator_is_what_it_says(monkeypatch, said, expected):
    device = SimpleNamespace(platform="gpu", memory_stats=lambda: said)
    monkeypatch.setattr(machine, "own_devices", lambda: [device])
    assert machine.device_memory() == expected


@pytest.mark.parametrize(
    "whole, data, groups, expected",
    [(9, 8, [7], 7), (9, 6, [7, 8], 6), (5, None, [], 5), (None, None, [], None)],
)
def test_the_memory_of_a_cpu_is_the_smallest_limit(monkeypatch, whole, data, groups, expected):
    for name, value in (("_memory", whole), ("_data_limit", data), ("_group_limits", groups)):
        monkeypatch.setattr(machine, name, lambda value=value: value)
    assert machine.device_memory() == expected


@pytest.mark.parametrize(
    "groups, files, expected",
    [
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "300\n", "memory.max": "400\n"}, [300, 400]),
        ("0::/\n", {"memory.max": "500\n", "other/memory.max": "1\n"}, [500]),
        ("0::/gone\n", {}, []),
        ("5:cpu,cpuacct:/c\n4:memory:/c\n", {"memory/c/memory.limit_in_bytes": "600\n", "memory.max": "1"}, [600]),
    ],
)
def test_a_control_group_and_those_around_it_limit_the_memory(tmp_path, groups, files, expected):
    named = tmp_path / "groups"
    named.write_text(groups)
    for name, content in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert machine._group_limits(tmp_path / "root", named) == expected
    assert machine._group_limits(tmp_path / "root", tmp_path / "none") == []
