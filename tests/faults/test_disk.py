"""A full disk, a folder that cannot be written or read: one line, status 1, nothing corrupt, and it continues."""

import errno
import os
import signal

import pytest

from cnn.training.folder import TrialFolder
from tests.faults.harness import OBEDIENT, SMALL_FILES, SWEEP, TRAIN, assert_same, finish, start, wait_for

pytestmark = pytest.mark.thorough

LONG = (*TRAIN, "--epochs=40", "--checkpoint_seconds=3600")  # its metrics outgrow its configuration


def limits(whole):
    """Bytes at which these fail first, by the sizes of an untouched run's files."""
    config = (whole / "config.json").stat().st_size
    largest = max(path.stat().st_size for path in (whole / "checkpoints").rglob("*") if path.is_file())
    assert 2 * config < largest  # far apart, whatever the length of the paths in them
    return {".writer.json": 20, "config.json": config // 2, "checkpoints": (config + largest) // 2}


def one_line(err, number):
    errors = [line for line in err.splitlines() if not line.startswith("convnet")]
    assert len(errors) == 1 and os.strerror(number).lower() in errors[0].lower() and "this continues: " in errors[0], (
        err
    )


def fails_at(err, path):
    one_line(err, errno.EFBIG)
    assert f": {path}; " in err, err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["checkpoints", ".writer.json", "config.json"])
def test_a_training_on_a_full_disk(train, compiled, tmp_path, name):
    size = limits(train.folder)[name]
    process = start(TRAIN, tmp_path / "w", compiled=compiled, first=SMALL_FILES.format(size))
    fails_at(finish(process, 1)[1], tmp_path / "w" / name)
    finish(start(TRAIN, tmp_path / "w", compiled=compiled))
    assert_same(tmp_path / "w", train.folder)


@pytest.mark.slow
def test_a_training_whose_metrics_fill_the_disk(compiled, tmp_path):
    whole = tmp_path / "whole"
    folder = tmp_path / "w"
    finish(start(LONG, whole, compiled=compiled))
    size = 2 * (whole / "config.json").stat().st_size
    assert size < (whole / "metrics.jsonl").stat().st_size
    fails_at(
        finish(start(LONG, folder, compiled=compiled, first=SMALL_FILES.format(size)), 1)[1], folder / "metrics.jsonl"
    )
    assert 2 <= len(TrialFolder(folder).metrics()) < 40  # those before it, whole
    finish(start(LONG, folder, compiled=compiled))
    assert_same(folder, whole)


@pytest.mark.slow
def test_a_sweep_on_a_full_disk(sweep, compiled, tmp_path):
    process = start(SWEEP, tmp_path / "w", compiled=compiled, first=SMALL_FILES.format(2500))
    one_line(finish(process, 1)[1], errno.EFBIG)
    finish(start(SWEEP, tmp_path / "w", compiled=compiled))
    assert_same(tmp_path / "w", sweep.folder)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("depth", ["*", "*/state", "*/state/d/*"])
def test_checkpoints_that_may_not_be_read_for_a_while(train, compiled, tmp_path, depth):
    folder = tmp_path / "w"
    process = start(TRAIN, folder, compiled=compiled)
    wait_for(process, lambda: len(TrialFolder(folder).checkpoints().steps()) == 2)
    process.send_signal(signal.SIGTERM)
    finish(process, 143)
    kept = TrialFolder(folder).checkpoints()
    before = kept.steps()
    closed = {path: path.stat().st_mode for path in kept.path.glob(depth)}
    assert len(before) == 2 and len(closed) >= 2
    for path in closed:
        path.chmod(0)
    one_line(finish(start(TRAIN, folder, compiled=compiled, first=OBEDIENT), 1)[1], errno.EACCES)
    for path, mode in closed.items():
        path.chmod(mode)
    assert kept.steps() == before
    finish(start(TRAIN, folder, compiled=compiled))
    assert_same(folder, train.folder)
