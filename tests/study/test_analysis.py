"""The answer of a study, against hand arithmetic, plain formulas and brute force."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn.study import analysis
from tests.study.trials import NAN, compared, row, tuned

T = {1: 12.7062, 2: 4.30265}  # 97.5 % quantiles of Student's t, from the printed tables


RULE = [
    pytest.param({1: [0.95]}, 0.002, 1, id="one depth"),
    pytest.param({1: [0.98], 2: [0.982]}, 0.002, 1, id="short by the margin, n=1"),  # 0.982 - 0.98 > 0.002 in binary
    pytest.param({1: [0.98], 2: [0.9821]}, 0.002, 2, id="short by more than the margin, n=1"),
    pytest.param({1: [0.98, 0.98], 2: [0.99, 0.99], 3: [0.99, 0.99]}, 0.0, 2, id="tie of the best: smaller"),
    # 2 and 3 tie but for rounding: 2 is the best, and 1 short of it by 0.05, 0.05, SE 0 (of 3: 0.15, -0.05, SE 0.1)
    pytest.param({1: [0.05, 0.65], 2: [0.1, 0.7], 3: [0.2, 0.6]}, 0.002, 2, id="SE to the smaller of the best"),
    # differences to 2: 0.00, 0.03; mean 0.015, deviation 0.03 / sqrt 2, SE = 0.03 / 2 = 0.015: just within
    pytest.param({1: [0.95, 0.95], 2: [0.95, 0.98]}, 0.002, 1, id="within one SE"),
    # differences 0.01, 0.03; mean 0.02, SE = 0.02 / 2 = 0.01
    pytest.param({1: [0.95, 0.95], 2: [0.96, 0.98]}, 0.002, 2, id="beyond one SE"),
    pytest.param({1: [0.95, 0.95], 2: [0.96, 0.98]}, 0.02, 1, id="the margin is larger than the SE"),
    # each depth spreads by 0.04, yet every difference is 0.01, so SE is 0: seeds pair
    pytest.param({1: [0.90, 0.94], 2: [0.91, 0.95]}, 0.002, 2, id="paired"),
    pytest.param({1: [None, None], 2: [0.97, 0.97]}, 0.5, 2, id="diverged depth is never taken"),
    pytest.param({1: [0.98, None], 2: [0.97, 0.97]}, 0.0, 2, id="a depth with a diverged seed is not ranked"),
    pytest.param({1: [0.97] * 5, 2: [0.98, None, None, None, None]}, 0.0, 1, id="one survivor of five"),
    # every depth misses a seed: equal on the one that both have, though their means differ by 0.04
    pytest.param({1: [0.90, 0.98, None], 2: [None, 0.98, 0.98]}, 0.0, 1, id="only common seeds compare"),
    # common seeds: 0 only, so the margin alone; means 0.96 and 0.97 (over 0.96, 0.98)
    pytest.param({1: [0.96, None], 2: [0.96, 0.98]}, 0.002, 2, id="one common seed"),
    pytest.param({1: [None], 2: [None]}, 0.002, None, id="nothing finished"),
    pytest.param({3: [0.99, 0.99], 1: [0.99, 0.99]}, 0.002, 1, id="rows in any order"),
    pytest.param({2: [0.99, 0.99], 10: [0.99, 0.99]}, 0.002, 2, id="numeric, not alphabetic"),
]


@pytest.mark.parametrize("accuracies, margin, expected", RULE)
def test_rule(accuracies, margin, expected):
    assert analysis.recommend(compared(accuracies), margin) == expected


def test_rule_reads_only_finished_comparison_trials_at_the_best_rate():
    results = pd.concat(
        [
            compared({1: [0.9, 0.9], 2: [0.95, 0.95]}),
            compared({1: [0.99, 0.99]}, rate=1e-2),  # of an older, smaller grid
            tuned([(1e-3, 8, 0.9), (1e-2, 8, 0.8)]),
            pd.DataFrame([row("tune", seed=9, val=1.0, test=1.0), row(seed=5, val=1.0, test=1.0, status="failed")]),
        ]
    )
    assert analysis.recommend(results, 0.002) == 2


def test_rule_never_reads_test_accuracy():
    results = compared({1: [0.9, 0.9], 2: [0.95, 0.96]})
    assert analysis.recommend(results.assign(test_accuracy=[1.0, 1.0, 0.0, 0.0]), 0.002) == 2


def test_repeated_trial_is_an_error():
    with pytest.raises(ValueError, match="blocks=1, seed=0: two comparison trials"):
        analysis.recommend(pd.concat([compared({1: [0.9]})] * 2), 0.002)


def test_variants_that_are_words_keep_their_order():
    results = compared({"max": [0.97, 0.97], "average": [0.97, 0.97]}).rename(columns={"blocks": "pooling"})
    answer = analysis.answer(results, dataset="mnist", match="width", margin=0.002, by="pooling")
    assert answer["recommended_pooling"] == "max"
    assert [depth["pooling"] for depth in answer["depths"]] == ["max", "average"]
    assert "use pooling=max" in analysis.sentence(answer) and "block" not in analysis.sentence(answer)
    assert analysis.table(answer).splitlines()[2].startswith("| max *")


@pytest.mark.parametrize("missing", ["no row", "failed", "diverged", "no accuracy"])
def test_a_missing_cell_takes_its_depth_out_of_the_ranking_whatever_became_of_it(missing):
    results = compared({1: [0.97, 0.96, 0.97], 2: [0.99, 0.99, 0.98], 3: [0.98, 0.97, 0.98]})
    cell = (results["blocks"] == 2) & (results["seed"] == 1)
    if missing == "no row":
        results = results[~cell]
    else:
        results.loc[cell, ["val_accuracy", "test_accuracy"]] = NAN
        results.loc[cell, "status"] = missing if missing != "no accuracy" else "done"
    answer = analysis.answer(results, dataset="mnist", match="width", margin=0.002)
    one, two, three = answer["depths"]
    assert answer["recommended_blocks"] == 3  # 2 would be, with all of its seeds
    assert two["shortfall"] is two["allowance"] is None
    assert (one["shortfall"], three["shortfall"]) == (pytest.approx(0.01), 0.0)
    # 2 against 3 on the seeds that both have, 0 and 2: differences 0.01, 0.00
    assert two["p_adjusted"] == pytest.approx(0.5) and two["test_mean"] == pytest.approx(0.985)
    json.dumps(answer, allow_nan=False)


accuracy = st.integers(0, 360).map(lambda right: right / 360)
sweeps = (
    st.integers(1, 5)
    .flatmap(lambda seeds: st.lists(st.lists(accuracy, min_size=seeds, max_size=seeds), min_size=1, max_size=5))
    .map(np.array)
)


@given(sweeps, st.floats(0, 0.1), st.floats(0, 0.1))
@settings(deadline=None)
def test_rule_properties(values, margin, more):
    index = analysis.choose(values, margin).chosen
    means = values.mean(axis=1)
    assert means[:index].max(initial=-1) < means.max()  # what is shallower and passed over is worse than the best
    assert index <= int(np.argmax(means > means.max() - 1e-9))
    assert analysis.choose(values, margin + more).chosen <= index
    assert analysis.choose(values + 0.25, margin).chosen == index


@given(sweeps, st.floats(0, 0.1))
@settings(deadline=None)
def test_rule_is_its_definition(values, margin):
    def standard_error(differences):
        n, mean = len(differences), math.fsum(differences) / len(differences)
        return math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n) if n > 1 else 0.0

    means = [math.fsum(depth) / len(depth) for depth in values.tolist()]
    best = next(depth for depth, mean in enumerate(means) if mean > max(means) - 1e-9)
    reached = [
        means[best] - mean <= max(margin, standard_error((values[best] - depth).tolist())) + 1e-9
        for mean, depth in zip(means, values, strict=True)
    ]
    assert analysis.choose(values, margin).chosen == reached.index(True)


CONTRACT = {
    "blocks",
    "learning_rate",
    "n",
    "diverged",
    "val_mean",
    "val_std",
    "val_low",
    "val_high",
    "test_mean",
    "test_std",
    "test_low",
    "test_high",
    "parameters",
    "macs",
    "p_adjusted",
}


def answered(accuracies, dataset="mnist", **options):
    return analysis.answer(compared(accuracies), dataset=dataset, match="width", margin=0.002, **options)


def test_answer():
    results = pd.concat(
        [
            compared({0: [0.90, 0.92], 1: [0.97, 0.98], 2: [0.96, 0.99], 3: [None, None]}),
            pd.DataFrame(
                [row("tune", blocks=1, rate=rate, seed=9, val=val) for rate, val in [(1e-4, 0.5), (1e-3, 0.9)]]
            ),
        ]
    )
    correct = {1: np.array([[True] * 9 + [False]] * 2)}
    answer = analysis.answer(results, dataset="mnist", match="macs", margin=0.002, correct=correct)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert set(answer) == {"recommended_blocks", "rule", "margin", "indistinguishable", "dataset", "match", "depths"}
    assert (answer["dataset"], answer["match"], answer["margin"]) == ("mnist", "macs", 0.002)
    assert all(set(depth) >= CONTRACT for depth in answer["depths"])
    # Means 0.91, 0.975, 0.975: the tie goes to 1. Differences 1 - 0: 0.07, 0.06: mean 0.065, SE 0.005, t = 13, one
    # degree of freedom: p = 1 - 2 atan(13) / pi = 0.04888; 1 - 2: 0.01, -0.01: t = 0, p = 1. Holm: 2 x 0.04888, 1.
    assert answer["recommended_blocks"] == 1 and answer["indistinguishable"] == [0, 2]
    zero, one, two, three = answer["depths"]
    assert zero["p_adjusted"] == pytest.approx(2 * (1 - 2 * math.atan(13) / math.pi), abs=1e-9)
    assert two["p_adjusted"] == pytest.approx(1.0) and one["p_adjusted"] is three["p_adjusted"] is None
    assert (one["learning_rate"], one["learning_rate_at_edge"], zero["learning_rate_at_edge"]) == (1e-3, True, False)
    assert (one["n"], one["diverged"], three["n"], three["diverged"]) == (2, 0, 0, 2)
    assert one["val_mean"] == pytest.approx(0.975) and one["val_std"] == pytest.approx(0.01 / math.sqrt(2))
    assert one["val_high"] == pytest.approx(0.975 + T[1] * 0.005, abs=1e-6) == one["test_high"]
    assert (one["parameters"], one["macs"], one["train_seconds"]) == (101, 1001, 1.0)
    assert (three["parameters"], three["val_mean"], three["shortfall"]) == (103, None, None)
    assert three["train_seconds"] is None
    assert one["test_bootstrap_low"] < 0.9 < one["test_bootstrap_high"] and two["test_bootstrap_low"] is None
    assert zero["shortfall"] == pytest.approx(0.065)
    # Differences 1 - 2 have deviation 0.01 sqrt 2, SE 0.01
    assert (zero["allowance"], two["allowance"]) == pytest.approx((0.005, 0.01))
    assert "1 block: 0.9750" in answer["rule"] and "0.002" in answer["rule"]


def test_answer_tells_apart():
    # Differences 2 - 1: 0.049, 0.05, 0.051: mean 0.05, SE 0.001 / sqrt 3, t = 86.6: p far below 0.05
    answer = answered({1: [0.921, 0.92, 0.919], 2: [0.97, 0.97, 0.97]})
    assert answer["recommended_blocks"] == 2 and answer["indistinguishable"] == []
    assert answer["depths"][0]["p_adjusted"] < 0.001
    assert answer["depths"][1]["test_std"] == 0.0 and answer["depths"][1]["test_low"] is None  # zero variance
    assert analysis.sentence(answer) == (
        "On mnist, use 2 blocks: mean test accuracy 97.00 % (n=3); the data tell it apart from 1 block."
    )


def test_answer_of_one_seed():
    answer = answered({1: [0.9], 2: [0.97]})
    assert answer["recommended_blocks"] == 2 and answer["indistinguishable"] == [1]
    names = ("val_std", "val_low", "val_high", "test_std", "test_low", "test_high", "p_adjusted")
    assert all(depth[name] is None for depth in answer["depths"] for name in names)
    assert "of one seed SE is unknown, so the margin alone counts" in answer["rule"]
    assert "unknown" not in answered({1: [0.9, 0.91], 2: [0.97, 0.98]})["rule"]
    assert "97.00 % (n=1);" in analysis.sentence(answer) and "[" not in analysis.table(answer)
    json.dumps(answer, allow_nan=False)


@pytest.mark.parametrize(
    "accuracies, dataset, parts",
    [
        # deviation 0.01, half width 4.30265 x 0.01 / sqrt 3 = 0.02484
        (
            {1: [0.96, 0.97, 0.98]},
            "mnist",
            ["use 1 block: mean test accuracy 97.00 % (95% interval 94.52 to 99.48, n=3)", "no other depth"],
        ),
        ({1: [0.97, 0.96], 2: [0.97, 0.97], 3: [0.96, 0.97]}, "mnist", ["cannot tell it apart from 2 and 3 blocks."]),
        ({0: [0.97, 0.96], 1: [0.97, 0.97]}, "mnist", ["use 0 blocks", "cannot tell it apart from 1 block."]),
        (
            {1: [None, None], 2: [None, 0.97]},
            "mnist",
            [
                "use 2 blocks: mean test accuracy 97.00 % (n=1)",
                "Trials diverged: 2 of 2 at 1 block and 1 of 2 at 2 blocks.",
            ],
        ),
        ({1: [None]}, "mnist", ["No recommendation on mnist: no trial finished.", "1 of 1 at 1 block"]),
        ({1: [0.97, 0.98]}, "digits", ["360 test images of digits cannot separate close depths."]),
    ],
)
def test_sentence(accuracies, dataset, parts):
    answer = answered(accuracies, dataset)
    text = analysis.sentence(answer)
    assert all(part in text for part in parts), text
    assert ("360" in text) == (dataset == "digits")
    assert ("diverged" in text) == any(depth["diverged"] for depth in answer["depths"])
    assert "edge" not in text
    json.dumps(answer, allow_nan=False)


def test_sentence_and_table_name_what_failed():
    results = pd.concat([compared({1: [0.9, 0.91]}), compared({2: [0.9]}).assign(status="failed", val_accuracy=NAN)])
    answer = analysis.answer(results, dataset="mnist", match="width", margin=0.002)
    assert "Trials failed: 1 of 1 at 2 blocks; the same command tries them again." in analysis.sentence(answer)
    assert answer["depths"][1]["failed"] == 1 and answer["recommended_blocks"] == 1


def test_sentence_names_rates_at_the_edge():
    results = pd.concat([compared({1: [0.9, 0.91]}), tuned([(1e-4, 8, 0.5), (1e-3, 8, 0.9)])])
    text = analysis.sentence(analysis.answer(results, dataset="mnist", match="width", margin=0.002))
    assert "at the edge of the grid (0.001 for 1 block)" in text


def test_table():
    lines = analysis.table(answered({1: [0.96, 0.98], 2: [0.96, 0.99], 3: [None]})).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][:2] == ["blocks", "test accuracy %"] and len(lines) == 5
    # 0.97 +- 12.7062 x 0.01 and 0.975 +- 12.7062 x 0.015; differences 0, 0.01: t = 1, p = 1 - 2 atan(1) / pi = 0.5.
    # 2 is best by 0.005, with SE 0.005, so 1 is within reach.
    assert cells[2] == ["1 *", "97.00 [84.29, 109.71]", "97.00", "2", "0", "0", "0.001", "101", "1,001", "1.0", "-"]
    assert cells[3] == ["2", "97.50 [78.44, 116.56]", "97.50", "2", "0", "0", "0.001", "102", "1,002", "1.0", "0.5"]
    assert cells[4] == ["3", "-", "-", "0", "1", "0", "0.001", "103", "1,003", "-", "-"]


def test_answer_survives_its_csv(tmp_path):
    results = pd.concat([compared({1: [0.96, 0.98], 2: [1 / 3, None]}), tuned([(3e-4, 8, 0.5), (1e-3, 8, 0.9)])])
    results.to_csv(tmp_path / "results.csv", index=False)
    options = {"dataset": "mnist", "match": "width", "margin": 0.002}
    assert analysis.answer(pd.read_csv(tmp_path / "results.csv"), **options) == analysis.answer(results, **options)
