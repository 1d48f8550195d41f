import sys

import pytest

from benchmarks import processes

pytestmark = pytest.mark.thorough


def test_a_process_is_timed_and_its_own_memory_measured():
    mine = b"1" * 500 * 2**20  # as large as a process that has imported and compiled much
    large = processes.python("-c", "import time; time.sleep(0.2); print(len(bytes(range(256)) * 2**20))")
    small = processes.python("-c", "print(1)")
    assert (len(mine), large.output, small.output) == (500 * 2**20, "268435456\n", "1\n")
    assert large.seconds > 0.2
    assert 256 < large.peak_mib < 400 and small.peak_mib < 100  # neither this process's nor the largest of both


def test_a_process_that_fails_is_an_error():
    with pytest.raises(RuntimeError, match=rf"^{sys.executable} -c 1/0 ended with status 1: ZeroDivisionError: "):
        processes.python("-c", "1/0")
