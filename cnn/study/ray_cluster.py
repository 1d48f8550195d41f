"""A Ray cluster: which one, what a trial gets of it, and how this process joins it and leaves it.

Ray prints nothing here, opens no port to other machines for a cluster of this one, and reports to nobody.

Example:
    >>> Cluster(address="10.0.0.1:6379", cpus=4).node
    ('10.0.0.1', 6379)
"""

import contextlib
import errno
import functools
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cnn import machine
from cnn.errors import RequestError, require, require_extra, require_integer

ANSWERS = 10.0  # seconds in which the machine of an address must accept a connection
JOINS = 60.0  # seconds in which a process must have joined the cluster there
_QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
_NO_LINES = {"RAY_DEDUP_LOGS_SKIP_REGEX": "."}  # else Ray prints on standard output that a worker was lost
_TOKEN = "RAY_AUTH_TOKEN"  # without it nobody else on this machine gets into the cluster
_OF_THIS_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # despite its name: then every port of a cluster is one of 127.0.0.1
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_JOIN = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False)"
# A process of its own has the cluster of this machine. To start one forks, which JAX's threads forbid here; and the
# cluster ends when a pipe closes, in whatever way this process ends. One without a guard of memory, as this process.
# A socket's path has a hundred bytes at most, so it lies in no long folder.
_HEAD = """
import os, sys, tempfile, ray
guard = {"memory_monitor_refresh_ms": 0}
with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp" if os.name == "posix" else None) as folder:
    kept = {"include_dashboard": False, "log_to_driver": False, "_temp_dir": folder, "_system_config": guard}
    print(ray.init("local", num_cpus=int(sys.argv[1]), **kept).address_info["gcs_address"], flush=True)
    sys.stdin.read()
    ray.shutdown()
"""


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what a group of trials gets of it.

    Args:
        address: HOST:PORT of its head; "": a cluster of this machine alone, which ends with this process.
        cpus: cores of a group of trials; on a CPU so many of them run together.
        gpus: GPUs of a group; None: one where the cluster has any, else none.

    Raises:
        RequestError: a value is refused, or Ray is not installed.
    """

    address: str = ""
    cpus: int = 1
    gpus: int | None = None

    def __post_init__(self) -> None:
        accepted = "HOST:PORT of the head of a Ray cluster, or empty for a cluster of this machine"
        require(not self.address or self.node is not None, "ray_address", self.address, accepted)
        require_integer("trial_cpus", self.cpus, minimum=1, maximum=4096)
        if self.gpus is not None:
            require_integer("trial_gpus", self.gpus, minimum=0, maximum=64)
        own = {} if self.address else _OF_THIS_MACHINE
        with _variables({**own, **_NO_LINES}):  # Ray reads them when it is imported
            require_extra("ray", "ray", "launcher='ray'")

    @property
    def node(self) -> tuple[str, int] | None:
        """Host and port of the head; None where the address names none."""
        parts = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})", self.address)
        return None if parts is None or not 0 < int(parts[2]) < 65536 else (parts[1].strip("[]"), int(parts[2]))


@contextlib.contextmanager
def joined(cluster: Cluster) -> Iterator[int]:
    """Join a cluster, or start one of this machine, as long as the block runs; gives the GPUs of a group of trials.

    Raises:
        RequestError: nobody answers at the address, or a group of trials has no room on this machine.
    """
    with contextlib.ExitStack() as stack:
        if cluster.address:
            _require_answer(cluster)
        else:
            stack.enter_context(_variables({**_OF_THIS_MACHINE, _TOKEN: _token()}))
        address = cluster.address or stack.enter_context(_head(machine.cores()))
        import ray

        stack.callback(ray.shutdown)
        with ThreadPoolExecutor(1) as pool:  # in the main thread Ray would take over SIGTERM
            pool.submit(ray.init, address, **_QUIET).result()
        most = ray.cluster_resources()
        gpus = int(most.get("GPU", 0) > 0) if cluster.gpus is None else cluster.gpus
        if not cluster.address:
            _require_room("cpus", cluster.cpus, most["CPU"])
            _require_room("gpus", gpus, most.get("GPU", 0))
        yield gpus


@functools.cache  # Ray reads it once in a process
def _token() -> str:
    return secrets.token_hex(32)


def _require_room(name: str, asked: int, most: float) -> None:
    require(asked <= most, f"trial_{name}", asked, f"at most {most:.0f}, the {name} of this machine")


@contextlib.contextmanager
def _head(cores: int) -> Iterator[str]:
    """A cluster of this machine, as long as the block or this process runs; gives its address."""
    command = [sys.executable, "-c", _HEAD, str(cores)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as head:  # without the terminal's Ctrl-C
        assert head.stdin is not None and head.stdout is not None and head.stderr is not None
        try:
            address = head.stdout.readline().strip()
            if not address:
                raise OSError(
                    errno.EAGAIN, f"a Ray cluster of this machine does not start ({_last(head.stderr.read())})"
                )
            yield address
        finally:
            head.stdin.close()
            head.wait()


def _last(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


def _require_answer(cluster: Cluster) -> None:
    """Refuse an address that this process cannot join: Ray itself ends a process that tries for two minutes.

    Raises:
        RequestError: the message says why.
    """
    assert cluster.node is not None
    here = "must be that of a running Ray cluster, one node of which is this machine"
    try:
        socket.create_connection(cluster.node, timeout=ANSWERS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"ray_address={cluster.address!r}: {here} ({reason})") from None
    try:
        trial = [sys.executable, "-c", _JOIN, cluster.address]
        done = subprocess.run(trial, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=JOINS)
        reason = "" if done.returncode == 0 else _last(done.stderr)
    except subprocess.TimeoutExpired:
        reason = f"Ray does not answer in {JOINS:.0f} seconds"
    if reason:
        raise RequestError(f"ray_address={cluster.address!r}: {here} ({reason})")


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment, as long as the block runs, for Ray and for what starts here."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
