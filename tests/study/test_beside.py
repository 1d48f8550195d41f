"""Shards of a study beside each other, in one process: what each runs, waits for, says, and who writes the answer."""

import collections
import dataclasses
import json
import math
import threading
import time

import filelock
import pytest

from cnn import files
from cnn.errors import RequestError
from cnn.study import beside
from cnn.study.beside import UnfinishedError
from cnn.study.folder import StudyFolder, settings_of
from cnn.study.plan import plan_study
from cnn.study.run import overview, running
from cnn.study.shards import Shard
from cnn.training.folder import Outcome, Result
from cnn.training.trial import Options
from tests.study.small import CONFIG, Instant, Said, run, study

pytestmark = pytest.mark.thorough

DEFAULT = dataclasses.replace(CONFIG, learning_rates=())


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    monkeypatch.setattr(beside, "LOOK", 0.02)


def best_at(rate):
    """Accuracies that fall off on both sides of a learning rate, and differ from trial to trial."""

    def accuracy(trial):
        steps = abs(math.log10(trial.config.learning_rate / rate))
        return 0.9 - 0.1 * steps + 0.01 * trial.variant - 0.001 * (trial.config.seed % 7)

    return accuracy


def content(path):
    return path.read_bytes() if path.exists() else None


def in_turns(study, folder, count, executor):
    """Start the shards one after another, none of which waits, until one of them is the last; the messages of all."""
    said = []
    table = content(folder / "results.csv")
    for number in [*range(1, count + 1)] * 10:
        try:
            return run(study, folder, executor=executor, shard=Shard(number, count, wait=0.0)), said
        except UnfinishedError as left:
            assert content(folder / "results.csv") == table
            said.append(str(left))
    raise AssertionError(said)


@pytest.mark.parametrize(("best", "count"), [(1e-2, 1), (1e-2, 3), (1e-4, 2), (1.0, 2), (1.0, 17)])
def test_shards_in_turns_end_as_one_run(digits, tmp_path, best, count):
    """Also where the grid extends itself to either side, by two steps, and where there are more shards than trials."""
    whole = run(study(digits, DEFAULT), tmp_path / "whole", executor=Instant(best_at(best)))
    executor = Instant(best_at(best))
    results, said = in_turns(study(digits, DEFAULT), tmp_path / "w", count, executor)
    assert results.plan.grid == whole.plan.grid and results.rows == whole.rows
    assert collections.Counter(executor.ran) == collections.Counter({row: 1 for row in executor.ran})
    assert len(executor.ran) == len(whole.rows)
    assert content(tmp_path / "w" / "results.csv") == content(tmp_path / "whole" / "results.csv")
    assert count == 1 or "ends here; missing: " in said[0]


def test_a_finished_study_may_grow_in_other_parts(digits, tmp_path):
    executor = Instant(best_at(1e-2))
    in_turns(study(digits, DEFAULT), tmp_path / "w", 2, executor)
    grown = study(digits, dataclasses.replace(DEFAULT, blocks=(0, 1, 2), seeds=4))
    results, _ = in_turns(grown, tmp_path / "w", 3, executor)
    assert results.rows == run(grown, tmp_path / "whole", executor=Instant(best_at(1e-2))).rows
    assert len(executor.ran) == len(set(executor.ran)) == len(results.rows)


def test_each_shard_runs_its_part_alone(digits, tmp_path):
    own = study(digits)
    plan = plan_study(own)
    executor = Instant()
    with pytest.raises(UnfinishedError) as left:
        run(own, tmp_path, executor=executor, shard=Shard(2, 3, wait=0.0))
    part = Shard(2, 3).part(plan, plan.tuning())
    assert executor.ran == [trial.name for trial in part]
    missing = len(plan.tuning()) - len(part)
    assert str(left.value) == f"shard 2/3 ends here; missing: {missing} tuning trials of shards 1 and 3"
    assert left.value.continues and not left.value.failed


def test_settings_are_written_once_and_checked_by_all(digits, tmp_path):
    def start(config, number):
        with pytest.raises(UnfinishedError):
            run(study(digits, config), tmp_path, executor=Instant(), shard=Shard(number, 3, wait=0.0))
        return (tmp_path / "config.json").stat().st_mtime_ns

    assert start(CONFIG, 1) == start(CONFIG, 2) == start(CONFIG, 1)
    other = dataclasses.replace(CONFIG, validation_fraction=0.2)
    with pytest.raises(RequestError, match="validation_fraction"):
        run(study(digits, other), tmp_path, shard=Shard(3, 3))


class Beside(threading.Thread):
    """A shard in a thread: the results that it was given, as the last one, or the error with which it left."""

    def __init__(self, own, folder, shard, writing, executor):
        super().__init__()
        self.executor = executor
        self.start_with = (own, folder, shard)
        self.writing = writing
        self.rows = None
        self.error = None
        self.start()

    def run(self):
        own, folder, shard = self.start_with
        try:
            with running(own, folder, executor=self.executor, shard=shard) as results:
                assert self.writing.acquire(blocking=False)
                time.sleep(0.05)
                self.rows = results.rows
                self.writing.release()
        except BaseException as error:
            self.error = error


def test_the_last_one_is_not_missed_and_nobody_writes_beside_it(digits, tmp_path):
    """Shards that run together; where two have one number, each of its trials runs once."""
    own = study(digits, DEFAULT)
    whole = run(own, tmp_path / "whole", executor=Instant(best_at(1.0)))
    for attempt in range(3):
        writing = threading.Lock()
        shards = [
            Beside(own, tmp_path / f"{attempt}", Shard(number, 3, 60.0), writing, Instant(best_at(1.0)))
            for number in (1, 2, 3, 3)
        ]
        for shard in shards:
            shard.join(timeout=120)
        rows = [shard.rows for shard in shards if shard.rows is not None]
        left = [shard.error for shard in shards if shard.rows is None]
        assert all(isinstance(error, UnfinishedError) for error in left), left
        assert rows and all(each == whole.rows for each in rows)
        ran = [name for shard in shards for name in shard.executor.ran]
        assert sorted(ran) == sorted(set(ran)) and len(ran) == len(whole.rows)


class Ends(Instant):
    """An executor that ends when as many others do."""

    def __init__(self, together):
        super().__init__()
        self.together = together

    def run(self, *arguments):
        yield from super().run(*arguments)
        self.together.wait(timeout=60)


def test_shards_that_end_at_the_same_moment_write_one_after_another(digits, tmp_path):
    own = study(digits, dataclasses.replace(CONFIG, blocks=(0,), learning_rates=(1e-3,), seeds=6))
    for attempt in range(5):
        together = threading.Barrier(3)
        writing = threading.Lock()
        shards = [
            Beside(own, tmp_path / f"{attempt}", Shard(number, 3), writing, Ends(together)) for number in (1, 2, 3)
        ]
        for shard in shards:
            shard.join(timeout=120)
        assert any(shard.rows is not None for shard in shards)
        assert all(shard.rows is not None or isinstance(shard.error, UnfinishedError) for shard in shards)


def test_a_shard_waits_for_the_tuning_of_the_others(digits, tmp_path):
    said = Said()
    began = time.monotonic()
    with pytest.raises(UnfinishedError, match=r"missing: 2 tuning trials of shard 2$"):
        run(study(digits), tmp_path, executor=Instant(), progress=said, shard=Shard(1, 2, wait=0.3))
    assert time.monotonic() - began >= 0.3
    assert said.lines == ["shard 1/2: waits a second at most for 2 tuning trials of shard 2"]
    other = threading.Timer(0.3, lambda: in_part(digits, tmp_path, Shard(2, 2, wait=0.0)))
    other.start()
    with pytest.raises(UnfinishedError, match="missing: 2 trials of shard 2; the last shard to end, or the command"):
        run(study(digits), tmp_path, executor=Instant(), shard=Shard(1, 2, wait=60.0))
    other.join()


def in_part(digits, folder, shard):
    plan = plan_study(study(digits))
    tuning = shard.part(plan, plan.tuning())
    results = StudyFolder(folder)
    for _ in Instant().run(plan, results, tuning, Options(test=False), None):
        pass


def test_a_run_of_the_whole_study_and_shards_refuse_each_other(digits, tmp_path):
    own = study(digits)

    class Meets(Instant):
        def run(self, *arguments):
            for outcomes in super().run(*arguments):
                with pytest.raises(RequestError, match=r"in use by shards of this study: wait, or choose another w"):
                    run(own, tmp_path, executor=Instant())
                yield outcomes

    executor = Meets()
    with pytest.raises(UnfinishedError):
        run(own, tmp_path, executor=executor, shard=Shard(1, 2, wait=0.0))
    assert len(executor.ran) == 2
    with (
        running(own, tmp_path, executor=Instant()),
        pytest.raises(RequestError, match=r"in use by a run without --shard: wait, or choose another workdir"),
    ):
        run(own, tmp_path, executor=Instant(), shard=Shard(2, 2))


def test_a_run_of_the_whole_study_finishes_what_shards_have_left(digits, tmp_path):
    executor = Instant(best_at(1e-2))
    for number in (1, 3):
        with pytest.raises(UnfinishedError):
            run(study(digits), tmp_path / "w", executor=executor, shard=Shard(number, 3, wait=0.0))
    results = run(study(digits), tmp_path / "w", executor=executor)
    assert results.rows == run(study(digits), tmp_path / "whole", executor=Instant(best_at(1e-2))).rows
    assert len(executor.ran) == len(set(executor.ran)) == len(results.rows)


def test_a_trial_that_another_process_holds_is_left_alone(digits, tmp_path):
    own = study(digits)
    plan = plan_study(own)
    first, *others = Shard(1, 1).part(plan, plan.tuning())
    folder = tmp_path / "trials" / first.name
    folder.mkdir(parents=True)
    executor = Instant()
    with filelock.FileLock(folder / files.LOCK):
        with pytest.raises(UnfinishedError, match=r"missing: 1 tuning trial of shard 1$"):
            run(own, tmp_path, executor=executor, shard=Shard(1, 1, wait=0.0))
        assert executor.ran == [trial.name for trial in others]
    assert len(run(own, tmp_path, executor=executor, shard=Shard(1, 1)).rows) == len(executor.ran) == 8


def test_nobody_is_last_while_a_trial_is_held(digits, tmp_path):
    """Whoever holds it may still tidy its folder, and looks again afterwards."""
    own = study(digits)
    run(own, tmp_path, executor=Instant())
    folder = tmp_path / "trials" / plan_study(own).tuning()[0].name
    with filelock.FileLock(folder / files.LOCK), pytest.raises(UnfinishedError, match="missing: 1 trial of shard 1;"):
        run(own, tmp_path, executor=Instant(), shard=Shard(1, 1))
    run(own, tmp_path, executor=Instant(), shard=Shard(1, 1))


@pytest.mark.parametrize("phase", ["tune", "compare"])
def test_a_trial_that_fails_is_recorded_and_tried_again(digits, tmp_path, phase):
    own = study(digits)

    class Fails(Instant):
        def run(self, plan, folder, trials, options, progress):
            bad = [trial for trial in trials if (trial.phase, trial.variant) == (phase, 1)][:1]
            for trial in bad:
                result = Result("failed", reason="MemoryError: no")
                folder.trial(trial).fail(result, settings_of(plan, trial), "Trace")
                yield {trial: Outcome(result)}
            yield from super().run(plan, folder, [trial for trial in trials if trial not in bad], options, progress)

    said = Said()
    with pytest.raises(UnfinishedError, match="missing: 1 ") as left:
        run(own, tmp_path, executor=Fails(), progress=said, shard=Shard(1, 1))
    assert left.value.failed == 1 and left.value.continues
    assert said.lines[-1].startswith("failed: 1 block, ") and said.lines[-1].endswith("the same command tries again")
    assert len(run(own, tmp_path, executor=Instant(), shard=Shard(1, 1)).rows) == 8


def test_the_plan_of_a_shard_counts_its_part(digits, tmp_path):
    planned = [overview(study(digits), tmp_path, Shard(number, 3)) for number in (1, 2, 3)]
    counts = [[phase.trials for phase in each.phases] for each in planned]
    assert [sum(phase) for phase in zip(*counts, strict=True)] == [4, 4]
    assert [len(each.missing) for each in planned] == [sum(phases) for phases in counts]
    assert not list(tmp_path.iterdir())


def test_the_answer_of_the_last_is_written_under_the_lock(digits, tmp_path):
    with running(study(digits), tmp_path, executor=Instant(), shard=Shard(1, 1)) as results:
        with pytest.raises(RequestError, match="in use by process"), files.one_writer(tmp_path):
            pass
        results.write_answer({"failed": results.failed})
    assert json.loads((tmp_path / "answer.json").read_text()) == files.seal({"failed": 0})
