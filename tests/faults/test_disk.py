"""A full disk, or a folder that cannot be written any more: one line, status 1, nothing corrupt, and it continues."""

import errno
import os

import pytest

from cnn.training.runs import TrialFolder
from tests.faults.harness import OBEDIENT, SMALL_FILES, SWEEP, TRAIN, assert_same, finish, start
from tests.faults.test_stops import wait_for

# Bytes at which these fail: who writes, the configuration, a checkpoint, the metrics of the second epoch.
LIMITS = [1500, *(pytest.param(size, marks=pytest.mark.slow) for size in (50, 900, 2500))]


def one_line(err, number):
    errors = [line for line in err.splitlines() if not line.startswith("convnet")]
    assert len(errors) == 1 and os.strerror(number).lower() in errors[0].lower() and "this continues: " in errors[0], (
        err
    )


@pytest.mark.parametrize("size", LIMITS)
def test_a_training_on_a_full_disk(train, compiled, tmp_path, size):
    process = start(TRAIN, tmp_path / "w", compiled=compiled, first=SMALL_FILES.format(size))
    one_line(finish(process, 1)[1], errno.EFBIG)
    finish(start(TRAIN, tmp_path / "w", compiled=compiled))
    assert_same(tmp_path / "w", train.folder)


@pytest.mark.slow
def test_a_sweep_on_a_full_disk(sweep, compiled, tmp_path):
    process = start(SWEEP, tmp_path / "w", compiled=compiled, first=SMALL_FILES.format(2500))
    one_line(finish(process, 1)[1], errno.EFBIG)
    finish(start(SWEEP, tmp_path / "w", compiled=compiled))
    assert_same(tmp_path / "w", sweep.folder)


def test_a_folder_that_becomes_unwritable(train, compiled, tmp_path):
    folder = tmp_path / "w"
    process = start(TRAIN, folder, compiled=compiled, first=OBEDIENT)
    wait_for(process, lambda: TrialFolder(folder).checkpoints().steps())
    for path in (folder, folder / "checkpoints"):
        path.chmod(0o500)
    one_line(finish(process, 1)[1], errno.EACCES)
    for path in (folder, folder / "checkpoints"):
        path.chmod(0o700)
    finish(start(TRAIN, folder, compiled=compiled))
    assert_same(folder, train.folder)
