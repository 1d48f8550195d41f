"""A finished sweep read from its folder: what is read, and what is refused in one line."""

import dataclasses
import json

import pytest

from cnn import files
from cnn.errors import RequestError
from cnn.study.swept import kept_answer, swept_in
from experiments.sweep_blocks import EXPERIMENT
from tests.study.small import CONFIG

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def sweep(digits, tmp_path_factory):
    """A small sweep that really ran."""
    return EXPERIMENT.run(CONFIG, digits, tmp_path_factory.mktemp("sweep"))


@pytest.fixture
def folder(sweep, tmp_path):
    """A copy of what it left, without its trials."""
    for name in ("config.json", "answer.json"):
        (tmp_path / name).write_bytes((sweep.results.workdir / name).read_bytes())
    return tmp_path


def change(path, *, seal=False, **values):
    old = json.loads(path.read_text())
    new = {**old, **values}
    path.write_text(json.dumps(files.seal(files.unseal({**old}) | values) if seal else new))


def test_settings_and_answer(sweep, folder, digits):
    read = swept_in(folder)
    assert read.answer == sweep.report.answer and read.fingerprint == digits.fingerprint
    assert read.folder == folder
    ours = dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, blocks=read.config.network.blocks))
    assert read.config == ours


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda folder: (folder / "config.json").unlink(), "must be a finished folder of sweep_blocks"),
        (lambda folder: change(folder / "config.json", experiment="localize"), "of sweep_blocks, not of localize"),
        (lambda folder: change(folder / "config.json", format=3), "was made by another version: choose another folder"),
        (lambda folder: change(folder / "config.json", margin=7), "is damaged; must hold the settings of a sweep"),
        (lambda folder: change(folder / "config.json", network=3), "is damaged; must hold the settings of a sweep"),
        (lambda folder: change(folder / "config.json", more=3), "is damaged; must hold the settings of a sweep"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "answer.json").unlink(), "has not finished; the same sweep continues there"),
        (lambda folder: (folder / "answer.json").write_text("[]"), "is not JSON"),
        (lambda folder: change(folder / "answer.json", recommended_blocks=1), "was edited, or is damaged"),
        (lambda folder: change(folder / "answer.json", seal=True, depths=3), "has not finished"),
        (lambda folder: change(folder / "answer.json", seal=True, depths=[3]), "has not finished"),
        (lambda folder: change(folder / "answer.json", seal=True, recommended_blocks=9), "has not finished"),
        (lambda folder: change(folder / "answer.json", seal=True, match="macs"), "is the answer of another sweep"),
        (lambda folder: change(folder / "config.json", seeds=3), "has not finished"),
        (lambda folder: change(folder / "config.json", blocks=[0, 1, 2]), "has not finished"),
        (lambda folder: change(folder / "config.json", learning_rates=[1e-3, 3e-3, 1e-2]), "has not finished"),
        (lambda folder: change(folder / "config.json", learning_rates=[1e-3]), "has not finished"),
    ],
)
def test_what_is_no_finished_sweep_is_refused(folder, damage, said):
    damage(folder)
    with pytest.raises(RequestError) as raised:
        swept_in(folder)
    assert said in str(raised.value) and "\n" not in str(raised.value) and str(folder) in str(raised.value)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot be read"):
        swept_in(tmp_path / "file")


def test_the_answer_of_another_experiment_is_none_of_a_sweep(folder):
    files.write_json(folder / "answer.json", files.seal({"experiment": "localize", "dataset": "digits"}))
    assert kept_answer(folder) is None
