"""The sentences of answers and comparisons."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from cnn.study import words
from cnn.study.comparison import compare
from cnn.study.statistics import Estimate
from tests.study.trials import MAX, STRIDE, answered, compared, compared_pooling, comparison_of, row, tuned

pytestmark = pytest.mark.thorough


def sentence(accuracies, dataset="mnist"):
    return words.answer_sentence(answered(compared(accuracies), dataset))


@pytest.mark.parametrize(
    "accuracies, dataset, parts",
    [
        # deviation 0.01, half width 4.30265 x 0.01 / sqrt 3 = 0.02484
        (
            {1: [0.96, 0.97, 0.98]},
            "mnist",
            ["use 1 block: mean test accuracy 97.00 % (95 % interval 94.52 to 99.48, n=3)", "no other depth"],
        ),
        (
            {1: [0.97, 0.96], 2: [0.97, 0.97], 3: [0.96, 0.97]},
            "mnist",
            ["On test images, 1 block cannot be told apart from 2 and 3 blocks (a true difference below "],
        ),
        ({0: [0.97, 0.96], 1: [0.97, 0.97]}, "mnist", ["use 0 blocks", "0 blocks cannot be told apart from 1 block"]),
        (
            {1: [None, None], 2: [None, 0.97]},
            "mnist",
            [
                "use 2 blocks: mean test accuracy 97.00 % (n=1)",
                "Trials diverged: 2 of 2 at 1 block and 1 of 2 at 2 blocks.",
            ],
        ),
        ({1: [None]}, "mnist", ["No recommendation on mnist: no trial succeeded.", "1 of 1 at 1 block"]),
        ({1: [0.97, 0.98]}, "digits", ["360 test images of digits cannot separate close depths."]),
    ],
)
def test_sentence(accuracies, dataset, parts):
    answer = answered(compared(accuracies), dataset)
    text = words.answer_sentence(answer)
    assert all(part in text for part in parts), text
    assert ("360" in text) == (dataset == "digits")
    assert ("diverged" in text) == any(depth.summary.diverged for depth in answer.depths)
    assert "edge" not in text


def test_sentence_of_depths_that_are_told_apart():
    # Differences 2 - 1: 0.049, 0.05, 0.051: short by 5 points; SE 0.001 / sqrt 3, so 0.05 of the error of 3 % counts
    assert sentence({1: [0.921, 0.92, 0.919], 2: [0.97, 0.97, 0.97]}) == (
        "On mnist, use 2 blocks: mean test accuracy 97.00 % (n=3). "
        "1 block fell 5.00 points short of the best on validation data, where 0.15 were allowed. "
        "On test images, 1 block is worse by 5.00 points (95 % interval 4.75 to 5.25)."
    )


@pytest.mark.parametrize(
    "other, said",
    [
        # as simulated for 3 blocks on MNIST: better by 0.15 points, with an interval of 4.30265 x 0.01 / sqrt 3
        (
            [0.9915 + 0.0001, 0.9915, 0.9915 - 0.0001],
            "2 blocks are better by 0.15 points (95 % interval 0.13 to 0.17).",
        ),
        ([0.9885 + 0.0001, 0.9885, 0.9885 - 0.0001], "2 blocks are worse by 0.15 points (95 % interval 0.13 to 0.17)."),
    ],
)
def test_sentence_says_in_which_direction_depths_differ(other, said):
    """Validation data alone choose 1 block, whatever the test set says."""
    rows = [
        row(blocks=blocks, seed=seed, val=0.99, test=test)
        for blocks, tests in {1: [0.99] * 3, 2: other}.items()
        for seed, test in enumerate(tests)
    ]
    assert f"On test images, {said}" in words.answer_sentence(answered(rows))


def of_tuning(rates, **result):
    """Tuning trials of 1 block at these rates, two seeds each."""
    trials = [row("tune", blocks=1, rate=rate, seed=seed, val=0.1) for rate in rates for seed in (8, 9)]
    return [dataclasses.replace(each, result=dataclasses.replace(each.result, **result)) for each in trials]


def test_sentence_names_the_tuning_trials_that_diverged_or_collapsed():
    rows = [
        *compared({1: [0.9, 0.91]}),
        *of_tuning((1e-4, 1e-3), val_accuracy=0.9),
        *of_tuning((3e-3,), collapsed=True),
        *of_tuning((1e-2, 3e-2), status="diverged", val_accuracy=None),
    ]
    text = words.answer_sentence(answered(rows))
    assert "Tuning trials diverged: 4 of 10 at 1 block; their rates rank below the others." in text
    assert "Tuning trials collapsed: 2 of 10 at 1 block; their rates rank below the others." in text
    assert "Trials diverged" not in text and "Trials collapsed" not in text
    assert "uning trials" not in words.answer_sentence(answered(rows[:6]))


def test_where_every_trial_collapsed_none_is_said_to_be_unfinished():
    rows = compared({1: [0.1, 0.1]})
    rows = [dataclasses.replace(each, result=dataclasses.replace(each.result, collapsed=True)) for each in rows]
    text = words.answer_sentence(answered(rows))
    assert "No recommendation on mnist: no trial succeeded." in text and "finished" not in text
    assert "Trials collapsed: 2 of 2 at 1 block" in text


def test_sentence_names_what_collapsed():
    rows = compared({1: [0.9, 0.91], 2: [0.95, 0.1]})
    rows[-1] = dataclasses.replace(rows[-1], result=dataclasses.replace(rows[-1].result, collapsed=True))
    answer = answered(rows)
    assert answer.recommended == 1  # a depth with a collapsed seed is not ranked, as with a diverged one
    assert answer.depths[1].summary.test.mean == 0.95 and answer.depths[1].summary.collapsed == 1
    assert "Trials collapsed: 1 of 2 at 2 blocks; they end no better than" in words.answer_sentence(answer)


@pytest.mark.parametrize("fits, best, warned", [(True, 2, True), (False, 2, False), (True, 1, False)])
def test_sentence_warns_where_the_deepest_is_best_and_deeper_ones_fit(fits, best, warned):
    accuracies = {1: [0.9, 0.91], 2: [0.95, 0.96]} if best == 2 else {1: [0.95, 0.96], 2: [0.9, 0.91]}
    text = words.answer_sentence(answered(compared(accuracies), deeper_fits=fits))
    assert ("This is the deepest network that was tried" in text) is warned


def test_sentence_says_why_a_depth_was_taken_that_is_not_the_best_and_how_sure():
    # 2 blocks are best, with an error of 4 %: 0.05 of it is 0.20 points; every difference is 0.10, so SE is 0.
    rows = compared({1: [0.959, 0.959], 2: [0.96, 0.96]})
    right = np.ones((2, 100), bool)
    text = words.answer_sentence(answered(rows, val_correct={1: right, 2: right}))
    assert "1 block falls 0.10 points short of the best on validation data, where 0.20 are allowed." in text
    assert "On resampled seeds and validation images, the rule takes 1 block in 100 % of draws." in text
    assert "draws" not in words.answer_sentence(answered(rows))  # which images are right is not known


def test_sentence_says_how_far_each_smaller_depth_fell_short():
    # Differences 2 - 0: 0.01, 0.03: mean 0.02, SE 0.02 / 2 = 0.01; 2 - 1: 0.005 each, SE 0
    text = sentence({0: [0.95, 0.95], 1: [0.955, 0.975], 2: [0.96, 0.98], 3: [0.9, 0.9]})
    assert (
        "0 blocks fell 2.00 points short of the best on validation data, where 1.00 were allowed; "
        "1 block 0.50, where 0.15 were allowed." in text
    )
    assert "short" not in sentence({0: [0.97, 0.97], 1: [0.96, 0.96]})


def test_a_shortfall_just_above_what_is_allowed_is_written_as_larger():
    # 0.05 of an error of 4 % are 0.2 points
    assert "fell 0.204 points short of the best on validation data, where 0.200 were allowed" in sentence(
        {0: [0.95796], 1: [0.96]}
    )


def test_sentence_names_a_depth_that_lacks_a_seed_and_so_is_not_ranked():
    right = {1: [0.95, 0.951, 0.952, 0.95], 2: [0.97, 0.971, 0.97, 0.972], 3: [0.981, 0.98, None, 0.98]}
    found = answered(compared(right))
    said = words.answer_sentence(found)
    assert "use 2 blocks" in said
    assert (
        "3 blocks are not ranked, since not every seed succeeded there; shares of picks are therefore unknown." in said
    )
    assert found.rule.startswith(
        "the smallest depth, of those whose every seed succeeded, whose mean validation accuracy"
    )
    complete = answered(compared({depth: values for depth, values in right.items() if depth < 3}))
    assert "not ranked" not in words.answer_sentence(complete) and "every seed" not in complete.rule


def test_sentence_says_where_one_seed_allows_no_test():
    said = words.answer_sentence(answered(compared({1: [0.9], 2: [0.9]})))
    assert "1 block cannot be told apart from 2 blocks (fewer than two common seeds allow no test)." in said


def test_a_difference_that_rounds_to_nothing_keeps_its_direction():
    better = [0.990021, 0.990022, 0.990023]
    rows = [row(blocks=1, seed=seed, val=0.99, test=0.99) for seed in range(3)]
    rows += [row(blocks=2, seed=seed, val=0.99, test=test) for seed, test in enumerate(better)]
    assert "2 blocks are better by less than 0.01 points" in words.answer_sentence(answered(rows))
    worse = Estimate(10, -0.00004, 0.0001, -0.000077, -0.000003)
    assert words.direction(worse) == "worse by less than 0.01 points (95 % interval 0.00 to 0.01)"


def test_sentence_names_what_failed():
    rows = [*compared({1: [0.9, 0.91]}), row(blocks=2, test=0.9, status="failed")]
    text = words.answer_sentence(answered(rows))
    assert "Trials failed: 1 of 1 at 2 blocks; the same command tries them again." in text


def test_sentence_names_rates_at_the_edge():
    rows = [*compared({1: [0.9, 0.91]}), *tuned([(1e-4, 8, 0.5), (1e-3, 8, 0.9)])]
    text = words.answer_sentence(answered(rows))
    assert "at the edge of the grid (0.001 for 1 block)" in text


def test_notes_of_a_comparison():
    rows = [
        *tuned([(1e-3, 8, 0.5), (3e-3, 8, 0.9)]),
        *compared({1: [0.9, 0.9, 0.9, 0.9, None]}, rate=3e-3),
    ]
    comparison = compare(rows, column="at", reference=1)
    assert words.notes(comparison, "mnist") == (
        "The best learning rate lies at the edge of the grid (0.003 for 1), so a wider grid may do better. "
        "Trials diverged: 1 of 5 at 1."
    )
    assert words.notes(comparison, "digits").endswith("360 test images of digits cannot separate close variants.")
    assert words.notes(compared_pooling({"max": MAX}), "mnist") == ""


@pytest.mark.parametrize("other", [[None, None, None], [None, 0.9]])
def test_what_is_unknown_is_said(other):
    comparison = compared_pooling({"max": [0.9, None], "stride": other})
    assert words.versus(comparison, "stride").endswith("(no common seed succeeded)")
    assert words.share(comparison, "stride") == "100 % of the parameters and 100 % of the multiply-accumulates"
    assert words.verdict(comparison, "max pooling") == (
        "Not to be told apart from max pooling: stride (fewer than two common seeds allow no test)."
    )


def test_one_seed_has_a_mean_and_no_interval():
    comparison = compared_pooling({"max": [0.98], "stride": [0.96]})
    assert words.accuracy(comparison, "stride") == "96.00 % (n=1)"
    assert words.versus(comparison, "stride") == "2.00 points less"
    assert words.share(comparison, "stride").endswith("and 100 % of the training time (1 timing)")


@pytest.mark.parametrize(
    "mean, low, high, said",
    [
        (-0.011, -0.0125, -0.0096, "1.10 points less (95 % interval 0.96 to 1.25, p = 0.03)"),
        (0.011, 0.0096, 0.0125, "1.10 points more (95 % interval 0.96 to 1.25, p = 0.03)"),
        (0.0004, -0.0011, 0.0019, "0.04 points more (95 % interval -0.11 to 0.19, p = 0.03)"),
        (-0.0004, -0.0019, 0.0011, "0.04 points less (95 % interval -0.11 to 0.19, p = 0.03)"),
        (-0.00004, -0.00004, 0.001, "0.00 points apart (95 % interval 0.00 to 0.10, p = 0.03)"),
        (0.00004, -0.0018, 0.0017, "0.00 points apart (95 % interval -0.18 to 0.17, p = 0.03)"),
        (-0.01, -0.02, 0.00004, "1.00 points less (95 % interval 0.00 to 2.00, p = 0.03)"),
    ],
)
def test_the_interval_has_the_sign_of_the_words(mean, low, high, said):
    comparison = comparison_of("stride", difference=Estimate(5, mean, 0.01, low, high), p_adjusted=0.03)
    assert words.versus(comparison, "stride") == said


def test_a_share_is_of_the_references_cost():
    small = row(blocks="small", seconds=8.0)
    large = row(blocks="large", seconds=10.0)
    comparison = compare([large, small], column="size", reference="large")
    assert words.share(comparison, "small") == (
        "100 % of the parameters, 100 % of the multiply-accumulates and 80 % of the training time (1 timing)"
    )


@pytest.mark.parametrize(
    "accuracies, lines",
    [
        ({1: [0.97]}, ["1 block is all that was tried: mean test accuracy 97.00 % (n=1)."]),
        (
            {1: [0.97, 0.96], 2: [0.97, 0.97]},
            [
                "1 block is the smallest depth that is good enough on validation images: mean test accuracy 96.50 % "
                "(95 % interval 90.15 to 100.00, n=2).",
                "On test images, 1 block cannot be told apart from 2 blocks (a true difference below ",
            ],
        ),
        (
            {1: [0.92, 0.919, 0.921], 2: [0.97, 0.97, 0.97]},
            [
                "2 blocks are the smallest depth that is good enough on validation images: mean test accuracy 97.00 % ("
                "n=3).",
                "On test images, 2 blocks can be told apart from every other depth.",
            ],
        ),
        ({1: [None], 2: [None]}, ["No trial succeeded, so there is no recommendation."]),
    ],
)
def test_the_answer_in_short(accuracies, lines):
    said = words.answer_in_short(answered(compared(accuracies)))
    assert len(said) == len(lines) and all(own.startswith(line) for own, line in zip(said, lines, strict=True)), said


def test_the_interval_of_a_time_is_said():
    rows = compared({"max": [*MAX, 0.9], "stride": [*STRIDE, 0.9]})
    seconds = [10.0, 20.0, 40.0, 40.0, 5.0, 12.0, 28.0, 28.0]  # of max, of stride; the last two ran together
    rows = [row(blocks=each.variant, seed=each.seed, seconds=own) for each, own in zip(rows, seconds, strict=True)]
    comparison = compare(rows, column="pooling", reference="max")
    logs = np.log([0.5, 0.6, 0.7])
    low, high = np.exp(stats.t.interval(0.95, 2, loc=logs.mean(), scale=stats.sem(logs)))
    assert words.share(comparison, "stride") == (
        "100 % of the parameters, 100 % of the multiply-accumulates and 59 % of the training time "
        f"(95 % interval {100 * low:.0f} to {100 * high:.0f}, 3 timings)"
    )


def test_the_verdict_names_every_variant_on_its_side():
    better = [value + 0.005 for value in MAX]
    better[0] += 0.0001  # else the difference has no variance
    comparison = compared_pooling(
        {"max": MAX, "stride": [0.5, 0.49, 0.5], "average": [0.981, 0.969, 0.99], "wide": better}
    )
    assert words.verdict(comparison, "max pooling") == (
        "Worse than max pooling: stride; not to be told apart from max pooling: average (a true difference below 0.57 "
        "points would mostly be missed); better than max pooling: wide."
    )
