"""SIGKILL at any moment: nothing is lost, nothing counts twice, and every bit is that of a run never touched."""

import pytest

from tests.faults.harness import SWEEP, TRAIN, Delays, Writes, survive


def test_a_training_survives_kills(train, compiled, tmp_path):
    survive(TRAIN, tmp_path / "delays", train.folder, compiled, Delays(0, train.seconds), kills=2)
    survive(TRAIN, tmp_path / "writes", train.folder, compiled, Writes(0), kills=1)


@pytest.mark.slow
def test_a_sweep_survives_a_kill(sweep, compiled, tmp_path):
    survive(SWEEP, tmp_path, sweep.folder, compiled, Delays(0, sweep.seconds), kills=1)


@pytest.mark.slow
def test_a_training_survives_40_kills(train, compiled, tmp_path):
    survive(TRAIN, tmp_path, train.folder, compiled, Delays(1, train.seconds), kills=40)


@pytest.mark.slow
def test_a_sweep_survives_40_kills(sweep, compiled, tmp_path):
    survive(SWEEP, tmp_path, sweep.folder, compiled, Delays(1, sweep.seconds), kills=40)


@pytest.mark.slow
def test_a_training_survives_20_kills_while_it_writes(train, compiled, tmp_path):
    survive(TRAIN, tmp_path, train.folder, compiled, Writes(1), kills=20)


@pytest.mark.slow
def test_a_sweep_survives_20_kills_while_it_writes(sweep, compiled, tmp_path):
    survive(SWEEP, tmp_path, sweep.folder, compiled, Writes(1), kills=20)


@pytest.mark.slow
def test_a_training_survives_10_kills_while_it_compiles(train, tmp_path):
    survive(TRAIN, tmp_path, train.folder, tmp_path / "compiled", Delays(2, 2 * train.seconds), kills=10)
