"""Running studies: what is missing, in which order, what is kept, and what others may do meanwhile."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from cnn import files
from cnn.config import TrainingConfig
from cnn.errors import RequestError
from cnn.study import answer, tables, words
from cnn.study.finished import Results
from cnn.study.folder import StudyFolder
from cnn.study.run import overview, running
from tests.faults import harness
from tests.study.small import CONFIG, Instant, Said, run, study
from tests.study.trials import LOG_SPACED

pytestmark = pytest.mark.thorough


def table(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def in_phase(rows, phase):
    return [row for row in rows if row.phase == phase]


def test_a_study_tunes_then_compares_and_does_nothing_twice(digits, whole, counted):
    results, said, ran = whole
    assert len(ran) == len(set(ran)) == len(results.rows) == 2 * 2 * 1 + 2 * 2
    tuned = in_phase(results.rows, "tune")
    compared = in_phase(results.rows, "compare")
    assert all(row.result.test_accuracy is None for row in tuned)
    assert all(row.result.test_accuracy is not None for row in compared)
    assert {row.seed for row in tuned}.isdisjoint(row.seed for row in compared)
    for blocks in (0, 1):
        best = max((row for row in tuned if row.variant == blocks), key=lambda row: row.result.val_accuracy)
        assert {row.learning_rate for row in compared if row.variant == blocks} == {best.learning_rate}
    saved = table(results.workdir)
    for line, row in zip(saved, results.rows, strict=True):
        assert (line["phase"], line["status"]) == (row.phase, row.result.status)
        assert (int(line["blocks"]), int(line["seed"])) == (row.variant, row.seed)
        assert float(line["learning_rate"]) == row.learning_rate
        assert float(line["val_accuracy"]) == row.result.val_accuracy
        assert line["test_accuracy"] == ("" if row.phase == "tune" else repr(row.result.test_accuracy))
    assert list(saved[0])[:10] == [
        "phase", "blocks", "learning_rate", "seed", "status", "parameters", "macs", "val_accuracy", "test_accuracy",
        "train_seconds",
    ]  # fmt: skip
    assert said.tasks == []
    again = run(study(digits), results.workdir)
    assert again.rows == results.rows and counted == [] and table(results.workdir) == saved
    for each in (results, again):  # from memory, and from the folder
        for blocks in (0, 1):
            accuracies = [row.result.test_accuracy for row in compared if row.variant == blocks]
            assert each.correct(blocks).mean(axis=1).tolist() == pytest.approx(accuracies)


def test_what_a_kill_left_in_a_finished_trial_goes_with_the_next_run(digits, tmp_path):
    executor = Instant()
    run(study(digits), tmp_path, executor=executor)
    before = sorted(tmp_path.rglob("*"))
    for path in (tmp_path / "trials").iterdir():
        (path / f".result.json.{0:032x}").write_text("{")
        (path / "failure.txt").write_text("Trace")
        (path / "checkpoints" / "5" / "state").mkdir(parents=True)
    executor.ran.clear()
    run(study(digits), tmp_path, executor=executor)
    assert sorted(tmp_path.rglob("*")) == before and executor.ran == []


def test_the_network_of_the_first_seed_stays(digits, whole):
    results = whole.results
    for blocks in (0, 1):
        trained = results.trained(blocks)
        right = trained.outputs(digits.test_images).argmax(1) == digits.test_labels
        np.testing.assert_array_equal(right, results.correct(blocks)[0])
        accuracy = next(row.result.test_accuracy for row in results.rows if (row.variant, row.seed) == (blocks, 0))
        assert trained.test_accuracy == accuracy and trained.config.network.blocks == blocks
        assert results.trained(blocks, seed=1) is None
    kept = {path.parent.name.split("-rate")[0] for path in results.workdir.rglob("trained.json")}
    assert kept == {"compare-blocks0", "compare-blocks1"}


@pytest.mark.parametrize(("keep", "seeds"), [("all", {0, 1}), ("none", set())])
def test_all_networks_stay_or_none(digits, tmp_path, keep, seeds):
    config = dataclasses.replace(CONFIG, blocks=(0,), learning_rates=(3e-3,))
    results = run(study(digits, config), tmp_path, keep=keep)
    assert {seed for seed in (0, 1) if results.trained(0, seed)} == seeds
    with pytest.raises(RequestError, match=r"^keep='some': must be one of first, all, none"):
        run(study(digits, config), tmp_path, keep="some")


@pytest.mark.parametrize(("first", "then", "lacking"), [("none", "first", 1), ("first", "all", 1), ("none", "all", 2)])
def test_what_had_finished_without_a_network_says_so(digits, tmp_path, first, then, lacking):
    """And where nothing more is asked for, nothing is said."""
    config = dataclasses.replace(CONFIG, blocks=(0,), learning_rates=(3e-3,))
    run(study(digits, config), tmp_path, keep=first)
    said = Said()
    for keep in (first, "none"):
        run(study(digits, config), tmp_path, keep=keep, progress=said)
    assert said.lines == []
    run(study(digits, config), tmp_path, keep=then, progress=said)
    trials = "1 finished trial" if lacking == 1 else "2 finished trials"
    assert said.lines == [f"{trials} kept no network, and will not now: choose another workdir to keep it"]


def test_each_trial_keeps_its_predictions(digits, whole):
    for outcome in whole.results.outcomes.values():
        classes, probabilities = outcome.predictions
        np.testing.assert_array_equal(classes == digits.test_labels, outcome.correct)
        assert classes.dtype == np.int32 and probabilities.dtype == np.float32
        assert (probabilities >= 1 / 10).all() and (probabilities <= 1).all()


def test_a_grid_may_grow(digits, tmp_path):
    executor = Instant()
    config = dataclasses.replace(CONFIG, blocks=(0,), learning_rates=(1e-3,), seeds=1)
    run(study(digits, config), tmp_path, executor=executor)
    assert executor.ran == ["compare-blocks0-rate0.001-seed0"]
    executor.ran.clear()
    run(study(digits, dataclasses.replace(config, blocks=(0, 1), seeds=2)), tmp_path, executor=executor)
    assert sorted(executor.ran) == [
        f"compare-blocks{blocks}-rate0.001-seed{seed}" for blocks, seed in ((0, 1), (1, 0), (1, 1))
    ]


def test_a_request_that_cannot_be_met_writes_nothing(digits, tmp_path):
    config = dataclasses.replace(CONFIG, training=TrainingConfig(epochs=1, batch_size=5000))
    with pytest.raises(RequestError, match="batch_size=5000"):
        run(study(digits, config), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_log_spaced_rates_keep_their_images_and_arrays(digits, tmp_path):
    """A table on disk may change the last digit of such a rate; results never pass through one."""
    config = dataclasses.replace(CONFIG, learning_rates=tuple(LOG_SPACED.tolist()))
    best = {blocks: LOG_SPACED[place].item() for blocks, place in ((0, 5), (1, 17))}
    executor = Instant(lambda trial: 0.9 if trial.config.learning_rate == best[trial.variant] else 0.5)
    first = run(study(digits, config), tmp_path, executor=executor)
    assert len(executor.ran) == 2 * 24 + 2 * 2
    executor.ran.clear()
    again = run(study(digits, config), tmp_path, executor=executor)
    assert executor.ran == [] and again.rows == first.rows
    for each in (first, again):
        for blocks, rate in best.items():
            assert {row.learning_rate for row in in_phase(each.rows, "compare") if row.variant == blocks} == {rate}
            assert each.correct(blocks).shape == (2, 20)
            assert each.arrays(blocks, seed=1)["rate"].tolist() == [rate]
        assert each.arrays(0, seed=7) == {}
    assert [float(line["learning_rate"]) for line in table(tmp_path)] == [row.learning_rate for row in first.rows]


def test_a_diverged_trial_is_counted_and_never_averaged_in(digits, tmp_path):
    results = run(study(digits, dataclasses.replace(CONFIG, learning_rates=(1e20,))), tmp_path)
    assert {row.result.status for row in results.rows} == {"diverged"}
    assert all(row.result.bad_step is not None for row in results.rows)
    assert all(row.result.val_accuracy is row.result.test_accuracy is None for row in results.rows)
    correct = {blocks: results.correct(blocks) for blocks in (0, 1)}
    assert correct == {0: None, 1: None}
    answered = answer.answer(results.rows, dataset="digits", match="width", margin=0.05, correct=correct)
    assert answered.recommended is None
    counts = [(depth.summary.n, depth.summary.diverged, depth.summary.test.mean) for depth in answered.depths]
    assert counts == [(0, 2, None)] * 2
    assert "0 of 2" in tables.answer_tables(answered) and "diverged" in words.answer_sentence(answered)


def test_finished_rows_stay_while_a_grown_grid_tunes_again(digits, tmp_path, monkeypatch):
    run(study(digits), tmp_path, executor=Instant())
    compared = [line for line in table(tmp_path) if line["phase"] == "compare"]
    seen = []
    real = StudyFolder.write_results

    def write_results(self, results):
        real(self, results)
        seen.append(table(tmp_path))

    monkeypatch.setattr(StudyFolder, "write_results", write_results)
    monkeypatch.setattr("cnn.study.run.TABLE_SHARE", math.inf)  # as where the table takes no time
    grown = dataclasses.replace(CONFIG, learning_rates=(1e-3, 3e-3, 1e-2))
    after = run(study(digits, grown), tmp_path, executor=Instant())
    assert len(seen) >= 3
    for lines in seen[:3]:  # a new rate for each of two depths, and the end of the phase
        assert [line for line in lines if line["phase"] == "compare"] == compared
    assert len(after.rows) == 6 + 4


@pytest.mark.parametrize(("seconds", "times"), [(0.0, 4 + 1 + 4 + 1), (0.3, 2 + 1 + 2 + 1), (9.0, 1 + 1 + 0 + 1)])
def test_a_long_table_is_written_in_a_tenth_of_the_time(digits, tmp_path, monkeypatch, seconds, times):
    """Each group takes two seconds, of four in both phases; at the end of a phase the table is always written."""
    clock = [0.0]
    written = []
    real = StudyFolder.write_results

    def write_results(self, results):
        real(self, results)
        written.append(len(results))
        clock[0] += seconds

    class Slow(Instant):
        def run(self, *arguments):
            for outcomes in super().run(*arguments):
                clock[0] += 2.0
                yield outcomes

    monkeypatch.setattr(StudyFolder, "write_results", write_results)
    monkeypatch.setattr("cnn.study.run.monotonic", lambda: clock[0])
    run(study(digits), tmp_path, executor=Slow())
    assert len(written) == times and written[-1] == len(table(tmp_path)) == 4 + 4


def test_nobody_else_writes_until_the_answer_is_made(digits, tmp_path, monkeypatch):
    refused = []

    def spy(owner, name):
        real = getattr(owner, name)

        def call(*arguments):
            with pytest.raises(RequestError, match="in use by process"), files.one_writer(tmp_path):
                pass
            refused.append(name)
            return real(*arguments)

        monkeypatch.setattr(owner, name, call)

    spy(StudyFolder, "write_results")
    spy(Results, "write_answer")
    with running(study(digits), tmp_path, executor=Instant()) as results:
        results.write_answer({"failed": results.failed})
    assert set(refused) == {"write_results", "write_answer"}
    with files.one_writer(tmp_path):
        assert json.loads((tmp_path / "answer.json").read_text()) == files.seal({"failed": 0})


def test_another_machine_is_said_once_and_marks_its_rows(digits, tmp_path):
    small = dataclasses.replace(CONFIG, learning_rates=(1e-3,), seeds=1)
    run(study(digits, small), tmp_path, executor=Instant())
    config = json.loads((tmp_path / "config.json").read_text())
    config["provenance"]["machine"]["cpu"] = "Z80"
    (tmp_path / "config.json").write_text(json.dumps(config))
    said = Said()
    grown = study(digits, dataclasses.replace(small, seeds=2))
    results = run(grown, tmp_path, keep="none", progress=said, executor=Instant())
    assert [line for line in said.lines if "another machine" in line and "cpu: 'Z80'" in line] == said.lines[:1]
    assert said.lines[1:] == ["2 of 4 trials were done before"]
    assert not any(row.result.same_machine for row in results.rows)
    said.lines.clear()
    run(grown, tmp_path, keep="none", progress=said, executor=Instant())
    assert said.lines == []  # all is done


def test_the_same_study_gives_the_same_numbers_twice(digits, whole, tmp_path):
    first = whole.results
    second = run(study(digits), tmp_path)

    def timeless(rows):
        return [dataclasses.replace(row, result=harness.timeless(row.result)) for row in rows]

    assert timeless(first.rows) == timeless(second.rows)
    assert all(row.result.same_machine for row in first.rows)
    assert all(np.array_equal(first.correct(blocks), second.correct(blocks)) for blocks in (0, 1))


def test_the_plan_says_what_is_done_and_writes_nothing(digits, tmp_path):
    def phases():
        return [(phase.name, phase.trials, phase.done) for phase in overview(study(digits), tmp_path / "w").phases]

    assert phases() == [("tune", 4, 0), ("compare", 4, 0)] and list(tmp_path.iterdir()) == []

    class Stops(Instant):
        def __init__(self, after):
            super().__init__()
            self.after = after

        def run(self, *arguments):
            for number, outcomes in enumerate(super().run(*arguments)):
                yield outcomes
                if number == self.after:
                    raise KeyboardInterrupt

    for after, expected in [(2, [("tune", 4, 3), ("compare", 4, 0)]), (0, [("tune", 4, 4), ("compare", 4, 0)])]:
        with pytest.raises(KeyboardInterrupt):
            run(study(digits), tmp_path / "w", executor=Stops(after))
        assert phases() == expected
    run(study(digits), tmp_path / "w", executor=Instant())
    assert phases() == [("tune", 4, 4), ("compare", 4, 4)]
    planned = overview(study(digits, dataclasses.replace(CONFIG, learning_rates=(1e-3,))), tmp_path / "other")
    assert [(phase.name, phase.trials) for phase in planned.phases] == [("compare", 4)]
    assert [(each.variant, each.width, each.hidden) for each in planned.variants] == [(0, 4, 16), (1, 4, 16)]
    assert planned.variants[0].cost.parameters < planned.variants[1].cost.parameters
    assert not (tmp_path / "other").exists()


def best_at(rate):
    """Accuracies that fall off on both sides of a learning rate."""
    return lambda trial: 0.9 - 0.1 * abs(math.log10(trial.config.learning_rate / rate))


@pytest.mark.parametrize(
    "best, grid, said",
    [
        (1e-2, [1e-3, 3e-3, 1e-2, 3e-2], []),
        (1e-1, [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1], ["0.1", "0.3"]),
        (1e-4, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2], ["0.0003", "0.0001"]),
        (3e-1, [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1], ["0.1", "0.3"]),  # at most two steps: the edge is reported
    ],
)
def test_the_default_grid_extends_itself_for_all_depths_together(digits, tmp_path, best, grid, said):
    default = dataclasses.replace(CONFIG, learning_rates=())
    progress = Said()
    results = run(study(digits, default), tmp_path / "w", progress=progress, executor=Instant(best_at(best)))
    tuned = in_phase(results.rows, "tune")
    assert [sorted({row.learning_rate for row in tuned if row.variant == blocks}) for blocks in (0, 1)] == [grid, grid]
    assert list(results.plan.grid) == grid
    lines = [line for line in progress.lines if "edge" in line]
    assert [line.split("so ")[1].split(" is")[0] for line in lines] == said
    counts = ["2 more trials, 14 in all", "2 more trials, 16 in all"]
    assert [line.split(" too: ")[1] for line in lines] == counts[: len(said)]
    compared = {row.learning_rate for row in in_phase(results.rows, "compare")}
    assert compared == {min(grid, key=lambda rate: abs(math.log10(rate / best)))}
    at_once = dataclasses.replace(default, learning_rates=tuple(grid))
    given = run(study(digits, at_once), tmp_path / "given", executor=Instant(best_at(best)))
    assert given.rows == results.rows  # as the final grid gives at once
    again = Instant(best_at(best))
    silent = Said()
    rows = run(study(digits, default), tmp_path / "w", keep="none", progress=silent, executor=again).rows
    assert rows == results.rows and again.ran == silent.lines == [] and silent.shown == {}
    planned = overview(study(digits, default), tmp_path / "w")
    assert list(planned.plan.grid) == grid and planned.plan.extends


def test_a_grid_that_was_asked_for_does_not_extend(digits, tmp_path):
    results = run(study(digits), tmp_path, executor=Instant(best_at(1.0)))
    assert results.plan.grid == (1e-3, 3e-3) and not overview(study(digits), tmp_path).plan.extends
