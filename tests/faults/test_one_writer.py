"""A work folder has one writer; a second process is told who, and a dead one does not block."""

import os
import platform

import pytest

from cnn.errors import RequestError
from cnn.files import one_writer
from tests.faults.harness import SWEEP, TRAIN, finish, start, wait_for
from tests.faults.test_stops import LONG

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("run", [TRAIN, SWEEP], ids=["train", "sweep"])
def test_a_second_process_is_told_who_writes(compiled, tmp_path, run):
    with one_writer(tmp_path):
        _, err = finish(start(run, tmp_path, compiled=compiled), 2)
    assert err.count("\n") == 1 and f"in use by process {os.getpid()} on {platform.node()} since 20" in err
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.slow
def test_a_dead_process_does_not_block(train, compiled, tmp_path):
    process = start(LONG, tmp_path / "w", compiled=compiled)
    wait_for(process, (tmp_path / "w" / "metrics.jsonl").exists)
    with pytest.raises(RequestError, match=f"process {process.pid} on "), one_writer(tmp_path / "w"):
        pass
    process.kill()
    process.communicate(timeout=60)
    with one_writer(tmp_path / "w"):
        assert (tmp_path / "w" / ".writer.json").exists()
