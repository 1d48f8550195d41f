"""Where trials run: groups, and failures that stay alone."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import pytest

from cnn.data.stream import Stream
from cnn.errors import RequestError
from cnn.study import executors
from cnn.study.executors import Executor, Here, groups
from cnn.study.folder import StudyFolder
from cnn.study.shards import Shard
from cnn.training.trial import Measured
from tests.faults import harness
from tests.study.small import CONFIG, Instant, Said, run, study

pytestmark = pytest.mark.thorough


def test_trials_that_stopped_at_different_steps_are_not_run_together(digits, tmp_path):
    own = study(digits)
    trials = [own.trial("compare", 1, 1e-3, seed) for seed in range(3)]
    folder = StudyFolder(tmp_path)
    (folder.trial(trials[1]).path / "checkpoints" / "7").mkdir(parents=True)
    seeds = [[trial.config.seed for trial in group] for group in groups(folder, trials, 4)]
    assert seeds[0] == [1] and sorted(itertools.chain(*seeds)) == [0, 1, 2]


def test_groups_are_no_larger_than_asked_and_share_a_program(digits, tmp_path):
    own = study(digits)
    trials = [own.trial("tune", blocks, rate, 9) for blocks in (0, 1) for rate in (1e-3, 2e-3, 3e-3)]
    grouped = list(groups(StudyFolder(tmp_path), trials, 2))
    assert [len(group) for group in grouped] == [2, 1, 2, 1] and list(itertools.chain(*grouped)) == trials
    assert all(len({trial.variant for trial in group}) == 1 for group in grouped)


def test_what_runs_elsewhere_keeps_to_the_same_protocol():
    assert isinstance(Instant(), Executor) and issubclass(Here, Executor)


@pytest.mark.slow
def test_a_trial_that_fails_is_recorded_and_tried_again(digits, tmp_path, monkeypatch):
    real = executors.run_together

    def run_together(session, prepared, configs, folders, options, progress):
        if configs[0].network.blocks == 1 and options.test:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 5 bytes")
        return real(session, prepared, configs, folders, options, progress)

    monkeypatch.setattr(executors, "run_together", run_together)
    one_rate = study(digits, dataclasses.replace(CONFIG, learning_rates=(1e-3,)))
    results = run(one_rate, tmp_path)
    failed = [row for row in results.rows if row.result.status == "failed"]
    assert len(failed) == results.failed == 2 and {row.variant for row in failed} == {1}
    assert all("RESOURCE_EXHAUSTED: Out of memory allocating" in row.result.reason for row in failed)
    monkeypatch.undo()
    assert {row.result.status for row in run(one_rate, tmp_path).rows} == {"done"}


def exhausts_memory(trained, answers, progress):
    """A measurement that fits some networks and not others."""
    if any("block" in name for name in trained.variables["params"]):
        jnp.zeros((1 << 45,)).block_until_ready()
    return Measured({})


def refuses_a_seed(trained, answers, progress):
    """A measurement that fails for one of the trials that run together."""
    if trained.config.seed == 1 and not any("block" in name for name in trained.variables["params"]):
        raise ZeroDivisionError("no two\nclasses")
    return Measured({})


def measures_nothing(trained, answers, progress):
    return Measured({})


def timeless(rows):
    """Rows without what no two runs share."""
    return [dataclasses.replace(row, result=harness.timeless(row.result)) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    "measure, lost, reason",
    [
        (exhausts_memory, [(1, 0), (1, 1)], "RESOURCE_EXHAUSTED"),
        (refuses_a_seed, [(0, 1)], "ZeroDivisionError: no two"),
    ],
)
def test_a_trial_that_really_fails_is_alone_in_it(digits, tmp_path, whole, measure, lost, reason):
    said = Said()
    rows = run(study(digits, measure=measure), tmp_path, progress=said).rows
    failed = [row for row in rows if row.result.status == "failed"]
    assert [(row.variant, row.seed) for row in failed] == lost and all(reason in row.result.reason for row in failed)
    assert all(row.result.test_accuracy is None for row in failed)
    assert sum(row.result.status == "done" for row in rows) == len(rows) - len(lost)
    *each, last = said.lines
    assert len(each) == len(lost) and all(reason in line for line in each)
    assert last.startswith("failed: ") and last.count("learning rate") == len(lost)
    assert last.endswith("; the same command tries again")
    assert all(f"{blocks} block" in last and f"seed {seed}" in last for blocks, seed in lost)
    traces = list(tmp_path.glob("trials/*/failure.txt"))
    assert len(traces) == len(lost) and all("Traceback" in path.read_text() for path in traces)
    assert timeless(run(study(digits, measure=measures_nothing), tmp_path).rows) == timeless(whole.results.rows)
    assert not list(tmp_path.glob("trials/*/failure.txt"))


@pytest.mark.parametrize("shard", [None, Shard(1, 1, wait=0.0)], ids=["whole", "shard"])
def test_a_study_whose_images_stay_on_the_host_has_the_same_rows(digits, tmp_path, whole, monkeypatch, shard):
    epochs = []
    real = Stream.feed

    def feed(batches, data, order, first):
        epochs.append(first)
        return real(batches, data, order, first)

    monkeypatch.setattr(Stream, "feed", feed)
    rows = run(study(digits), tmp_path, stream=True, shard=shard).rows
    assert timeless(rows) == timeless(whole.results.rows) and len(epochs) >= len(rows)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RequestError("no")])
def test_what_no_trial_can_mend_ends_the_study(digits, tmp_path, monkeypatch, error):
    def run_together(*arguments):
        raise error

    monkeypatch.setattr(executors, "run_together", run_together)
    with pytest.raises(type(error), match=str(error.args[-1])):
        run(study(digits, dataclasses.replace(CONFIG, learning_rates=(1e-3,))), tmp_path)
    assert not list(tmp_path.glob("trials/*/result.json"))
