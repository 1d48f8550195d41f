"""The defaults, and that every figure that is told elsewhere is the recorded one."""

import dataclasses
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from cnn import recipes
from cnn.config import NetworkConfig, SceneConfig, StudyConfig, SweepConfig, TrainingConfig, TrialConfig
from cnn.errors import RequestError
from cnn.network import models
from experiments import train
from experiments.command import flags

ROOT = Path(__file__).parents[1]
KINDS = (NetworkConfig, TrainingConfig, SceneConfig, StudyConfig, TrialConfig)
SETTINGS = {field.name for kind in KINDS for field in dataclasses.fields(kind)}
NUMBER = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.])")
PERCENTAGE = re.compile(rf"{NUMBER.pattern}(?= ?%)")
# Percentages, points, seconds, ratios, and both ends of intervals.
FIGURE = re.compile(
    rf"{NUMBER.pattern}(?= ?%| points| s\b| times| and [\d.]+ times| \(-?\d| to -?\d)"
    rf"|(?<=to )-?{NUMBER.pattern}|(?<=\()-?{NUMBER.pattern}"
)
SOURCES = [*sorted((ROOT / "cnn").rglob("*.py")), *sorted((ROOT / "experiments").rglob("*.py"))]


@pytest.mark.parametrize("experiment", ["", *recipes.EXPERIMENTS])
@pytest.mark.parametrize("dataset", ["", *recipes.DATASETS])
def test_defaults_are_settings(experiment, dataset):
    assert recipes.defaults(experiment, dataset).keys() <= SETTINGS


NAMED = [(*place, name) for place, named in recipes.RECIPES.items() for name in named]


@pytest.mark.parametrize("place", NAMED, ids=" ".join)
def test_a_recipe_is_for_the_model_it_was_searched_for(place):
    *owner, name = place
    recipe = recipes.RECIPES[tuple(owner)][name]
    unused = {field.name for field in dataclasses.fields(NetworkConfig)} - {*models.known(recipe.model).settings}
    assert recipe.settings.keys() <= SETTINGS - unused
    assert recipe.settings.items() <= recipes.defaults(*owner, recipe.model, name).items()
    for model in models.MODELS:
        if model != recipe.model:
            assert recipes.defaults(*owner, model) == recipes.defaults(*owner)
            with pytest.raises(RequestError, match=f"^recipe='{name}': must be given with model={recipe.model}"):
                recipes.defaults(*owner, model, name)


@pytest.mark.parametrize("place", recipes.RECIPES, ids=" on ".join)
def test_the_first_recipe_is_the_default(place):
    first, *_ = recipes.RECIPES[place]
    model = recipes.RECIPES[place][first].model
    assert recipes.defaults(*place, model) == recipes.defaults(*place, model, first)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(RequestError, match=r"^recipe='quik': must be one of .*quick"):
        recipes.defaults("train", "mnist", "convnet", "quik")
    with pytest.raises(RequestError, match=r"^recipe='quick': must be left out: train has no recipe for digits"):
        recipes.defaults("train", "digits", "convnet", "quick")


@pytest.mark.parametrize("model", models.MODELS)
def test_train_takes_its_recipe_for_its_own_model_alone(model):
    values = flags.define(train.COMMAND)
    flags.parse(values, ["train", "--dataset=mnist", f"--model={model}"])
    config = flags.configure(values, train.COMMAND)
    expected = (20, 128, 0.008, 16) if model == "convnet" else (5, 64, 0.001, 16)
    training = config.training
    assert (training.epochs, training.batch_size, config.learning_rate, config.network.width) == expected


def test_help_says_for_which_recipe_a_default_is():
    said = " ".join(flags.help_text(flags.define(train.COMMAND), train.COMMAND, full=False).split())
    assert "default: 0.001; mnist reference: 0.008; mnist quick: 0.03; cifar10 reference: 0.008;" in said
    assert "mnist: 5; cifar10: 20; mnist reference: 20; mnist quick: 2" in said


def test_the_special_comes_before_the_general():
    assert recipes.defaults("train", "mnist", "convnet")["epochs"] == 20
    assert recipes.defaults("train", "mnist", "mlp")["epochs"] == recipes.defaults("other", "mnist")["epochs"] == 5
    assert recipes.defaults("lenet5", "mnist")["shift"] == 0 and recipes.defaults("sweep_blocks", "mnist")["shift"] == 1
    assert recipes.defaults("one_by_one", "images") == {"blocks": 3}


def planned():
    """The command lines of the plan: the name of an experiment, and its flags."""
    text = (ROOT / "benchmarks" / "README.md").read_text()
    section = text.split("## The plan, and what has run\n")[1].split("\n## ")[0]
    return re.findall(r"python -m experiments\.(\w+) ([^`\n]+)", section)


def test_what_is_planned_can_be_run_on_the_default_grid():
    """Of MNIST and CIFAR-10, and of every comparison; no command fixes rates, tuning seeds or the margin."""
    commands = planned()
    for name, arguments in commands:
        experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
        values = flags.define(experiment)
        flags.parse(values, [name, *arguments.split()])
        config = flags.configure(values, experiment)
        assert config.learning_rates == () and config.tuning_seeds == 2 and config.seeds in (5, 10)
        assert name != "sweep_blocks" or config.margin == SweepConfig().margin
    swept = Counter(arguments.split()[0] for name, arguments in commands if name == "sweep_blocks")
    assert swept == {"--dataset=mnist": 9, "--dataset=cifar10": 4}
    comparisons = {path.stem for path in (ROOT / "experiments").glob("*.py") if "StudyConfig" in path.read_text()}
    assert {name for name, _ in commands} >= comparisons


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "experiments").glob("*.py"))], ids=lambda path: path.name
)
def test_no_command_that_is_advised_switches_the_default_grid_off(path):
    commands = re.findall(r"^ *python -m experiments.*(?:\n +--.*)*", path.read_text(), re.MULTILINE)
    assert not [command for command in commands if "learning_rates" in command]


def figures(pattern, text):
    """The figures in a text, without a sign; a line may break inside what makes a number a figure."""
    return {figure.removeprefix("-") for figure in pattern.findall(" ".join(text.split()))}


@pytest.fixture(scope="module")
def record():
    """Every number with a decimal that the record holds, or the page of a recorded study."""
    pages = [ROOT / "benchmarks" / "README.md", *(ROOT / "docs" / "results").glob("*/README.md")]
    return set().union(*(figures(NUMBER, page.read_text()) for page in pages))


@pytest.mark.parametrize(
    "text, told",
    [
        ("97.8 % and 0.95% of 3 %", {"97.8", "0.95"}),
        ("in 17.4 s, 1.34 and 1.72\ntimes as long", {"17.4", "1.34", "1.72"}),
        ("2.79 points (2.62 to 2.97) and 0.00 (-0.18 to 0.17)", {"2.79", "2.62", "2.97", "0.00", "0.18", "0.17"}),
        ("version 0.1.0 with --margin=0.05 at rate 0.003, Python 3.11 or newer", set()),
    ],
)
def test_figures_are_found_in_a_text(text, told):
    assert figures(FIGURE, text) == told


def test_every_recorded_figure_stands_in_the_record(record):
    told = set().union(*(figures(FIGURE, each.found) for own in recipes.RECORDS.values() for each in own))
    assert len(told) > 40 and told - record == set()


def test_every_figure_of_the_readme_is_recorded(record):
    told = figures(FIGURE, (ROOT / "README.md").read_text())
    assert len(told) > 40 and told - record == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_percentage_of_a_source_file_is_recorded(path, record):
    text = re.sub(r">>>.*?\"\"\"", "", path.read_text(), flags=re.DOTALL)  # examples compute theirs
    assert figures(PERCENTAGE, text) - record == set()
