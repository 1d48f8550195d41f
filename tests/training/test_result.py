"""The rates of a result against its seconds, counted by hand."""

import dataclasses
import json

import pytest

from cnn import machine
from cnn.config import NetworkConfig
from cnn.training import result as results
from cnn.training.fit import Session
from cnn.training.folder import TrialFolder
from cnn.training.prepared import prepare_trials
from cnn.training.rate import product_rate
from cnn.training.trial import Options
from tests.training.test_trial import CONFIG, SAVE, StopsAfter, alone, together

pytestmark = pytest.mark.thorough

STEPS = 5  # in an epoch: 1293 images train, in batches of 256
IMAGES = CONFIG.training.epochs * STEPS * 256
# Of one image: 64 cells x 9 weights x 4 filters; then 4x4x4 units, 8 hidden units and 10 classes.
MACS = (64 * 9 * 4, 64 * 8, 8 * 10)
OPERATIONS = 2 * (2 * MACS[0] + 3 * MACS[1] + 3 * MACS[2])  # the gradient of the image is not needed


def assert_rates(result, images=IMAGES):
    assert result.images_per_second * result.train_seconds == pytest.approx(images)
    assert result.steps_per_second * 256 == pytest.approx(result.images_per_second)
    rate = product_rate(machine.here(), "float32")
    assert result.share_of_matrix_product == pytest.approx(result.images_per_second * OPERATIONS / rate)
    assert result.devices == machine.here().devices


def test_the_rates_of_a_training(session, tmp_path):
    result = alone(session, CONFIG, tmp_path).result
    assert_rates(result)
    written = json.loads((tmp_path / "result.json").read_text())
    assert (written["images_per_second"], written["devices"]) == (result.images_per_second, result.devices)


def test_trials_together_have_the_rate_of_all(session):
    first, second = (own.result for own in together(session, [CONFIG, dataclasses.replace(CONFIG, seed=1)]))
    assert_rates(first)
    assert first.images_per_second == second.images_per_second and first.compile_seconds == second.compile_seconds


def test_a_diverged_training_counts_the_epochs_that_it_ran(session):
    result = alone(session, dataclasses.replace(CONFIG, learning_rate=1e30)).result
    assert result.epochs < CONFIG.training.epochs
    assert_rates(result, result.epochs * STEPS * 256)


def test_the_first_trial_of_a_network_compiles_and_the_next_does_not(digits):
    config = dataclasses.replace(CONFIG, network=NetworkConfig(blocks=1, width=7, hidden=9))
    with Session(digits) as session:
        first, second = (alone(session, dataclasses.replace(config, seed=seed)).result for seed in (0, 1))
    assert 0 <= second.compile_seconds < first.compile_seconds / 2


def test_a_continued_training_compares_with_no_rate_of_another_machine(session, digits, tmp_path):
    elsewhere = dataclasses.replace(machine.here(), cpu="Z80")
    with Session(digits, elsewhere) as other, pytest.raises(KeyboardInterrupt):
        alone(other, CONFIG, tmp_path, SAVE, StopsAfter(1))
    result = alone(session, CONFIG, tmp_path).result
    assert result.share_of_matrix_product is None and result.same_machine is False
    assert result.images_per_second * result.train_seconds == pytest.approx(IMAGES)


def test_what_is_unknown_is_none(session, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "product_rate", lambda here, precision: None)  # no room on the device
    result = alone(session, CONFIG, tmp_path).result
    assert result.share_of_matrix_product is None and result.images_per_second > 0


def test_a_finished_trial_keeps_its_rates(session, tmp_path, monkeypatch):
    folder = TrialFolder(tmp_path)
    first = together(session, [CONFIG], [folder])
    monkeypatch.setattr(results, "product_rate", lambda here, precision: pytest.fail("measured again"))
    assert together(session, [CONFIG], [folder], Options())[0].result == first[0].result
    assert prepare_trials(CONFIG, session.dataset).cost.macs == sum(MACS)
