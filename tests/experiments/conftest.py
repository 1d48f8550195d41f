import json
import os
import select
import subprocess
import sys

import pytest

from tests.experiments import driver

# A test finds no prepared data but what it names.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("TFDS_DATA_DIR", "PYTHONPATH")}


def environment(shared_cache, **more):
    """The environment of a command: what it compiles and decodes is kept for the other commands of this test run."""
    return {**ENVIRONMENT, "XDG_CACHE_HOME": str(shared_cache), **more}


@pytest.fixture
def command(tmp_path, shared_cache):
    """Runs `python -m experiments.NAME FLAGS` in an empty folder, as a user would."""

    def run(name, *flags, background=False, **more):
        arguments = [sys.executable, "-W", "error", "-m", f"experiments.{name}", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
        process = subprocess.Popen(arguments, env=environment(shared_cache, **more), **pipes)
        if background:
            return process
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return run


class Driver:
    """The process that runs many command lines; one that dies or hangs is replaced."""

    def __init__(self, shared_cache) -> None:
        self.environment = environment(shared_cache)
        self.process = None

    def ask(self, folder, name, *flags, **environment):
        """Run `experiments.NAME FLAGS` in a folder, with more in its environment."""
        if self.process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            arguments = [sys.executable, "-W", "error", "-m", driver.__name__]
            self.process = subprocess.Popen(arguments, env=self.environment, **pipes)
        self.process.stdin.write(json.dumps([str(folder), environment, name, list(flags)]) + "\n")
        self.process.stdin.flush()
        answered, _, _ = select.select([self.process.stdout], [], [], 300)
        line = self.process.stdout.readline() if answered else ""
        if not line:
            self.stop()
            pytest.fail(f"no answer to {name} {' '.join(flags)}")
        return subprocess.CompletedProcess([name, *flags], *json.loads(line))

    def stop(self):
        if self.process is not None:
            with self.process:
                self.process.kill()
            self.process = None


@pytest.fixture(scope="session")
def answering(shared_cache):
    """The process behind `ask`."""
    process = Driver(shared_cache)
    yield process
    process.stop()


@pytest.fixture
def ask(answering, tmp_path):
    """What `command` does, without a process of its own: some milliseconds in the place of some seconds."""
    return lambda name, *flags, **environment: answering.ask(tmp_path, name, *flags, **environment)
