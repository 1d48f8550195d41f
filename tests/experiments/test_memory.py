"""A process that keeps what it frees finds the pages of an array again, in each of its threads."""

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this is not glibc")
# `python -m experiments.NAME` imports the package while sys.argv[0] is "-m", which makes the process a command's.
SCRIPT = """
import resource, sys, threading
sys.argv = {argv}
import experiments, numpy
faults = []
def allocate():
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        numpy.ones({mebibytes} * 2**20, numpy.uint8)
        last = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
    faults.append(last)
    started.release()
    threading.Event().wait()  # its heap stays in use
started = threading.Semaphore(0)
for _ in range(4):
    threading.Thread(target=allocate, daemon=True).start()
    started.acquire()
print(max(faults), flush=True)
experiments.end(0)
"""


@pytest.mark.parametrize("mebibytes", [48, 96])  # a heap of a thread ends at 64 MiB; glibc unmaps it when it is free
def test_a_later_array_of_the_same_size_has_its_pages_already(mebibytes):
    faults = {
        name: int(subprocess.check_output([sys.executable, "-W", "error", "-c", script]))
        for name in ("command", "program")
        for script in [SCRIPT.format(argv=["-m"] if name == "command" else ["program"], mebibytes=mebibytes)]
    }
    assert faults["command"] < 8 < faults["program"], faults
