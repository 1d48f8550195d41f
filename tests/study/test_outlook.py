"""The bar of a study: one for both phases, the time left beside a study whose speed is known, and its words."""

import dataclasses
import io
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cnn.config import FIRST_TUNING_SEED
from cnn.progress import Lines
from cnn.study.ahead import ahead
from cnn.study.outlook import Outlook, SoFar, done_before, place
from cnn.study.plan import plan_study
from cnn.training import speed
from cnn.training.folder import Result
from cnn.training.speed import trial_seconds
from tests.study.small import CONFIG, Instant, Said, run, study

pytestmark = pytest.mark.thorough

GRID = dataclasses.replace(CONFIG, tuning_seeds=2, seeds=3)  # 2 depths: 8 trials tune, 6 compare


def watched(plan, finished=None):
    """An outlook on all trials of a plan, and what it shows."""
    said = Said()
    found = ahead(plan, finished or {})
    own = Outlook(plan, found.finished, said)
    own.expect(found.trials, found.finished)
    own.__enter__()
    return own, found, said.shown["sweep_blocks"]


def true_seconds(plan, trial, factor):
    """The time of a trial on a machine that has a factor for each depth to what the cost lets expect."""
    prepared = plan.prepared[trial.variant]
    test = trial.phase == "compare"
    return factor[trial.variant] * trial_seconds(prepared, plan.study.dataset, speed.by_cost(prepared), test=test)


def go(own, plan, groups, clock, factor, compile_seconds=0.0, parts=4):
    """Run groups one after another on that machine; the first group of a depth compiles."""
    begun = set()
    for group in groups:
        prepared = plan.prepared[group[0].variant]
        steps = prepared.config.training.epochs * prepared.steps_per_epoch
        seen = own.begin(group)
        clock.now += compile_seconds * (group[0].variant not in begun)
        begun.add(group[0].variant)
        seen(0)
        for part in range(1, parts + 1):
            clock.now += sum(true_seconds(plan, trial, factor) for trial in group) / parts
            seen(steps * part // parts)
        own.end({trial: Result("done", val_accuracy=0.9) for trial in group})


def pairs(trials):
    """Groups of at most two trials of a phase and a depth."""
    for _, same in itertools.groupby(trials, key=lambda trial: (trial.phase, trial.variant)):
        own = list(same)
        yield from (own[start : start + 2] for start in range(0, len(own), 2))


def test_one_bar_grows_from_nothing_to_the_end_of_both_phases(whole):
    shown = whole.said.shown["sweep_blocks"]
    done = [each.done for each in shown]
    steps = [after - before for before, after in itertools.pairwise(done)]
    assert done[0] == 0 and min(steps) > -1e-9 and done[-1] == 1  # but for rounding it never goes back
    first, *_, last = (each.note for each in shown[1:])
    assert first == "tuning 0 blocks at rates 0.001 and 0.003, seed 1 of 1"
    assert last.startswith("comparing 1 block, seeds 1 and 2 of 2; best mean so far in comparing: ")
    assert shown[0].left is None and shown[-1].left == pytest.approx(0, abs=1e-6)
    assert all(each.left is not None for each in shown[len(shown) // 2 :])
    compared = [row for row in whole.results.rows if row.phase == "compare" and row.variant == 1]
    mean = sum(row.result.val_accuracy for row in compared) / 2
    assert f"1 block, {100 * mean:.1f} % on validation (n=2)" in last or "0 blocks" in last
    assert not any(str(whole.results.workdir) in each.note or "seed0" in each.note for each in shown)


@pytest.mark.parametrize("factor", [{0: 1.0, 1: 1.0}, {0: 6.0, 1: 6.0}, {0: 9.0, 1: 4.0}, {0: 0.1, 1: 0.1}])
def test_the_time_left_is_that_of_both_phases(digits, clock, factor):
    config = dataclasses.replace(GRID, training=dataclasses.replace(CONFIG.training, epochs=400))
    plan = plan_study(study(digits, config))
    own, found, shown = watched(plan)
    whole = sum(true_seconds(plan, trial, factor) for trial in found.trials) + 2 * 5.0
    begun = clock.now
    go(own, plan, list(pairs(found.trials)), clock, factor, compile_seconds=5.0)
    assert clock.now - begun == pytest.approx(whole)
    assert shown[-1].done == 1
    # The shares of a machine on which each depth takes as long as its cost says are those of the time:
    ends = [each for each in shown if each.note.startswith("tuning 1") and each.left is not None]
    assert ends[-1].left == pytest.approx(sum(true_seconds(plan, trial, factor) for trial in found.comparing), rel=0.15)


def test_what_an_earlier_run_did_is_done_and_tells_the_pace(digits, clock):
    plan = plan_study(study(digits, GRID))
    first = ahead(plan, {}).trials[0]
    factor = {0: 3.0, 1: 3.0}
    expected = speed.by_cost(plan.prepared[0]).step * 80  # the training steps alone
    done = {first: Result("done", val_accuracy=0.875, train_seconds=3.0 * expected)}
    _, found, shown = watched(plan, done)
    assert (
        0 < shown[0].done < 1 / 14
        and shown[0].note == "best mean so far in tuning: 0 blocks, 87.5 % on validation (n=1)"
    )
    left = sum(true_seconds(plan, trial, factor) for trial in found.missing)
    assert shown[0].left == pytest.approx(left, rel=0.01)


def test_steps_from_a_checkpoint_count_as_done_and_not_as_this_runs_pace(digits, clock):
    config = dataclasses.replace(GRID, training=dataclasses.replace(CONFIG.training, epochs=4000))
    plan = plan_study(study(digits, config))
    own, found, shown = watched(plan)
    group = found.trials[:1]
    steps = 4000 * plan.prepared[0].steps_per_epoch
    seen = own.begin(group)
    seen(steps // 2)
    assert shown[-1].done > 0 and shown[-1].left is None
    clock.now += true_seconds(plan, group[0], {0: 7.0}) / 4
    seen(steps * 3 // 4)
    rest = sum(true_seconds(plan, trial, {0: 7.0, 1: 7.0}) for trial in found.trials)
    assert shown[-1].left == pytest.approx(rest - 0.75 * true_seconds(plan, group[0], {0: 7.0}), rel=0.1)


def test_a_trial_that_was_stopped_counts_from_the_start_of_the_bar(digits, clock):
    """Before its group begins too; when it begins, the bar does not move."""
    plan = plan_study(study(digits, GRID))
    own, found, shown = watched(plan)
    last = found.trials[-1]
    steps = plan.prepared[last.variant].steps_per_epoch
    own.expect(found.trials, found.finished, {last: steps // 2})
    own.begin(found.trials[:1])
    tuning = trial_seconds(plan.prepared[1], plan.study.dataset, speed.by_cost(plan.prepared[1]), test=False)
    whole = sum(true_seconds(plan, trial, {0: 1.0, 1: 1.0}) for trial in found.trials)
    assert shown[-1].done == pytest.approx(steps // 2 / steps * tuning / whole)
    own.begin([last])(steps // 2)
    assert shown[-1].done == shown[-2].done == shown[1].done


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_trial_that_ends_early_leaves_nothing_and_tells_no_pace(digits, clock, status):
    plan = plan_study(study(digits, GRID))
    own, found, shown = watched(plan)
    own.begin(found.trials[:1])(0)
    own.end({found.trials[0]: Result(status)})
    assert 0 < shown[-1].done < 1 / 14
    assert shown[-1].left is None and "best" not in shown[-1].note


def test_groups_side_by_side_share_the_time_and_the_bar(digits):
    """Eight threads, of which each runs every eighth group, lose no trial and write whole lines."""
    plan = plan_study(study(digits, dataclasses.replace(GRID, seeds=200)))
    stream = io.StringIO()
    found = ahead(plan, {})
    own = Outlook(plan, {}, Lines(stream, seconds=0.0))
    own.expect(found.trials, {})
    steps = plan.prepared[0].steps_per_epoch

    def work(start):
        for group in list(pairs(found.trials))[start::8]:
            seen = own.begin(group)
            for step in range(0, steps + 1, 20):
                seen(step)
            own.end({trial: Result("done", val_accuracy=0.5) for trial in group})

    with own, ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    lines = stream.getvalue().splitlines()
    assert all(line.startswith("sweep_blocks ") and " % after " in line for line in lines)
    assert lines[-1].startswith("sweep_blocks 100 %")
    shares = [int(line.split()[1]) for line in lines]
    assert shares == sorted(shares)


def test_a_step_costs_nothing_measurable(digits):
    """A report of one group among a thousand trials takes less than a millisecond; there are two in a second."""
    plan = plan_study(study(digits, dataclasses.replace(GRID, seeds=500)))
    own, found, _ = watched(plan)
    seen = own.begin(found.trials[:2])
    begun = time.process_time()  # other work on the machine does not count
    for _ in range(200):
        seen(1)
    assert time.process_time() - begun < 0.2


@pytest.mark.parametrize(
    "phase, blocks, rates, seeds, said",
    [
        ("compare", 2, [1e-3], [2], "comparing 2 blocks, seed 3 of 3"),
        ("compare", 1, [1e-3], [0, 1], "comparing 1 block, seeds 1 and 2 of 3"),
        ("compare", 0, [1e-3], [0, 1, 2], "comparing 0 blocks, seeds 1 to 3 of 3"),
        ("tune", 1, [3e-3], [FIRST_TUNING_SEED + 1], "tuning 1 block at rate 0.003, seed 2 of 2"),
        ("tune", 1, [1e-3, 3e-3], [FIRST_TUNING_SEED], "tuning 1 block at rates 0.001 and 0.003, seed 1 of 2"),
    ],
)
def test_the_place_in_words(digits, phase, blocks, rates, seeds, said):
    own = study(digits, dataclasses.replace(GRID, blocks=(0, 1, 2)))
    trials = [own.trial(phase, blocks, rate, seed) for rate in rates for seed in seeds]
    assert place(plan_study(own), trials) == said


@pytest.mark.parametrize(
    "results, said",
    [
        ([], ""),
        ([(0, 0.95), (0, 0.96), (1, 0.981)], "best mean so far in comparing: 1 block, 98.1 % on validation (n=1)"),
        ([(0, 0.95), (1, 0.95)], "best mean so far in comparing: 0 blocks, 95.0 % on validation (n=1)"),
        ([(0, None)], ""),
    ],
)
def test_the_answer_so_far_is_of_validation_images_alone(digits, results, said):
    own = study(digits)
    done = {
        own.trial("compare", blocks, 1e-3, seed): Result("done", val_accuracy=value, test_accuracy=1.0 - (value or 0.0))
        for seed, (blocks, value) in enumerate(results)
    }
    assert SoFar("compare", done).words() == said and SoFar("tune", done).words() == ""


def test_a_rate_that_tuning_tries_counts_by_itself(digits):
    own = study(digits)
    values = [(0, 1e-3, 0.5), (0, 3e-3, 0.9), (1, 1e-3, 0.8), (1, 3e-3, 0.8)]
    done = {own.trial("tune", *at, FIRST_TUNING_SEED): Result("done", val_accuracy=value) for *at, value in values}
    best = SoFar("tune", dict(list(done.items())[:1]))
    assert best.words() == "best mean so far in tuning: 0 blocks, 50.0 % on validation (n=1)"
    best.add(done)  # of which one has counted before
    assert best.words() == "best mean so far in tuning: 0 blocks, 90.0 % on validation (n=1)"


def test_a_run_that_continues_says_what_was_done(digits, tmp_path):
    class Stops(Instant):
        def run(self, *arguments):
            yield next(super().run(*arguments))
            raise KeyboardInterrupt

    lines = []
    for _ in range(3):
        said = Said()
        with pytest.raises(KeyboardInterrupt):
            run(study(digits), tmp_path, progress=said, executor=Stops())
        lines.append(said.lines)
    assert lines == [[], ["1 of 8 trials was done before"], ["2 of 8 trials were done before"]]
    assert done_before(31, 44) == "31 of 44 trials were done before"
