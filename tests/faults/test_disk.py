"""A full disk, a folder that cannot be written or read: one line, status 1, nothing corrupt, and it continues."""

import errno
import os
import signal

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


@pytest.mark.parametrize("depth", ["*", "*/state", "*/state/d/*"])
def test_checkpoints_that_may_not_be_read_for_a_while(train, compiled, tmp_path, depth):
    folder = tmp_path / "w"
    process = start(TRAIN, folder, compiled=compiled)
    wait_for(process, lambda: len(TrialFolder(folder).checkpoints().steps()) == 2)
    process.send_signal(signal.SIGTERM)
    finish(process, 143)
    kept = TrialFolder(folder).checkpoints()
    before, closed = kept.steps(), {path: path.stat().st_mode for path in kept.path.glob(depth)}
    assert len(before) == 2 and len(closed) >= 2
    for path in closed:
        path.chmod(0)
    one_line(finish(start(TRAIN, folder, compiled=compiled, first=OBEDIENT), 1)[1], errno.EACCES)
    for path, mode in closed.items():
        path.chmod(mode)
    assert kept.steps() == before
    finish(start(TRAIN, folder, compiled=compiled))
    assert_same(folder, train.folder)
