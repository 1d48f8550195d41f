"""Trials in workers of Ray that fail, and what the driver makes of what it hears."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from cnn.data.records import Records
from cnn.errors import RequestError
from cnn.files import InUseError
from cnn.study.executors import Executor
from cnn.study.folder import StudyFolder
from cnn.study.on_ray import OnRay, _lost, _Running
from cnn.study.outlook import Watch
from cnn.study.plan import plan_study
from cnn.study.ray_cluster import Cluster
from cnn.study.ray_worker import Begun, Board, Line, Reached
from cnn.study.shards import Shard
from tests.study.small import Said, run, study

pytestmark = pytest.mark.thorough

# Groups of two trials in one worker after another. A worker that dies is tried once more.
SCRIPT = """
import json, os, pathlib, sys
from cnn.data import datasets
from cnn.study import on_ray
from cnn.study.ray_cluster import Cluster
from cnn.training.trial import Measured
from tests.study.small import Said, run, study

def measure(trained, answers, progress):
    if trained.config.seed == 1 and trained.config.network.blocks == 0:
        exec(HOW)
    return Measured({})

HOW = sys.argv[2]
on_ray.RETRIES = 1
said = Said()
with on_ray.OnRay(Cluster(cpus=2)) as executor:
    own = study(datasets.load("digits"), measure=measure)
    results = run(own, pathlib.Path(sys.argv[1]), progress=said, executor=executor)
rows = [[row.phase, row.variant, row.seed, row.result.status, row.result.reason] for row in results.rows]
print(json.dumps([rows, said.lines]))
"""


def ran(folder, how):
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(folder), how]
    environment = {**os.environ, "NPROC": "2"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how, reason",
    [
        ("raise ZeroDivisionError('no two classes')", "ZeroDivisionError: no two classes"),
        ("__import__('os')._exit(3)", "WorkerCrashedError: "),
    ],
    ids=["raises", "dies"],
)
def test_a_trial_that_fails_is_alone_in_it(tmp_path, how, reason):
    done = ran(tmp_path, how)
    assert done.returncode == 0, done.stderr
    rows, lines = json.loads(done.stdout)
    assert len(rows) == 8
    failed = [row for row in rows if row[3] == "failed"]
    assert [row[:3] for row in failed] == [["compare", 0, 1]] and failed[0][4].startswith(reason)
    assert sum(row[3] == "done" for row in rows) == 7
    assert lines[-1].startswith("failed: ") and lines[-1].endswith("; the same command tries again")
    assert len(list(tmp_path.glob("trials/*/failure.txt"))) == 1


@pytest.mark.slow
def test_what_no_trial_can_mend_ends_the_study(tmp_path):
    done = ran(tmp_path, "raise OSError(28, 'No space left on device', 'here')")
    assert (
        done.returncode == 1 and done.stderr.splitlines()[-1] == "OSError: [Errno 28] No space left on device: 'here'"
    )


def test_it_keeps_to_the_protocol():
    assert issubclass(OnRay, Executor)


def test_a_board_gives_each_message_once():
    board = Board()
    board.tell(Line("first"))
    board.tell(Line("second"))
    assert board.take() == [Line("first"), Line("second")] and board.take() == []


class Hears(Watch):
    """Keeps what it hears."""

    def __init__(self):
        self.heard = []

    def line(self, text):
        self.heard.append(text)

    def begin(self, trials):
        self.heard.append([trial.config.seed for trial in trials])
        return self.heard.append


@pytest.fixture
def trials(digits):
    own = study(digits)
    return [own.trial("compare", 1, 1e-3, seed) for seed in range(3)]


@pytest.fixture
def running(trials):
    """The tasks of a phase: two trials in one of them."""
    tasks = _Running(lambda group: len(group), None, Hears())
    tasks.begin(trials[:2])
    return tasks


def test_a_group_whose_folder_is_in_use_waits_at_the_end(running, trials):
    for _ in range(2):
        running.wait([trials[2]])
    assert running._progress.heard == [f"in use by another process, and waits: {trials[2].words}"]
    assert running.tasks == {2: trials[:2], 1: [trials[2]]}


def test_a_trial_whose_processes_were_lost_keeps_a_result(digits, tmp_path):
    """One of them may have finished it; then that is no failure. Else nothing is written while one is still there."""
    own = study(digits)
    row = run(own, tmp_path).rows[-1]
    plan = plan_study(own)
    folder = StudyFolder(tmp_path)
    first = own.trial(row.phase, row.variant, row.learning_rate, row.seed)
    error = RuntimeError("lost")
    assert _lost(plan, folder, first, error, Said()).result == row.result
    (folder.trial(first).path / "result.json").unlink()
    with folder.held(first), pytest.raises(InUseError, match="in use by another process"):
        _lost(plan, folder, first, error, Said())
    assert _lost(plan, folder, first, error, Said()).result.reason == "RuntimeError: lost"


def test_images_without_room_are_refused(digits):
    images = Records(digits.train_images.shape, lambda places: digits.train_images[places])
    own = study(dataclasses.replace(digits, train_images=images))
    with pytest.raises(RequestError, match="dataset='digits': must be one whose decoded images have room here"):
        OnRay(Cluster()).check(plan_study(own), None)


def test_a_shard_is_refused(digits):
    """It would hold the locks that workers ask for."""
    with pytest.raises(RequestError, match="shard='1/2': must be left out with launcher='ray': Ray divides the trials"):
        OnRay(Cluster()).check(plan_study(study(digits)), Shard(1, 2))


def test_what_an_attempt_tells_after_its_end_is_nothing(running, trials):
    heard = hear(running, Begun("a", 0, tuple(trials[:2])), Reached("a", 0, 3))
    running._forget(trials[:2])
    assert hear(running, Reached("a", 0, 2)) == heard == [[0, 1], 3] and running._watches == {}


def hear(running, *messages):
    for message in messages:
        running._hear(message)
    return running._progress.heard


def test_steps_are_those_of_the_newest_attempt(running, trials):
    """What a lost worker still tells counts no more."""
    group = tuple(trials[:2])
    heard = hear(running, Begun("a", 0, group), Reached("a", 0, 7), Begun("b", 0, group), Reached("a", 0, 9))
    assert hear(running, Reached("b", 0, 5)) is heard
    lost = "a machine or a process was lost: 2 trials begin again from their checkpoints"
    assert heard == [[0, 1], 7, lost, [0, 1], 5]


def test_trials_that_fail_together_begin_one_by_one_and_nothing_is_lost(running, trials):
    first, second, _ = trials
    heard = hear(running, Begun("a", 0, (first, second)), Begun("a", 1, (first,)), Reached("a", 1, 3))
    assert heard == [[0, 1], [0], 3]


def test_what_is_heard_after_the_end_is_nothing(running, trials):
    assert hear(running, Begun("a", 0, (trials[2],)), Reached("a", 0, 3), Reached("b", 0, 3)) == []


def test_each_line_is_said_once(running):
    assert hear(running, Line("said"), Line("more"), Line("said")) == ["said", "more"]
