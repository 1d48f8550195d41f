import dataclasses
import json
import math

import jaxtyping
import pytest

from cnn import config, recipes
from cnn.config import NetworkConfig, SceneConfig, StudyConfig, SweepConfig, TrainingConfig, TrialConfig
from cnn.errors import RequestError


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """What a caller sees who runs without the tests' type checks: the library's own messages."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


WRONG = [
    (NetworkConfig, "width", [0, 0.5, -1, math.nan, math.inf, "32", None, True]),
    (NetworkConfig, "growth", [0, -1.0, math.nan, math.inf, "2"]),
    (NetworkConfig, "filter_size", [256, 0, -3, 3.0, "3", True, None]),
    (NetworkConfig, "convolutions", [0, 1.5, 65]),
    (NetworkConfig, "hidden", [0, 64.0, 65537]),
    (NetworkConfig, "model", [None, 2]),
    (NetworkConfig, "pooling", [None, 2]),
    (NetworkConfig, "normalization", [None, False]),
    (NetworkConfig, "head", [None, 1]),
    (NetworkConfig, "permute", [0, "yes", None]),
    (NetworkConfig, "bottleneck", [-0.1, 1.1, math.nan, True]),
    (NetworkConfig, "dropout", [-0.1, 1.0, math.nan, "0.5", True]),
    (NetworkConfig, "blocks", [-1, 1.0, "2", True, None]),
    (TrainingConfig, "epochs", [0, -1, 2.5, 1_000_001]),
    (TrainingConfig, "batch_size", [0, 64.0]),
    (TrainingConfig, "shift", [-1, 0.5]),
    (TrainingConfig, "weight_decay", [1e300, -1e-4, math.inf, math.nan, "1e-4"]),
    (TrainingConfig, "flip", [1, "no", None]),
    (TrainingConfig, "mirror", [1, "no", None]),
    (SceneConfig, "objects", [-1, 3, 1.0, True]),
    (SceneConfig, "canvas", [0.5, 9, math.nan, "2"]),
    (TrialConfig, "dataset", [None, 3]),
    (TrialConfig, "image_size", [(28,), (28, 28, 3), (0, 28), (28, 65537), (28.0, 28), (True, 28), "28,28", 28, None]),
    (TrainingConfig, "precision", ["half", "float16", None]),
    (TrainingConfig, "label_smoothing", [-0.1, 1.0, math.nan]),
    (TrialConfig, "validation_fraction", [-0.1, 1.0, math.nan, "0.1"]),
    (TrialConfig, "learning_rate", [1e-300, 1e300, 0, -1e-3, math.nan, math.inf, "1e-3"]),
    (TrialConfig, "seed", [-1, 2**31, 0.0, True]),
    (SweepConfig, "validation_fraction", [0, 0.0, 1, math.nan, "0.1", True]),
    (SweepConfig, "blocks", [(), (1, 1), 3, None]),
    (SweepConfig, "learning_rates", [(1e-3, 1e-3), 1e-3]),
    (SweepConfig, "seeds", [0, 5.0, 1_000_001]),
    (SweepConfig, "tuning_seeds", [0, -1, 1_000_001]),
    (SweepConfig, "match", ["flops", "Width"]),
    (SweepConfig, "margin", [-0.001, 1.0, math.nan]),
]
WRONG_ONES = [(kind, name, value) for kind, name, values in WRONG for value in values]


@pytest.mark.parametrize(("kind", "name", "value"), WRONG_ONES, ids=[f"{k.__name__}-{n}={v}" for k, n, v in WRONG_ONES])
def test_a_wrong_value_is_refused_by_name(kind, name, value):
    with pytest.raises(RequestError) as caught:
        kind(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}={value!r}: must be ") and "\n" not in message


@pytest.mark.parametrize(
    ("kind", "name", "values", "named"),
    [
        pytest.param(SweepConfig, "blocks", (1, -1), -1, id="a-depth"),
        pytest.param(SweepConfig, "blocks", (1, 2.0), 2.0, id="a-fractional-depth"),
        pytest.param(SweepConfig, "learning_rates", (1e-3, 0.0), 0.0, id="a-rate"),
        pytest.param(SweepConfig, "learning_rates", (1e-3, math.nan), math.nan, id="a-rate-of-nan"),
    ],
)
def test_one_wrong_value_among_several_is_named(kind, name, values, named):
    with pytest.raises(RequestError, match=f"^{name}={named!r}: must be "):
        kind(**{name: values})


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (NetworkConfig, {"width": 1}),
        (NetworkConfig, {"width": 2.5, "growth": 0.5, "dropout": 0.0}),
        (NetworkConfig, {"filter_size": 2, "pooling": "stride", "dropout": 0.999}),
        (NetworkConfig, {"blocks": 0}),
        (TrainingConfig, {"weight_decay": 0, "label_smoothing": 0, "batch_size": 1, "epochs": 1}),
        (TrialConfig, {"seed": 2**31 - 1, "validation_fraction": 0}),
        (SweepConfig, {"blocks": (3,), "learning_rates": (1,), "seeds": 1, "tuning_seeds": 1, "margin": 0}),
    ],
    ids=str,
)
def test_the_smallest_and_largest_values_are_accepted(kind, values):
    settings = kind(**values)
    assert {name: getattr(settings, name) for name in values} == values


def test_a_request_error_is_a_value_error():
    assert issubclass(RequestError, ValueError)


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NetworkConfig().blocks = 3


@pytest.mark.parametrize(
    "settings",
    [
        NetworkConfig(),
        TrialConfig(seed=3, network=NetworkConfig(blocks=1, width=2.5), training=TrainingConfig(flip=True)),
        SweepConfig(
            blocks=(0, 2), image_size=(32, 28), learning_rates=(1e-3,), network=NetworkConfig(pooling="average")
        ),
    ],
    ids=lambda settings: type(settings).__name__,
)
def test_to_json_survives_json(settings):
    plain = config.to_json(settings)
    read = json.loads(json.dumps(plain, allow_nan=False))
    assert read == plain
    assert config.from_json(type(settings), read) == settings


@pytest.mark.parametrize(
    "values", [{}, {"objects": 1}, {"objects": 1, "canvas": 2, "seed": 0}, {"objects": -1, "canvas": 2}, [1, 2]]
)
def test_from_json_refuses_what_are_no_such_settings(values):
    with pytest.raises(RequestError, match="must be "):
        config.from_json(SceneConfig, values)


def test_every_setting_has_a_sentence_of_help():
    for kind in (NetworkConfig, TrainingConfig, SceneConfig, TrialConfig, StudyConfig, SweepConfig):
        for field in dataclasses.fields(kind):
            assert dataclasses.is_dataclass(field.default) or len(field.metadata["help"]) > 10, field.name


def test_defaults_of_the_main_job():
    sweep = SweepConfig()
    assert (sweep.blocks, sweep.seeds, sweep.tuning_seeds) == ((0, 1, 2, 3), 5, 2)
    assert (sweep.learning_rates, sweep.margin, sweep.match) == ((), 0.05, "width")
    assert sweep.grid == (1e-3, 3e-3, 1e-2, 3e-2)
    assert (sweep.validation_fraction, TrialConfig().validation_fraction) == (0.1, 0.0)
    digits = recipes.defaults("sweep_blocks", "digits")
    batch_size = TrainingConfig().batch_size
    flip = TrainingConfig().flip
    assert (digits["epochs"], digits.get("batch_size", batch_size), digits.get("flip", flip)) == (20, 64, False)
