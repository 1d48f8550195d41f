"""What this process runs on: device, processor, cores, versions, the code's revision, and how fast it multiplies.

Only this file asks JAX for the backend; other code gets a `Machine` as an argument. On one machine with a CPU, the same
run gives the same result to the bit. On a GPU, kernels that add up in no fixed order may change the last bits.

Example:
    >>> here().cores == cores(), len(here().digest())
    (True, 8)
"""

import contextlib
import dataclasses
import functools
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cnn import backends, files
from cnn.errors import RequestError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")  # those whose code makes the numbers
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")  # that matrix products gain from
# JAX's settings that the bits of a result can depend on, with their defaults. The random generator is no such setting:
# `cnn.data.batches.key` fixes it.
JAX_SETTINGS = {
    "jax_default_matmul_precision": "None",
    "jax_disable_jit": "False",
    "jax_disable_most_optimizations": "False",
    "jax_enable_x64": "False",
    "jax_exec_time_optimization_effort": "0.0",
    "jax_numpy_dtype_promotion": "standard",
    "jax_optimization_level": "UNKNOWN",
    "jax_threefry_partitionable": "True",
}
NUMBER_OF_THREADS = ("PJRT_NPROC", "NPROC")  # the variables that set XLA's number of threads, the first one first
SIDE = 2048  # side of the matrices whose product is timed; larger matrices give no higher rate
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Machine:
    """Everything about a machine that the bits of a result can depend on."""

    backend: str  # cpu, gpu or tpu
    device: str
    cpu: str
    instructions: tuple[str, ...]  # of `INSTRUCTIONS`, those that the processor has
    devices: int  # of that kind, which share a program
    cores: int  # that this process uses; on a CPU, XLA and the training loop divide their sums among so many threads
    platform: str
    python: str
    packages: tuple[tuple[str, str], ...]  # name and version
    xla_flags: str
    jax_settings: tuple[tuple[str, str], ...]  # of `JAX_SETTINGS`, those that differ from JAX's defaults
    processes: int = 1  # that share the devices

    def to_json(self) -> dict[str, Any]:
        """The plain values that a file keeps. That there is one process goes without saying."""
        plain = {"instructions": list(self.instructions)}
        pairs = {name: dict(getattr(self, name)) for name in ("packages", "jax_settings")}
        values = {**dataclasses.asdict(self), **plain, **pairs}
        return {name: value for name, value in values.items() if (name, value) != ("processes", 1)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Machine":
        """The machine whose plain values these are.

        Raises:
            RequestError: they are not the plain values of a machine.
        """
        try:
            pairs = {name: tuple(dict(values[name]).items()) for name in ("packages", "jax_settings")}
            return cls(**{**values, "instructions": tuple(values["instructions"]), **pairs})
        except (KeyError, TypeError, ValueError):
            raise RequestError(f"machine={values!r}: must be the plain values of a machine") from None

    def digest(self) -> str:
        """Eight hexadecimal digits that stand for this machine."""
        return files.digest(self.to_json())[:8]

    def differences(self, before: "Machine") -> list[str]:
        """What differs from an earlier machine, each as `name: before, now after`."""
        return files.differences(before.to_json(), self.to_json())


def elsewhere(folder: Path, differences: list[str]) -> str:
    """The line on a folder whose work continues on another machine, by what `Machine.differences` found."""
    return f"{folder}: continued on another machine, so the bits may differ ({'; '.join(differences)})"


def here() -> Machine:
    """The machine of this process. This starts JAX's backend where nothing has started it yet."""
    import jax

    return Machine(
        backend=jax.default_backend(),
        device=all_devices()[0].device_kind,
        devices=len(all_devices()),
        cpu=processor(),
        instructions=instructions(),
        cores=cores(),
        platform=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages=tuple((name, version(name)) for name in PACKAGES),
        xla_flags=os.environ.get("XLA_FLAGS", ""),
        jax_settings=jax_settings(),
        processes=jax.process_count(),
    )


def all_devices() -> list[Any]:
    """JAX's devices that the programs of this process run on, of the default backend, and of all processes."""
    import jax

    return jax.devices()


def own_devices() -> list[Any]:
    """Those of `all_devices` that this process itself has."""
    import jax

    return jax.local_devices()


def jax_settings() -> tuple[tuple[str, str], ...]:
    """Name and value of those of `JAX_SETTINGS` that do not have JAX's default.

    Example:
        >>> jax_settings()
        ()
    """
    import jax

    values = {name: str(jax.config.values.get(name, default)) for name, default in JAX_SETTINGS.items()}
    return tuple((name, value) for name, value in values.items() if value != JAX_SETTINGS[name])


def cores() -> int:
    """How many cores this process uses: those that it may use, or the number in `PJRT_NPROC` or `NPROC`.

    XLA starts as many threads as these variables say; where neither is set, one for each core. On a CPU the number of
    threads changes the last bits of a matrix product. So a run that began on two cores continues to the same bits on
    one core with `NPROC=2`. A change of cores while a process runs changes no bit.
    """
    for name in NUMBER_OF_THREADS:
        number = os.environ.get(name, "")
        if number.isdecimal():
            return max(int(number), 1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def provenance(machine: Machine) -> dict[str, Any]:
    """What produced a run's numbers: machine, host, command, revision. `config.json` has it beside the settings."""
    command = shlex.join(sys.orig_argv)
    return {"machine": machine.to_json(), "host": platform.node(), "command": command, "git_revision": git_revision()}


def memory_gib() -> float | None:
    """The memory of this computer in GiB; None where the system does not say."""
    whole = _memory()
    return None if whole is None else round(whole / 2**30, 1)


def device_memory() -> int | None:
    """The bytes that this process can have on its device; None where nothing says how many.

    On a CPU they are those of `memory`.
    """
    device = own_devices()[0]
    if device.platform != "cpu":
        limit: int | None = (device.memory_stats() or {}).get("bytes_limit")
        return limit
    return memory()


def memory() -> int | None:
    """The bytes that this process can have: the computer's, or fewer where it or its control group has a limit.

    None where nothing says how many.
    """
    known = [limit for limit in (_memory(), _data_limit(), *_group_limits()) if limit is not None]
    return min(known, default=None)


def _memory() -> int | None:
    """The bytes of this computer; None where the system does not say."""
    if not hasattr(os, "sysconf_names") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _data_limit() -> int | None:
    """The bytes of data that this process may have; None without a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _group_limits(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> list[int]:
    """The bytes that this process's control group may have, and each group around it, of both versions of Linux's.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:
        return []
    limits = []
    for _, controllers, path in lines:
        if controllers not in ("", "memory"):
            continue
        top = root / controllers
        own = top / path.lstrip("/")
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        for folder in (own, *own.parents):
            if folder.is_relative_to(top):
                with contextlib.suppress(OSError, ValueError):  # no such file, or the word max
                    limits.append(int((folder / name).read_text()))
    return limits


@functools.cache
def processor() -> str:
    """The model of the processor, or its architecture where the system does not name the model."""
    named = _cpuinfo("model name")
    if not named and sys.platform == "darwin":
        named = _output("sysctl", "-n", "machdep.cpu.brand_string")
    return named or platform.processor() or platform.machine()


@functools.cache
def instructions() -> tuple[str, ...]:
    """Which of `INSTRUCTIONS` the processor has; empty where the system does not say."""
    supported = f"{_cpuinfo('flags')} {_cpuinfo('Features')}".split()
    return tuple(name for name in INSTRUCTIONS if name in supported)


def _cpuinfo(name: str) -> str:
    """The first value of that name in Linux's description of its processors; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    values = [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name]
    return values[0] if values else ""


@functools.cache
def git_revision() -> str | None:
    """The commit of this code, with `-dirty` where files differ from it, or `-unknown` where git does not say whether.

    None where this is no git checkout.
    """
    if not (_ROOT / ".git").exists():
        return None
    git = ("git", "--no-optional-locks", "-C", str(_ROOT))  # only reads: takes no lock, leaves the index as it is
    revision = _output(*git, "rev-parse", "HEAD")
    changed = _output(*git, "status", "--porcelain", "-uno")
    if not revision:
        return None
    return f"{revision}-unknown" if changed is None else f"{revision}-dirty" if changed else revision


def _output(*arguments: str) -> str | None:
    """What a command prints; None where it fails, or takes more than five seconds."""
    try:
        return subprocess.run(arguments, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def matrix_product(precision: str, side: int = SIDE) -> Callable[[], object]:
    """A compiled function that multiplies two random matrices [side, side] and waits for the end. Sums are float32.

    Args:
        precision: one of `backends.PRECISIONS`.
        side: of the matrices.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    dtype, products = backends.PRECISIONS[precision]
    first, second = jax.random.normal(jax.random.key(0), (2, side, side), jnp.dtype(dtype))
    product = jax.jit(functools.partial(lax.dot, precision=products, preferred_element_type=jnp.float32))
    return lambda: jax.block_until_ready(product(first, second))


def matrix_product_rate(precision: str, repeats: int, side: int = SIDE) -> float:
    """GFLOP/s of `matrix_product`: the highest of `repeats` timings, since other work can only lower the rate."""
    product = matrix_product(precision, side)
    product()  # compiles
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - started)
    return matrix_product_gflop(side) / min(seconds)


def matrix_product_gflop(side: int = SIDE) -> float:
    """Operations of a product of square matrices, in thousand millions. A multiply-accumulate counts as two.

    Example:
        >>> matrix_product_gflop(1000)
        2.0
    """
    return 2 * side**3 / 1e9
