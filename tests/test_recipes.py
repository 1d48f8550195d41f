"""The defaults, and that every figure that is told elsewhere is the recorded one."""

import dataclasses
import re
from pathlib import Path

import pytest

from cnn import recipes
from cnn.config import NetworkConfig, SceneConfig, StudyConfig, TrainingConfig, TrialConfig

ROOT = Path(__file__).parents[1]
KINDS = (NetworkConfig, TrainingConfig, SceneConfig, StudyConfig, TrialConfig)
SETTINGS = {field.name for kind in KINDS for field in dataclasses.fields(kind)}
FIGURE = re.compile(r"\d+\.\d\d(?= ?%| to \d| \()|(?<=to )\d+\.\d\d|(?<=\()\d+\.\d\d")
TOLD = [ROOT / "README.md", *sorted((ROOT / "cnn").rglob("*.py")), *sorted((ROOT / "experiments").rglob("*.py"))]


@pytest.mark.parametrize("experiment", ["", *recipes.EXPERIMENTS])
@pytest.mark.parametrize("dataset", ["", *recipes.DATASETS])
def test_defaults_are_settings(experiment, dataset):
    assert recipes.defaults(experiment, dataset).keys() <= SETTINGS


def test_the_special_comes_before_the_general():
    assert recipes.defaults("train", "mnist")["epochs"] == 2 and recipes.defaults("other", "mnist")["epochs"] == 5
    assert recipes.defaults("lenet5", "mnist")["shift"] == 0 and recipes.defaults("sweep_blocks", "mnist")["shift"] == 1
    assert recipes.defaults("one_by_one", "images") == {"blocks": 3}


def test_every_recorded_figure_stands_in_the_record():
    record = (ROOT / "benchmarks" / "README.md").read_text()
    told = [figure for own in recipes.RECORDS.values() for record_ in own for figure in FIGURE.findall(record_.found)]
    assert len(told) > 40 and [figure for figure in told if figure not in record] == []


@pytest.mark.parametrize("path", TOLD, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_figure_that_is_told_is_recorded(path):
    """A percentage with two decimals is a measurement."""
    record = (ROOT / "benchmarks" / "README.md").read_text()
    text = re.sub(r">>>.*?\"\"\"", "", path.read_text(), flags=re.DOTALL)  # examples compute theirs
    told = set(re.findall(r"\b\d+\.\d\d(?= %)", text))
    assert {figure for figure in told if figure not in record} == set()
