"""A Ray cluster on 127.0.0.1: a head without cores, and nodes of one core each, which a test can kill or stop."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from cnn import files

# Ray's command line starts no second node on 127.0.0.1.
NODES = """
import json, sys
from ray.cluster_utils import Cluster
made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [made.add_node(num_cpus=1) for _ in range(int(sys.argv[1]))]
print(json.dumps([made.address, [node.all_processes["raylet"][0].process.pid for node in nodes]]), flush=True)
sys.stdin.read()
made.shutdown()
"""
ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # despite its name: every port is one of 127.0.0.1
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class Cluster(NamedTuple):
    """The address of a cluster, and the process of each node."""

    address: str
    nodes: list[int]


@contextlib.contextmanager
def cluster(nodes):
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # a socket's path is short
    (folder / "ray").mkdir()
    command = [sys.executable, "-W", "error", "-c", NODES, str(nodes)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    environment = {**os.environ, **ENVIRONMENT, "RAY_TMPDIR": str(folder)}
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:
        try:
            yield Cluster(*json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
            kill(*of_environment(str(folder)))
            files.remove(folder)


def kill(*pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def of_environment(text):
    """The processes that have this text in their environment: those that a run or a cluster has started."""
    found = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if path.name.isdecimal() and text.encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
    return found


def children(pid):
    """The processes that a process has started."""
    found = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if path.name.isdecimal() and int((path / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.name))
    return found


def has_open(pid, path):
    """Whether a process has a file open."""
    with contextlib.suppress(OSError):
        return any(os.path.realpath(own) == os.path.realpath(path) for own in Path(f"/proc/{pid}/fd").iterdir())
    return False


class Caught(NamedTuple):
    """A worker that was stopped in the middle of a trial, its node, and the trial's folder."""

    worker: int
    node: int
    trial: Path


def catch(process, folder, nodes):
    """Stop (SIGSTOP) a worker of these nodes in the middle of a trial that has a checkpoint."""
    while True:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
        for trial in folder.glob("trials/*"):
            if not _in_the_middle(trial):
                continue
            for worker, node in [(child, parent) for parent in nodes for child in children(parent)]:
                if not has_open(worker, trial / ".lock"):
                    continue
                os.kill(worker, signal.SIGSTOP)
                time.sleep(0.2)  # what it has begun to write, others see by then
                if _in_the_middle(trial) and has_open(worker, trial / ".lock"):
                    return Caught(worker, node, trial)
                os.kill(worker, signal.SIGCONT)


def _in_the_middle(trial):
    saved = any(path.name.isdecimal() for path in (trial / "checkpoints").glob("*"))
    return saved and not (trial / "result.json").exists()
