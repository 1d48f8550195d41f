"""A process that keeps what it frees finds the pages of an array again."""

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this is not glibc")
SCRIPT = """
import resource, numpy
from experiments.command import memory
if {keep}:
    memory.keep()
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones(64 * 2**20, numpy.uint8)  # more than an array may have that glibc keeps
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


def test_a_later_array_of_the_same_size_has_its_pages_already():
    faults = {
        keep: int(subprocess.check_output([sys.executable, "-W", "error", "-c", SCRIPT.format(keep=keep)]))
        for keep in (False, True)
    }
    assert faults[True] < 8 < faults[False], faults
