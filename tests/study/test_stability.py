"""Shares of picks, against an enumeration of every resample."""

import itertools

import numpy as np
import pytest

from cnn.study.rule import choose
from cnn.study.stability import pick_shares


def test_shares_against_every_resample():
    # two depths, two seeds, two validation images
    right = [np.array([[True, True], [True, False]]), np.array([[True, False], [True, True]])]
    chosen = []
    for seeds in itertools.product(range(2), repeat=2):
        for images in itertools.product(itertools.product(range(2), repeat=2), repeat=2):
            drawn = [[own[seed, list(part)].mean() for seed, part in zip(seeds, images, strict=True)] for own in right]
            chosen.append(choose(np.array(drawn), 0.05).chosen)
    expected = np.bincount(chosen, minlength=2) / len(chosen)
    assert 0.1 < expected[0] < 0.9
    assert pick_shares(right, 0.05, resamples=20_000) == pytest.approx(expected, abs=0.02)


def test_equal_depths_give_all_picks_to_the_smallest_and_the_seed_fixes_the_shares():
    right = np.random.default_rng(0).random((5, 500)) < 0.9
    assert pick_shares([right, right, right], 0.0).tolist() == [1.0, 0.0, 0.0]
    other = np.random.default_rng(1).random((5, 500)) < 0.9
    shares = pick_shares([right, other], 0.05, seed=1)
    assert shares.tolist() == pick_shares([right, other], 0.05, seed=1).tolist() and shares.sum() == pytest.approx(1)
    assert shares.tolist() != pick_shares([right, other], 0.05, seed=2).tolist()


def test_pairs_are_kept():
    """A depth that errs on one image more, whichever images a seed has, is worse in nearly every resample."""
    better = np.random.default_rng(0).random((5, 2000)) < 0.9
    worse = better.copy()
    worse[np.arange(5)[:, None], np.argsort(~better, axis=1, kind="stable")[:, :30]] = False  # 1.5 points
    assert pick_shares([worse, better], 0.05)[1] > 0.99
