import os
import subprocess
import sys

import pytest


@pytest.fixture
def command(tmp_path):
    """Runs `python -m experiments.NAME FLAGS` in an empty folder, as a user would."""

    def run(name, *flags, background=False):
        arguments = [sys.executable, "-W", "error", "-m", f"experiments.{name}", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
        environment = {key: value for key, value in os.environ.items() if key not in ("TFDS_DATA_DIR", "PYTHONPATH")}
        process = subprocess.Popen(arguments, env=environment, **pipes)
        if background:
            return process
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return run
