"""Keeps the memory that a training step frees, for the next step.

A step allocates the same arrays as the step before. glibc gives an array of more than 32 MiB back to the system as soon
as it is freed, and the end of its heap too, so that each step has the pages zeroed anew. With the residual network of
benchmarks/train_step.py, this takes a quarter of the time. A thread has a heap of its own, which goes back whole when
nothing is left in it, whatever its limits say; so all threads share one.
"""

import contextlib
import ctypes

# Of glibc's malloc.h; https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
_TRIM_THRESHOLD = -1  # how many bytes at the end of the heap may stay free
_ARENA_MAX = -8  # how many heaps there are
_MMAP_MAX = -4  # how many arrays may lie outside the heap, from where they are given back when they are freed
_MOST = 2**31 - 1


def keep() -> None:
    """Let this process keep freed memory until it ends; without glibc nothing happens.

    A thread that runs already stays with the heap that it has.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Windows has no such library, macOS no `mallopt`
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _MOST)
