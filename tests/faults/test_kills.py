"""SIGKILL at any moment: nothing is lost, nothing counts twice, and every bit is that of a run never touched."""

import signal

import pytest

from tests.faults.harness import SWEEP, TRAIN, Compiles, Delays, Writes, assert_same, finish, start, survive

pytestmark = pytest.mark.thorough


@pytest.mark.slow
def test_a_training_survives_kills(train, compiled, tmp_path):
    survive(TRAIN, tmp_path / "delays", train.folder, compiled, Delays(0, train.seconds), kills=2)
    survive(TRAIN, tmp_path / "writes", train.folder, compiled, Writes(0), kills=1)


@pytest.mark.slow
def test_a_sweep_survives_a_kill(sweep, compiled, tmp_path):
    survive(SWEEP, tmp_path, sweep.folder, compiled, Delays(0, sweep.seconds), kills=1)


@pytest.mark.slow
def test_a_training_survives_30_kills(train, compiled, tmp_path):
    kills = survive(TRAIN, tmp_path, train.folder, compiled, Delays(1, train.seconds), kills=30)
    assert sum(kill.own > 0 for kill in kills) >= len(kills) // 2  # each had trained on, and lost what came after


@pytest.mark.slow
def test_a_sweep_survives_30_kills(sweep, compiled, tmp_path):
    kills = survive(SWEEP, tmp_path, sweep.folder, compiled, Delays(1, sweep.seconds), kills=30)
    assert sum(kill.own > 0 for kill in kills) >= len(kills) // 2  # each had trained on, and lost what came after


@pytest.mark.slow
def test_a_training_survives_20_kills_while_it_writes(train, compiled, tmp_path):
    survive(TRAIN, tmp_path, train.folder, compiled, Writes(1), kills=20)


@pytest.mark.slow
def test_a_sweep_survives_20_kills_while_it_writes(sweep, compiled, tmp_path):
    survive(SWEEP, tmp_path, sweep.folder, compiled, Writes(1), kills=20)


@pytest.mark.slow
def test_a_training_survives_10_kills_while_it_compiles(train, compiled, tmp_path):
    when = Compiles(2)
    kills = []
    folder = tmp_path / "w"
    for number in range(10):
        empty = tmp_path / f"compiled-{number}"  # nothing that an earlier start has compiled
        process = start(TRAIN, folder, compiled=empty)
        kills.append(when.wait(process, folder, empty))
        process.kill()
        _, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, err
    assert sum(kill.phase == "compile" for kill in kills) >= 8  # an entry can come between a look and the kill
    finish(start(TRAIN, folder, compiled=compiled))
    assert_same(folder, train.folder)
