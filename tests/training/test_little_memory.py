"""Real processes that may have less memory than the images of a data set take."""

import json
import os
import subprocess
import sys
import tempfile

import pytest

from tests.training import in_little_memory

LIMIT = 900 * 2**20  # bytes of data; JAX alone takes most of them
IMAGES = in_little_memory.COUNT * 3072


def train(cache, *arguments):
    """A process that trains on the data set of the cache, and makes that first where it is not there."""
    command = [sys.executable, "-W", "error", "-m", in_little_memory.__name__, str(cache), *arguments]
    environment = {**os.environ, "NPROC": "2"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


def learnt(done):
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found.pop("streams"), found


@pytest.mark.long
def test_less_memory_than_a_data_set_gives_the_bits_of_enough_memory():
    assert LIMIT < IMAGES / 2
    with tempfile.TemporaryDirectory() as cache:
        streams, expected = learnt(train(cache, "resident"))
        assert not streams and expected["steps"] == in_little_memory.STEPS
        streams, found = learnt(train(cache, "chosen", str(LIMIT)))
        assert streams and found == expected
