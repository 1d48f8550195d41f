"""The command to try after a sweep's answer."""

import shlex

import numpy as np
import pytest

from cnn.config import SweepConfig
from cnn.study import advice
from tests.study.trials import answered, compared, row

pytestmark = pytest.mark.thorough

COMMAND = ["python", "-m", "experiments.sweep_blocks", "--dataset=mnist", "--workdir=my folder"]
GIVEN = "python -m experiments.sweep_blocks --dataset=mnist '--workdir=my folder'"
GRID = (3e-4, 1e-3, 3e-3)


def at_best(rates, accuracies):
    """Rows of a sweep whose tuning chose these learning rates of the grid, by depth."""
    tune = [
        row("tune", blocks=blocks, rate=rate, seed=9, val=0.9 if rate == best else 0.5)
        for blocks, best in rates.items()
        for rate in GRID
    ]
    return [*tune, *(trial for blocks in rates for trial in compared({blocks: accuracies[blocks]}, rate=rates[blocks]))]


def following(rows, fits=lambda blocks: False, command=COMMAND, match="width", **settings):
    config = SweepConfig("mnist", **{"blocks": (1, 2), "learning_rates": GRID, "match": match, **settings})
    return advice.next_command(answered(rows, match=match), config, config.grid, command, fits)


ALIKE = {1: [0.97, 0.96], 2: [0.96, 0.97]}
DEEPER = {1: [0.9, 0.91], 2: [0.97, 0.96]}
APART = {1: [0.97, 0.972, 0.971], 2: [0.9, 0.901, 0.902]}


@pytest.mark.parametrize(
    "rates, wider",
    [
        ({1: 3e-3, 2: 1e-3}, "0.0003,0.001,0.003,0.01"),
        ({1: 1e-3, 2: 3e-4}, "0.0001,0.0003,0.001,0.003"),
        ({1: 3e-3, 2: 3e-4}, "0.0001,0.0003,0.001,0.003,0.01"),
    ],
)
def test_a_best_rate_at_the_edge_asks_for_a_wider_grid(rates, wider):
    assert following(at_best(rates, ALIKE)) == f"{GIVEN} --learning_rates={wider}"


def test_the_deepest_depth_asks_for_a_deeper_one_where_it_fits_and_changes_no_other():
    rows = at_best({1: 1e-3, 2: 1e-3}, DEEPER)
    assert following(rows, fits=lambda blocks: blocks == 3) == f"{GIVEN} --blocks=1,2,3"
    assert following(rows, fits=lambda blocks: False) == f"{GIVEN} --seeds=10"
    assert following(rows, fits=lambda blocks: True, match="macs") == f"{GIVEN} --seeds=10"


def test_depths_that_are_not_told_apart_ask_for_more_seeds():
    assert following(at_best({1: 1e-3, 2: 1e-3}, ALIKE), seeds=3) == f"{GIVEN} --seeds=6"
    assert following(at_best({1: 1e-3, 2: 1e-3}, APART)) is None


def test_a_failed_trial_asks_for_the_same_command():
    rows = [*at_best({1: 3e-3, 2: 1e-3}, ALIKE), row(rate=3e-3, seed=8, status="failed")]
    assert following(rows) == GIVEN


def test_lower_rates_are_asked_for_where_every_trial_diverged():
    rows = compared({1: [None, None], 2: [None, None]}, rate=0.5)
    assert following(rows, learning_rates=(0.5,)) == f"{GIVEN} --learning_rates=0.1,0.5"


@pytest.mark.parametrize(
    "given", [["--seeds=5"], ["--seeds", "5"], ["-seeds=5"], ["-seeds", "5"], ["--seeds=3", "--seeds=5"]]
)
def test_the_flag_that_grows_is_replaced_however_it_was_given(given):
    command = ["python", "-m", "experiments.sweep_blocks", *given, "--epochs=2"]
    line = following(at_best({1: 1e-3, 2: 1e-3}, ALIKE), command=command)
    assert line == "python -m experiments.sweep_blocks --epochs=2 --seeds=10"


def test_log_spaced_rates_are_repeated_to_the_last_digit():
    rates = np.geomspace(1e-4, 1e-2, 5).tolist()
    rows = [row("tune", rate=rate, seed=9, val=rate) for rate in rates]
    rows += compared({1: [0.97, 0.96]}, rate=rates[-1])
    line = following(rows, learning_rates=tuple(rates), blocks=(1,))
    listed = shlex.split(line)[-1].removeprefix("--learning_rates=").split(",")
    assert list(map(float, listed[:-1])) == rates and float(listed[-1]) == 0.03
