"""How fast a machine multiplies large matrices: measured once for each machine, and kept in the user's cache folder.

The file may be deleted at any time; the rate is then measured anew.

Example:
    >>> from cnn import machine
    >>> product_rate(machine.here(), "float32") > 1e9  # operations in a second
    True
"""

import contextlib
import functools
from pathlib import Path

import jax

from cnn import files, machine
from cnn.data import cache
from cnn.errors import RequestError
from cnn.machine import Machine

NAME = "matrix_products.json"  # of the file
REPEATS = 5  # of which the fastest counts
# Matrices double until a product takes so long that the time to start it (some hundredths of a millisecond) is no more
# than a few hundredths of it. On a CPU the first matrices are large enough.
SIDES = (1024, 2048, 4096, 8192)
SHORTEST = 2e-3  # seconds


@functools.cache
def product_rate(here: Machine, precision: str, refuted: bool = False) -> float | None:
    """Operations in a second of matrix products on all devices of this machine; a multiply-accumulate counts as two.

    Nothing else should compute meanwhile. Where the rate cannot be kept, it holds for this process.

    Args:
        here: this machine.
        precision: one of `backends.PRECISIONS`.
        refuted: something was faster than the kept rate, which so met a busy machine. The rate is measured once more,
            and the higher one stays.

    Returns:
        The rate; None where the devices have no room for the matrices.
    """
    path = cache.default_folder() / NAME
    name = f"{here.digest()} {precision}"
    kept = _read(path).get(name, 0.0)
    if kept and not refuted:
        return kept
    try:
        rate = measured(precision) * (1 if here.backend == "cpu" else here.devices)  # devices of a CPU share its cores
    except jax.errors.JaxRuntimeError:
        return None
    with contextlib.suppress(OSError):
        files.write_json(path, files.seal({**_read(path), name: max(rate, kept)}))
    return max(rate, kept)


def measured(precision: str) -> float:
    """Operations in a second of matrix products on one device.

    Args:
        precision: one of `backends.PRECISIONS`.
    """
    for side in SIDES:
        rate = machine.matrix_product_rate(precision, REPEATS, side)
        if machine.matrix_product_gflop(side) / rate >= SHORTEST:
            break
    return rate * 1e9


def _read(path: Path) -> dict[str, float]:
    """The rates in a file, by machine and precision; none where there is no file, or a damaged one."""
    try:
        return files.unseal(files.read_json(path) or {}) or {}
    except RequestError:
        return {}
