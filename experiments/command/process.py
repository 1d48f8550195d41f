"""What surrounds the work of a process that trains: JAX's settings are fixed, memory and compiled programs are kept.

A command's own process does its work so, and each worker process of a command.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from experiments.command import compiled, memory, numerics


@contextlib.contextmanager
def prepared(compiled_dir: Path | None) -> Iterator[None]:
    """Fix JAX's settings, and keep what is compiled in a folder as long as the block runs; without one, nowhere.

    Memory that is freed stays with the process until it ends.

    Raises:
        RequestError: JAX cannot compute; see `numerics.fix`.
    """
    numerics.fix()
    memory.keep()
    with contextlib.nullcontext() if compiled_dir is None else compiled.kept(compiled_dir):
        yield
