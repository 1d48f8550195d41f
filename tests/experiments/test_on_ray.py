"""`--launcher=ray`: the plan, and what a machine has no room for. Runs are in `tests/faults/test_on_ray.py`."""

import pytest

pytestmark = pytest.mark.thorough

TINY = ("--epochs=1", "--batch_size=512", "--width=4", "--hidden=8", "--blocks=0,1", "--learning_rates=1e-3")


def test_the_plan(ask, tmp_path):
    """No cluster is asked, whatever the address."""
    done = ask("sweep_blocks", *TINY, "--dry_run", "--launcher=ray", "--ray_address=127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert "Ray shares this among its workers; the time is that of this process alone." in done.stdout
    assert "The rest takes about " in done.stdout and list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["trial_cpus=3", "trial_gpus=64"])
def test_more_than_this_machine_has(command, tmp_path, flag):
    done = command("sweep_blocks", *TINY, "--workdir=w", "--launcher=ray", f"--{flag}", NPROC="2")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert f"error: {flag}: must be at most " in done.stderr and done.stderr.endswith("of this machine\n")
    assert list(tmp_path.iterdir()) == []
