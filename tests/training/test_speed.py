"""A trial's time at a speed, and where the speed comes from."""

import pytest

from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.training import speed
from cnn.training.fit import Session
from cnn.training.prepared import prepare_trials
from cnn.training.speed import Speed, trial_seconds


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def prepared(digits, blocks=1, fraction=0.1, epochs=4, mirror=False):
    network = NetworkConfig(blocks=blocks, width=4, hidden=8)
    training = TrainingConfig(epochs=epochs, batch_size=256, mirror=mirror)
    return prepare_trials(
        TrialConfig("digits", validation_fraction=fraction, network=network, training=training), digits
    )


@pytest.mark.parametrize(
    "fraction, test, done, seconds",
    [
        (0.1, False, 0, 4 * (5 * 2.0 + 144 * 0.01)),  # 1293 images in batches of 256 are 5 steps
        (0.1, True, 0, 4 * (5 * 2.0 + 144 * 0.01) + 360 * 0.01),
        (0.0, True, 0, 4 * 5 * 2.0 + 360 * 0.01),
        (0.1, True, 10, 2 * (5 * 2.0 + 144 * 0.01) + 360 * 0.01),
        (0.1, False, 20, 0.0),
        (0.5, False, 0, 4 * 2 * 2.0 + 3 * 718 * 0.01),  # 512 images learn: validated after epochs 2, 3 and 4
    ],
)
def test_the_time_of_a_trial(digits, fraction, test, done, seconds):
    own = prepared(digits, fraction=fraction)
    assert trial_seconds(own, digits, Speed(2.0, 0.01), test=test, done=done) == pytest.approx(seconds)


def test_the_speed_of_finished_trials_is_the_mean_of_their_steps(digits):
    known = speed.by_results(prepared(digits), [4.0, 6.0])
    assert known == Speed(5.0 / 20, pytest.approx(5.0 / 20 / 256 / 3), 1)
    twice = speed.by_results(prepared(digits, mirror=True), [4.0, 6.0])
    assert twice == Speed(known.step, pytest.approx(2 * known.image), 1)


def test_a_deeper_network_is_expected_to_take_longer(digits):
    steps = [speed.by_cost(prepared(digits, blocks=blocks)).step for blocks in (0, 1, 2, 3)]
    assert steps == sorted(steps) and steps[0] < steps[-1]


@pytest.mark.thorough
@pytest.mark.parametrize("fraction", [0.1, 0.0])
def test_a_measured_speed_is_that_of_trials_together(digits, fraction, monkeypatch):
    monkeypatch.setattr(speed, "MEASURED_SECONDS", 0.1)
    own = prepared(digits, fraction=fraction)
    with Session(digits) as session:
        found = speed.measured(session, own, [own.config, own.config])
    assert found.together == 2 and 0 < found.image < found.step
