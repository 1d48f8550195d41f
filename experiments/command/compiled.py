"""Keeps compiled programs in a folder, so that a network compiles once for all runs on a machine.

JAX writes an entry of that folder in place, so a process that is killed, or a full disk, can leave half an entry. JAX
notices this, compiles again and warns. It does so in every run, since it replaces no entry. A warning names a program
alone, not its entry. So this module removes each entry of a program that could not be read, and JAX writes whole ones.
"""

import contextlib
import glob
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from cnn import files
from cnn.places import nearest
from experiments.command import leave

_BROKEN_ENTRY = re.compile(r"Error (reading|writing) persistent compilation cache entry for '(.*?)'")
_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.05,  # below that, reading takes as long as compiling
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@contextlib.contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Keep compiled programs in a folder as long as the block runs; if the folder cannot be written, a line says so."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    if not _writable(folder):
        leave.tell(f"the folder {folder} cannot be written: programs that this run compiles are not kept")
    settings = {"jax_compilation_cache_dir": str(folder), **_SETTINGS}
    before = {name: getattr(jax.config, name) for name in settings}
    compilation_cache.reset_cache()  # JAX asks for the folder once, when it first compiles
    _update(settings)
    try:
        with _broken_entries_removed(folder):
            yield
    finally:
        _update(before)
        compilation_cache.reset_cache()


def _writable(folder: Path) -> bool:
    """Whether the folder can be written, or made where it is missing; JAX makes it when it first has a program."""
    there = nearest(folder)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _update(settings: dict[str, object]) -> None:
    import jax

    for name, value in settings.items():
        jax.config.update(name, value)


@contextlib.contextmanager
def _broken_entries_removed(folder: Path) -> Iterator[None]:
    """Send warnings to `logging`, by Python's own means; a handler there removes entries that JAX could not read."""
    logger = logging.getLogger("py.warnings")
    handler = _Warnings(folder)
    propagates = logger.propagate
    with warnings.catch_warnings():  # this restores the filters
        warnings.filterwarnings("always", message=_BROKEN_ENTRY.pattern)
        logging.captureWarnings(True)
        logger.addHandler(handler)
        logger.propagate = False
        try:
            yield
        finally:
            logger.propagate = propagates
            logger.removeHandler(handler)
            logging.captureWarnings(False)


class _Warnings(logging.Handler):
    """Removes the entries of a program of which one could not be read; other warnings are printed as Python does.

    An entry that could not be written, on a full disk for example, is at most half an entry: a later read fails.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        found = _BROKEN_ENTRY.search(text)
        if found is None:
            leave.tell(text.rstrip("\n"))
            return
        if found[1] == "reading":
            for entry in self.folder.glob(f"{glob.escape(found[2])}-*-cache"):
                files.remove(entry)
