"""The work folder of a study: what may grow, what is refused, and the table of results."""

import csv
import dataclasses
import json

import pytest

from cnn import machine
from cnn.config import NetworkConfig
from cnn.errors import RequestError
from cnn.study.folder import StudyFolder
from cnn.study.plan import plan_study
from cnn.training.folder import FORMAT, Result
from tests.study.small import CONFIG, study

HERE = machine.here()


def opened(folder, study):
    StudyFolder(folder).open(plan_study(study), HERE)
    return folder / "config.json"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"margin": 0.01}, "margin: 0.05, now 0.01"),
        ({"network": NetworkConfig(width=8, hidden=8)}, "network.width: 4, now 8"),
        ({"blocks": (1,)}, r"blocks: \[0, 1\], now \[1\]"),
        ({"seeds": 1}, "seeds: 2, now 1"),
        ({"learning_rates": (1e-3,)}, r"learning_rates: \[0.001, 0.003\], now \[0.001\]"),
    ],
)
def test_anything_else_that_differs_is_refused_with_both_values(digits, tmp_path, change, message):
    config = opened(tmp_path, study(digits))
    before = config.read_text()
    with pytest.raises(RequestError, match=message):
        opened(tmp_path, study(digits, dataclasses.replace(CONFIG, **change)))
    assert config.read_text() == before


@pytest.mark.parametrize("change", [{"blocks": (0, 1, 2)}, {"seeds": 3}, {"learning_rates": (1e-3, 3e-3, 1e-2)}])
def test_a_grid_may_grow(digits, tmp_path, change):
    opened(tmp_path, study(digits))
    config = opened(tmp_path, study(digits, dataclasses.replace(CONFIG, **change)))
    (name, value) = next(iter(change.items()))
    assert json.loads(config.read_text())[name] == (list(value) if isinstance(value, tuple) else value)


def test_variants_that_no_setting_lists_may_not_be_lost(digits, tmp_path):
    both = dataclasses.replace(study(digits), grows=())
    opened(tmp_path, both)
    with pytest.raises(RequestError, match=r"variants: \['0', '1'\], now \['0'\]"):
        opened(tmp_path, dataclasses.replace(both, variants={0: both.variants[0]}))


def test_a_deeper_reference_that_changes_matched_widths_is_refused(digits, tmp_path):
    own = study(digits)
    opened(tmp_path, own)
    wider = {**own.variants, 1: dataclasses.replace(own.variants[1], width=5.5)}
    with pytest.raises(RequestError, match=r"variants\.1\.width: 4, now 5\.5"):
        opened(tmp_path, dataclasses.replace(own, variants=wider))


def test_config_json_is_what_was_asked_for(digits, tmp_path):
    saved = json.loads(opened(tmp_path, study(digits)).read_text())
    assert saved["experiment"] == "sweep_blocks" and saved["blocks"] == [0, 1] and saved["variants"]["1"]["width"] == 4
    assert (
        saved["format"] == FORMAT and "blocks" not in saved["network"] and saved["scene"] == {"objects": 0, "canvas": 2}
    )
    assert saved["provenance"]["machine"] == HERE.to_json()


def test_a_folder_of_other_data_is_refused(digits, tmp_path):
    opened(tmp_path, study(digits))
    other = dataclasses.replace(digits, fingerprint="0123456789ab")
    with pytest.raises(RequestError, match=f"dataset_fingerprint: '{digits.fingerprint}', now '0123456789ab'"):
        opened(tmp_path, study(other))


@pytest.mark.parametrize(
    "content, message",
    [
        ("[]", "not an object"),
        ("{", "is not JSON"),
        ('{"seed": 0}', "another version"),
        (json.dumps({"format": FORMAT, "seed": 0}), "holds other"),
    ],
)
def test_a_folder_of_something_else_is_refused(digits, tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RequestError, match=message):
        opened(tmp_path, study(digits))
    assert (tmp_path / "config.json").read_text() == content


@pytest.mark.parametrize("kept_by", [None, FORMAT - 1, str(FORMAT)])
def test_a_folder_of_an_older_version_is_refused_in_one_line(digits, tmp_path, kept_by):
    config = opened(tmp_path, study(digits))
    values = json.loads(config.read_text()) | {"format": kept_by}
    if kept_by is None:
        del values["format"]
    config.write_text(json.dumps(values))
    with pytest.raises(RequestError, match="was made by another version: choose another workdir") as refused:
        opened(tmp_path, study(digits))
    assert "\n" not in str(refused.value) and json.loads(config.read_text()) == values


@pytest.mark.parametrize("made_by", [None, {}, "x", {"machine": "x"}])
def test_a_damaged_provenance_is_written_anew(digits, tmp_path, made_by):
    config = opened(tmp_path, study(digits))
    config.write_text(json.dumps(json.loads(config.read_text()) | {"provenance": made_by}))
    opened(tmp_path, study(digits))
    assert json.loads(config.read_text())["provenance"]["machine"] == HERE.to_json()


@pytest.mark.parametrize("changes", [{"learning_rates": 3}, {"seeds": "x"}, {"variants": [1]}, {"blocks": [[0]]}])
def test_settings_of_other_types_are_damage(digits, tmp_path, changes):
    config = opened(tmp_path, study(digits))
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(RequestError, match="is damaged; remove it, or choose another workdir"):
        opened(tmp_path, study(digits))


def test_the_table_of_results(digits, tmp_path):
    own = study(digits)
    tuned, failed, compared = (
        own.trial(*which) for which in (("tune", 0, 1e-3, 9), ("tune", 1, 1e-3, 9), ("compare", 0, 1e-3, 0))
    )
    done = Result("done", val_accuracy=1 / 3, parameters=10, macs=100, train_seconds=1.5, epochs=1, same_machine=True)
    results = {
        tuned: done,
        failed: Result("failed", parameters=11, macs=110, reason="Error: no memory, none"),
        compared: dataclasses.replace(done, test_accuracy=0.5, test_examples=360, measured={"moved_1": 0.25}),
    }
    StudyFolder(tmp_path).write_results(results)
    with (tmp_path / "results.csv").open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert list(first)[:12] == [
        "phase", "blocks", "learning_rate", "seed", "status", "parameters", "macs", "val_accuracy", "test_accuracy",
        "train_seconds", "width", "hidden",
    ]  # fmt: skip
    assert list(first)[-2:] == ["reason", "moved_1"]
    assert list(first.values())[:12] == [
        "tune", "0", "0.001", "9", "done", "10", "100", "0.3333333333333333", "", "1.5", "4", "16",
    ]  # fmt: skip
    assert (first["test_examples"], first["same_machine"], first["moved_1"]) == ("", "True", "")
    assert (second["status"], second["reason"], second["val_accuracy"]) == ("failed", "Error: no memory, none", "")
    assert (third["test_accuracy"], third["test_examples"], third["moved_1"]) == ("0.5", "360", "0.25")
