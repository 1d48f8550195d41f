"""JAX's own settings, which the environment can change between two starts of one run."""

import json
import signal
import time

import pytest

from tests.faults.harness import TRAIN, assert_same, finish, saved, start

pytestmark = pytest.mark.slow

FIXED = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_RANDOM_SEED_OFFSET": "7",
}


def killed_after_a_checkpoint(folder, compiled):
    process = start(TRAIN, folder, compiled=compiled)
    while not saved(folder):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def test_what_the_project_fixes_changes_no_bit(train, compiled, tmp_path, monkeypatch):
    killed_after_a_checkpoint(tmp_path / "w", compiled)
    for name, value in FIXED.items():
        monkeypatch.setenv(name, value)
    _, said = finish(start(TRAIN, tmp_path / "w", compiled=compiled))
    assert "another machine" not in said and "damaged" not in said
    assert_same(tmp_path / "w", train.folder)


def test_what_changes_bits_is_said_and_marked(compiled, tmp_path, monkeypatch):
    killed_after_a_checkpoint(tmp_path / "w", compiled)
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    _, said = finish(start(TRAIN, tmp_path / "w", compiled=compiled))
    assert "another machine" in said and "jax_disable_most_optimizations: None, now 'True'" in said
    assert json.loads((tmp_path / "w" / "result.json").read_text())["same_machine"] is False
