"""Keeps the memory that a training step frees, for the next step.

A step allocates the same arrays as the step before. glibc gives an array of more than 32 MiB back to the system as soon
as it is freed, and the end of its heap too, so that each step has the pages zeroed anew. With the residual network of
benchmarks/train_step.py, this takes a quarter of the time. The heap of a thread, of any but the first, has parts of 64
MiB. A part in which nothing is left goes back whole, unless a heap must have that much to spare.
"""

import contextlib
import ctypes

# Of glibc's malloc.h; https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
_TRIM_THRESHOLD = -1  # how many bytes at the end of the heap may stay free
_TOP_PAD = -2  # how many bytes a heap has to spare
_MMAP_MAX = -4  # how many arrays may lie outside the heap, from where they are given back when they are freed
_MOST = 2**31 - 1
_PART = 64 * 2**20  # of a thread's heap: HEAP_MAX_SIZE of glibc's malloc/arena.c


def keep() -> None:
    """Let this process keep freed memory until it ends; without glibc nothing happens.

    An array of more than 64 MiB that another thread than the first allocates still goes back at once.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Windows has no such library, macOS no `mallopt`
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _MOST)
        mallopt(_TOP_PAD, _PART)
