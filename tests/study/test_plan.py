"""The plan of a study: its trials, their names, and what is refused before anything runs."""

import dataclasses
import json

import pytest

from cnn.config import NetworkConfig, TrainingConfig
from cnn.errors import RequestError
from cnn.study.plan import Study, plan_study
from cnn.study.run import default_workdir
from tests.study.small import CONFIG, study
from tests.study.trials import LOG_SPACED


def test_trials_name_their_folders_apart(digits):
    plan = plan_study(study(digits, dataclasses.replace(CONFIG, tuning_seeds=3)))
    names = [trial.name for trial in plan.tuning()]
    assert len(set(names)) == len(names) == 2 * 2 * 3
    assert names[0] == "tune-blocks0-rate0.001-seed1000000"


def test_the_phases_have_seeds_of_their_own(digits):
    plan = plan_study(study(digits))
    assert {trial.config.seed for trial in plan.tuning()} == {1_000_000}
    assert {trial.config.seed for trial in plan.comparing()} == {0, 1}
    one = plan_study(study(digits, dataclasses.replace(CONFIG, learning_rates=(1e-3,))))
    assert one.tuning() == [] and len(one.comparing()) == 4


def test_a_trial_in_words(digits):
    trial = study(digits).trial("tune", 1, 3e-3, 1_000_001)
    assert trial.words == "1 block, learning rate 0.003, seed 1000001"
    pooled = Study("e", "pooling", {"max": CONFIG.network}, CONFIG, digits)
    assert pooled.trial("compare", "max", 1e-3, 0).words == "pooling=max, learning rate 0.001, seed 0"


def test_log_spaced_rates_name_their_trials_exactly(digits):
    own = study(digits)
    trials = [own.trial("tune", 1, rate, 8) for rate in LOG_SPACED]
    read_back = json.loads(json.dumps([trial.config.learning_rate for trial in trials]))
    assert trials == [own.trial("tune", 1, rate, 8) for rate in read_back]
    assert [trial.name for trial in trials] == [f"tune-blocks1-rate{rate!r}-seed8" for rate in read_back]


def test_a_trial_knows_the_sizes_that_its_model_has(digits):
    networks = {model: NetworkConfig(model=model, width=4, hidden=8) for model in ("convnet", "mlp", "lenet5")}
    own = Study("e", "model", networks, CONFIG, digits)
    sizes = {model: own.trial("compare", model, 1e-3, 0).sizes for model in networks}
    assert sizes == {
        "convnet": {"width": 4, "hidden": 8},
        "mlp": {"width": None, "hidden": 8},
        "lenet5": {"width": None, "hidden": None},
    }


def test_the_default_folder_does_not_depend_on_what_may_grow(digits):
    own = default_workdir(study(digits))
    grown = dataclasses.replace(CONFIG, blocks=(0, 1, 2), seeds=9, learning_rates=(1e-3,))
    assert own.parts[:2] == ("runs", "sweep_blocks") and own.name.startswith("digits-")
    assert default_workdir(study(digits, grown)) == own
    assert default_workdir(study(digits, dataclasses.replace(CONFIG, margin=0.1))) != own


@pytest.mark.parametrize(
    "change, message",
    [
        ({"training": TrainingConfig(epochs=1, batch_size=5000)}, "batch_size=5000"),
        ({"blocks": (0, 9)}, "blocks=9"),
        ({"network": NetworkConfig(pooling="median")}, "pooling='median'"),
    ],
)
def test_what_does_not_suit_the_data_is_refused(digits, change, message):
    with pytest.raises(RequestError, match=message):
        plan_study(study(digits, dataclasses.replace(CONFIG, **change)))


def test_a_plan_knows_each_variants_cost_and_what_would_fit(digits):
    plan = plan_study(study(digits))
    assert plan.prepared[0].cost.parameters < plan.prepared[1].cost.parameters
    assert plan.fits(NetworkConfig(blocks=3)) and not plan.fits(NetworkConfig(blocks=4))  # 8 -> 4 -> 2 -> 1
