"""Real processes that may have less memory than the images of a data set take."""

import json
import os
import subprocess
import sys
import tempfile

import pytest

from tests.training import in_little_memory

LIMIT = 900 * 2**20  # bytes; JAX alone takes most of them
IMAGES = in_little_memory.COUNT * 3072


def train(cache, *arguments, **more):
    """A process that trains on the data set of the cache, and makes that first where it is not there."""
    command = [sys.executable, "-W", "error", "-m", in_little_memory.__name__, str(cache), *arguments]
    environment = {**os.environ, "NPROC": "2", **more}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def learnt(done):
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found.pop("streams"), found


@pytest.mark.long
def test_less_memory_than_a_data_set_gives_the_bits_of_enough_memory():
    """The process has two devices, of which each would have a copy of the images; one would have the memory map."""
    assert LIMIT < IMAGES
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    with tempfile.TemporaryDirectory() as cache:
        streams, expected = learnt(train(cache, "resident"))
        assert not streams and expected["steps"] == in_little_memory.STEPS
        streams, found = learnt(train(cache, "chosen", str(LIMIT), **two))
        assert streams and found == expected
        assert train(cache, "resident", str(LIMIT), **two).returncode != 0
