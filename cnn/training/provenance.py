"""What a number was made with: machine, versions, command, code. On one machine the same run gives the same bits.

Example:
    >>> sorted(machine())
    ['backend', 'cores', 'cpu', 'device', 'packages', 'platform', 'python', 'xla_flags']
    >>> len(digest(machine()))
    8
"""

import functools
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from cnn.training.strategies import cores

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")  # those whose code makes the numbers
ROOT = Path(__file__).parents[2]


def machine() -> dict[str, Any]:
    """What bits depend on: processor, cores that the process may use, device, versions, the compiler's flags."""
    return {
        "cpu": _processor(),
        "cores": cores(),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def digest(found: dict[str, Any]) -> str:
    """Eight hexadecimal digits that stand for a machine."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:8]


def provenance() -> dict[str, Any]:
    """What `config.json` keeps beside the settings; two runs that differ in it alone are runs of the same settings."""
    command = shlex.join(sys.orig_argv)
    return {"machine": machine(), "host": platform.node(), "command": command, "git_revision": _git_revision()}


@functools.cache
def _processor() -> str:
    """The model of the processor; where the system does not name it, its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    if not named and sys.platform == "darwin":
        named = [_output("sysctl", "-n", "machdep.cpu.brand_string")]
    return next(filter(None, named), platform.processor() or platform.machine())


@functools.cache
def _git_revision() -> str | None:
    """The commit of this code, marked where files differ from it; None where it was installed without a history."""
    if not (ROOT / ".git").exists():
        return None
    git = ("git", "--no-optional-locks", "-C", str(ROOT))  # it must only look: no lock, no index written anew
    revision, changed = _output(*git, "rev-parse", "HEAD"), _output(*git, "status", "--porcelain", "-uno")
    return revision + ("-dirty" if changed else "") if revision else None


def _output(*arguments: str) -> str:
    try:
        return subprocess.run(arguments, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
