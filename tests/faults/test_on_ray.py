"""A study on Ray leaves what one process leaves, to the bit, whatever is lost or stopped; and no process of Ray stays.

A worker computes with one core. So the run that these are compared with has `NPROC=1`.
"""

import os
import signal
import subprocess
import sys
import time
import uuid

import filelock
import pytest

from cnn import files
from cnn.study import ray_worker
from tests.faults import ray_nodes
from tests.faults.harness import STARTED, SWEEP, assert_same, finish, interrupted, saved, start, wait_for
from tests.faults.test_shards import results

pytestmark = [pytest.mark.thorough, pytest.mark.slow]

LONG = (
    "sweep_blocks",
    *("--epochs=8", "--batch_size=16", "--width=8", "--hidden=16", "--dropout=0.2", "--shift=1"),
    *("--blocks=1,2", "--learning_rates=3e-3", "--seeds=3", "--checkpoint_seconds=0.2"),
)
LOST = "a machine or a process was lost: 1 trial begins again from its checkpoint"
WAIT = 120  # seconds at most


@pytest.fixture(scope="module")
def alone(tmp_path_factory, compiled):
    """Gives the folder of a run in one process, with one thread."""
    folders = {}

    def folder(run):
        if run not in folders:
            folders[run] = tmp_path_factory.mktemp("alone") / "w"
            finish(start(run, folders[run], compiled=compiled, first="os.environ.update(NPROC='1')"))
        return folders[run]

    return folder


@pytest.fixture
def on_ray(compiled, tmp_path):
    """Starts a run on Ray. Soon after its end, no process is left that it has started."""
    mark = uuid.uuid4().hex

    def begin(run, *flags, **environment):
        first = f"os.environ.update({ {'STARTED_BY': mark, **environment} })"
        return start(run, tmp_path / "w", "--launcher=ray", *flags, compiled=compiled, first=first)

    yield begin
    until(lambda: not ray_nodes.of_environment(mark))


def until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_workers_of_this_machine(on_ray, alone, tmp_path):
    """Where nothing is left to do, no cluster starts."""
    out, err = finish(on_ray(SWEEP))
    assert_same(tmp_path / "w", alone(SWEEP))
    assert f"Page: {tmp_path / 'w' / 'report.html'}" in out and "--launcher=ray" in out.splitlines()[-1]
    assert all(line.startswith("sweep_blocks ") for line in err.splitlines()), err
    before = results(tmp_path / "w")
    assert len(before) == 8
    assert finish(on_ray(SWEEP, PATH="")) == (out, "") and results(tmp_path / "w") == before


def test_a_node_is_killed(on_ray, alone, tmp_path):
    """Its trial goes on elsewhere from its checkpoint, and no other trial runs again."""
    folder = tmp_path / "w"
    with ray_nodes.cluster(nodes=2) as cluster:
        process = on_ray(LONG, f"--ray_address={cluster.address}", **ray_nodes.ENVIRONMENT)
        caught = ray_nodes.catch(process, folder, cluster.nodes)
        before = results(folder)
        ray_nodes.kill(*ray_nodes.children(caught.node), caught.node)
        _, err = finish(process)
    assert err.count(LOST) == 1 and "failed" not in err, err
    assert before.items() <= results(folder).items()
    assert_same(folder, alone(LONG))


ATTEMPT = """
import contextlib, pathlib, sys, types
from cnn.data import datasets
from cnn.study import ray_worker
from cnn.study.plan import plan_study
from cnn.training.trial import Options
from tests.study.small import study
held = ray_worker.StudyFolder.held
def noted(*arguments):
    pathlib.Path(sys.argv[2]).touch()
    return held(*arguments)
ray_worker.StudyFolder.held = noted
ray_worker._worker = ray_worker._Worker  # outside Ray an order holds the work itself
plan = plan_study(study(datasets.load("digits")))
trials = tuple(plan.comparing()[:2])
work = ray_worker.Work(plan, False, contextlib.nullcontext, sys.argv)
board = types.SimpleNamespace(tell=types.SimpleNamespace(remote=lambda message: None))
order = ray_worker.Order(work, board, pathlib.Path(sys.argv[1]), trials, Options(checkpoint_seconds=0))
print(*(outcome.result.to_json() for outcome in ray_worker.run_group(order).values()), sep="\\n")
"""


def attempt(folder, reached):
    """Run two trials in a process, which leaves a file where it asks for the first one's lock."""
    command = [sys.executable, "-W", "error", "-c", ATTEMPT, str(folder), str(reached)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    STARTED.append(process)
    return process


def times(folder):
    """When each file of the trials was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/**/*") if path.name != ".lock"}


@pytest.mark.parametrize("ends", ["well", "killed"])
def test_a_second_attempt_while_the_first_still_lives(tmp_path, ends):
    """As where a machine was taken for lost: the second one waits, writes nothing, and reads or continues."""
    first = attempt(tmp_path, tmp_path / "first")
    wait_for(first, lambda: saved(tmp_path))
    os.kill(first.pid, signal.SIGSTOP)
    second = attempt(tmp_path, tmp_path / "second")
    wait_for(second, (tmp_path / "second").exists)
    there = times(tmp_path)
    time.sleep(2)
    assert second.poll() is None and times(tmp_path) == there
    if ends == "killed":
        first.kill()
        first.communicate(timeout=60)
        out, _ = finish(second)
        assert out.count("'status': 'done'") == 2
        return
    os.kill(first.pid, signal.SIGCONT)
    out, _ = finish(first)
    there = times(tmp_path)
    assert out.count("'status': 'done'") == 2 and finish(second)[0] == out
    assert times(tmp_path) == there and len(there) > 8


def test_a_folder_that_is_in_use(on_ray, alone, tmp_path):
    """Its trial waits while the others run, and is not given up."""
    folder = tmp_path / "w"
    every = results(alone(LONG))
    waits = folder / min(every).parent.relative_to(alone(LONG))
    waits.mkdir(parents=True)
    with filelock.FileLock(waits / files.LOCK):
        process = on_ray(LONG)
        wait_for(process, lambda: len(results(folder)) == len(every) - 1)
        time.sleep(1.5 * ray_worker.LONGEST)
    _, err = finish(process)
    assert err.count("in use by another process, and waits: ") == 1 and "failed" not in err, err
    assert_same(folder, alone(LONG))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_saves_what_workers_have_trained(on_ray, alone, tmp_path, number):
    """Without it there would be no checkpoint. The same command continues."""
    folder = tmp_path / "w"
    process = on_ray(LONG, "--checkpoint_seconds=1000")
    wait_for(process, lambda: results(folder))
    before = results(folder)
    begun = {path.parent for path in folder.glob("trials/*/metrics.jsonl") if path.stat().st_size}
    process.send_signal(number)
    out, err = finish(process, 128 + number)
    assert out == "" and interrupted(err, number).endswith(" --launcher=ray --checkpoint_seconds=1000")
    unfinished = {path for path in begun if not (path / "result.json").exists()}
    assert all(saved(path) for path in unfinished)
    finish(on_ray(LONG, "--checkpoint_seconds=1000"))
    assert before.items() <= results(folder).items()
    assert_same(folder, alone(LONG))


def test_the_driver_is_killed(on_ray, alone, tmp_path):
    """Its workers end with it, and the same command continues."""
    folder = tmp_path / "w"
    process = on_ray(LONG)
    wait_for(process, lambda: saved(folder))
    process.kill()
    process.communicate(timeout=60)
    before = results(folder)
    finish(on_ray(LONG))
    assert before.items() <= results(folder).items()
    assert_same(folder, alone(LONG))
