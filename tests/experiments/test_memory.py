"""A process that keeps what it frees finds the pages of an array again, in each of its threads."""

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this is not glibc")
SCRIPT = """
import os, resource, sys, threading, numpy
from experiments.command import memory
faults = []
def allocate(mebibytes):
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        numpy.ones(mebibytes * 2**20, numpy.uint8)
        last = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
    faults.append(last)
def thread():
    first = numpy.ones(48 * 2**20, numpy.uint8)  # fills the first part of the thread's heap
    allocate(48)  # in a second part, which is empty after each turn
    started.release()
    threading.Event().wait()  # its heap stays in use
if sys.argv[1] == "keep":
    memory.keep()
allocate(96)
started = threading.Semaphore(0)
for _ in range(4):
    threading.Thread(target=thread, daemon=True).start()
    started.acquire()
print(*faults, flush=True)
os._exit(0)
"""


def test_a_later_array_of_the_same_size_has_its_pages_already():
    kept, freed = (
        [int(word) for word in subprocess.check_output([sys.executable, "-W", "error", "-c", SCRIPT, asked]).split()]
        for asked in ("keep", "free")
    )
    assert max(kept) < 8 < min(freed), (kept, freed)
