"""What a benchmark ran on, and how fast it multiplies matrices: what bounds a training step from below.

    python -m benchmarks.machine
    python -m benchmarks.machine --output=machine.json

A rate counts two operations for each multiply-accumulate of a product of two square matrices, whose bfloat16 operands
are summed in float32. It is the highest of several: other work can only lower it.
"""

import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import processes, report

PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "numpy")
PRECISIONS = ("float32", "bfloat16")
SIDE = 2048  # of the matrices; larger ones are no faster
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")  # that matrix products gain from


def describe() -> dict[str, Any]:
    """The machine and the versions: what is not there, or not known, is `None`.

    Example:
        >>> description = describe()
        >>> description["cores"] >= 1, description["jax"] is not None
        (True, True)
    """
    from cnn.training.strategies import cores

    cpu, instructions = _cpu()
    return {
        "cpu": cpu,
        "instructions": instructions,
        "cores": cores(),
        "memory_gib": _memory_gib(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "torch_threads": None,
        **_torch(),
    }


def matrix_product(precision: str, side: int = SIDE) -> Callable[[], object]:
    """A product of two random matrices [side, side], compiled: each call waits for it."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    first, second = jax.random.normal(jax.random.key(0), (2, side, side), jnp.dtype(precision))
    product = jax.jit(functools.partial(lax.dot, preferred_element_type=jnp.float32))
    return lambda: jax.block_until_ready(product(first, second))


def rate(precision: str, repeats: int, side: int = SIDE) -> float:
    """GFLOP/s of `matrix_product`, the highest of some repeats."""
    product = matrix_product(precision, side)
    product()  # compiles
    return gflop(side) / min(_seconds(product) for _ in range(repeats))


def gflop(side: int = SIDE) -> float:
    """Operations of a product, in thousand millions.

    Example:
        >>> gflop(1000)
        2.0
    """
    return 2 * side**3 / 1e9


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _cpu() -> tuple[str | None, list[str] | None]:
    """The CPU's name, and which of the instructions that count here it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or None, None
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    supported = known.get("flags", known.get("Features", "")).split()
    return known.get("model name"), [name for name in INSTRUCTIONS if name in supported]


def _memory_gib() -> float | None:
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _torch() -> dict[str, Any]:
    """What PyTorch itself says of its version and threads, in a process of its own, as the peers have."""
    if importlib.util.find_spec("torch") is None:
        return {}
    ask = "import json; from benchmarks import peers; print(json.dumps(peers.use_every_core()))"
    return json.loads(processes.python("-c", ask).output)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main(options: flags.FlagValues) -> None:
    """Describe, measure, print the table, and write it where asked."""
    measured = {precision: rate(precision, options.repeats) for precision in PRECISIONS}
    rows = [{"what": name, "here": _text(value)} for name, value in describe().items()]
    rows += [{"what": f"{precision}, GFLOP/s", "here": f"{value:.0f}"} for precision, value in measured.items()]
    print(report.table(rows))
    report.write(options.output, {"repeats": options.repeats, "side": SIDE}, {"gflop_per_second": measured})


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(value) if isinstance(value, list) else str(value)


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_integer("repeats", 20, "products of each precision", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
