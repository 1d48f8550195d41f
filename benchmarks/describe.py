"""What a benchmark ran on: the machine and the versions."""

import importlib.metadata
import importlib.util
import json
import platform
from typing import Any

from benchmarks import processes
from cnn import machine

PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "numpy")


def describe() -> dict[str, Any]:
    """The machine and the versions; a value is `None` where a package is missing or the system does not say.

    Example:
        >>> description = describe()
        >>> description["cores"] >= 1, description["jax"] is not None
        (True, True)
    """
    return {
        "cpu": machine.processor(),
        "instructions": list(machine.instructions()),
        "cores": machine.cores(),
        "memory_gib": machine.memory_gib(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "torch_threads": None,
        **_torch(),
    }


def _torch() -> dict[str, Any]:
    """PyTorch's version and number of threads. PyTorch is asked in a process of its own, as the peers use it."""
    if importlib.util.find_spec("torch") is None:
        return {}
    ask = "import json; from benchmarks import peers; print(json.dumps(peers.use_every_core()))"
    return json.loads(processes.python("-c", ask).output)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
