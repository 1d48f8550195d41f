"""A process that keeps what it frees finds the pages of an array again."""

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this is not glibc")
# `ctypes.c_char * size` would zero the array in Python; NumPy's ones touch each page.
SCRIPT = """
import resource, numpy
from experiments.command import memory
if {keep}:
    memory.keep()
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones({size}, numpy.uint8)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


@pytest.mark.parametrize("size", [2**20, 64 * 2**20], ids=["one-mebibyte", "more-than-a-heap-of-a-thread-has"])
def test_a_later_array_of_the_same_size_has_its_pages_already(size):
    faults = {
        keep: int(subprocess.check_output([sys.executable, "-W", "error", "-c", SCRIPT.format(keep=keep, size=size)]))
        for keep in (False, True)
    }
    assert faults[True] < 8, faults
    assert size < 2**21 or faults[False] > 8, faults
