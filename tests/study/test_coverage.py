"""Simulations whose truth is known: how often intervals hold it, tests err, and the rule takes each depth."""

import gc
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import answer_simulation as simulation
from cnn.study import rule, statistics

pytestmark = pytest.mark.thorough

RECORD = Path(__file__).parents[2] / "benchmarks" / "README.md"
TEXTS = ("data", "true errors")  # the columns that hold text
NOISE = simulation.Data(0.02, 5000, 0.5, 0.003, 0.002)
RARE = 1e-4  # a right program fails a check this seldom; the seeds are fixed, so that it fails always or never


def between(repeats, share):
    """What a binomial number of hits of a true share stays between, all but rarely."""
    return stats.binom.interval(1 - RARE, repeats, share)


@pytest.mark.parametrize("seeds", [2, 5, 10])
def test_t_intervals_of_normal_values_hold_the_mean_in_95_percent(seeds):
    values = np.random.default_rng(0).normal(0.97, 0.004, (2000, seeds))
    held = sum(low <= 0.97 <= high for low, high in map(statistics.t_interval, values))
    low, high = between(2000, 0.95)
    assert low <= held <= high


@pytest.mark.parametrize("seeds", [5, 10])
def test_t_intervals_of_validation_accuracies_hold_the_true_one_in_95_percent(seeds):
    accuracy = simulation.sweeps((0.98,), seeds, NOISE, 2000, np.random.default_rng(1))[:, 0]
    held = sum(low <= 0.98 <= high for low, high in map(statistics.t_interval, accuracy))
    low, high = between(2000, 0.95)
    assert low <= held <= high


def correct_images(seeds, images, between_seeds, between_images, generator):
    """[seeds, images], right where skill, ease and chance of a probit model are above 0; and the true share."""
    skill = generator.normal(0, between_seeds, (seeds, 1))
    ease = generator.normal(0, between_images, (1, images))
    truth = stats.norm.cdf(1 / math.sqrt(1 + between_seeds**2 + between_images**2))
    return 1 + skill + ease + generator.normal(size=(seeds, images)) > 0, truth


VARIES = {"images": (0.01, 1.0), "both": (0.1, 1.0), "seeds": (0.3, 0.5)}  # deviations of skill and ease


def share_held(seeds, varies, interval, repeats=400):
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(repeats):
        correct, truth = correct_images(seeds, 200, *VARIES[varies], generator)
        low, high = interval(correct)
        held += low <= truth <= high
    return held / repeats


def bootstrap(correct):
    return statistics.bootstrap_interval(correct, resamples=500)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("varies", VARIES)
def test_bootstrap_intervals_hold_the_true_share_in_95_percent_or_somewhat_more(seeds, varies):
    """Somewhat more, since what an image and a seed do together counts for both."""
    assert between(400, 0.95)[0] / 400 <= share_held(seeds, varies, bootstrap)


def plain_percentiles(correct):
    generator = np.random.default_rng(0)
    seeds, images = correct.shape
    seed_counts = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=500)
    image_counts = generator.multinomial(images, np.full(images, 1 / images), size=500)
    return np.quantile(((seed_counts @ correct) * image_counts).sum(axis=1) / correct.size, [0.025, 0.975])


def test_plain_percentiles_of_few_seeds_would_not():
    assert share_held(3, "seeds", plain_percentiles) < between(400, 0.95)[0] / 400


def test_tests_find_a_difference_where_there_is_none_in_5_percent_of_the_families(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels does at each call, which takes longer than all else
    accuracy = simulation.sweeps((0.98,) * 4, 5, NOISE, 500, np.random.default_rng(3))
    single = 0
    family = 0
    for first, *others in accuracy:
        p_values = {place: statistics.paired_p_value(first, other) for place, other in enumerate(others)}
        single += p_values[0] < 0.05
        family += min(statistics.holm(p_values).values()) < 0.05
    low, high = between(500, 0.05)
    assert low <= single <= high and 0 < family <= high


def recorded():
    """The rows of the recorded simulation, as `simulate` gives them, and how many repeats they are of."""
    section = RECORD.read_text().split("\n## How often the rule is right\n")[1].split("\n## ")[0]
    table = section[section.index("| data ") :].split("\n\n")[0]
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    rows = [
        {name: value if name in TEXTS else _number(value) for name, value in zip(head, line, strict=True)}
        for line in lines
    ]
    repeats = int(re.search(r"^(\d+) repeats of each row, margin 0\.05", section, re.MULTILINE)[1])
    return rows, repeats


def _number(text):
    return float(text.removesuffix("%")) / 100 if text.endswith("%") else int(text)


def disagreement(rows, repeats):
    """The p-value of: these picks and the recorded ones come from one rule. Chi-square of each row, added."""
    total = 0.0
    freedom = 0
    record, of = recorded()
    for row, old in zip(rows, record, strict=True):
        assert [row[name] for name in list(row)[:4]] == [old[name] for name in list(old)[:4]]
        counts = np.array([[run[f"picks {d}"] * n for d in range(4)] for run, n in ((row, repeats), (old, of))])
        counts = np.round(counts[:, counts.sum(axis=0) >= 10])  # what is rarer would not be near chi-square
        if counts.shape[1] > 1:
            test = stats.chi2_contingency(counts, correction=False)
            total += test.statistic
            freedom += test.dof
    assert freedom > 50
    return stats.chi2.sf(total, freedom)


def test_the_rule_takes_each_depth_as_often_as_recorded():
    rows = simulation.simulate(150, seed=4)
    assert disagreement(rows, 150) > RARE
    for row, old in zip(rows, recorded()[0], strict=True):
        # The four depths of a sweep share its seeds: at worst they are one.
        assert row["coverage"] == pytest.approx(old["coverage"], abs=4.5 * math.sqrt(0.95 * 0.05 / 150))
        assert old["coverage"] == pytest.approx(0.95, abs=0.03)


def half_the_margin(accuracy, margin):
    return CHOOSE(accuracy, margin / 2)


def no_standard_error(accuracy, margin):
    shortfall = accuracy.mean(axis=1).max() - accuracy.mean(axis=1)
    allowance = np.full(len(shortfall), margin * (1 - accuracy.mean(axis=1).max()))
    return rule.Choice(int(np.argmax(shortfall <= allowance + 1e-9)), shortfall, allowance)


def unpaired(accuracy, margin):
    """Each depth's seeds shuffled on their own: the standard error no longer is that of pairs."""
    generator = np.random.default_rng(0)
    return CHOOSE(generator.permuted(accuracy, axis=1), margin)


CHOOSE = rule.choose


@pytest.mark.parametrize("other", [half_the_margin, no_standard_error, unpaired])
def test_another_rule_would_be_seen(monkeypatch, other):
    monkeypatch.setattr(rule, "choose", other)
    rows = simulation.simulate(150, seed=4)
    names = [row["noise-free"] for row in recorded()[0]]
    rows = [row | {"noise-free": name} for row, name in zip(rows, names, strict=True)]
    assert disagreement(rows, 150) < RARE


def test_the_recorded_coverage_is_that_of_our_intervals():
    truth = (0.98, 0.985)
    accuracy = simulation.sweeps(truth, 5, simulation.DATA["digits"], 300, np.random.default_rng(5))
    intervals = [[statistics.t_interval(depth) for depth in sweep] for sweep in accuracy]
    held = [
        own[0] <= true <= own[1]
        for sweep in intervals
        for own, true in zip(sweep, truth, strict=True)
        if own is not None
    ]
    assert simulation.coverage(accuracy, truth) == np.mean(held)
