import dataclasses
import json

import jax
import pandas as pd
import pytest

from cnn.config import BlockConfig, NetworkConfig, RequestError, SweepConfig, TrainingConfig
from cnn.data import datasets
from cnn.study import grid
from cnn.training import trial

CONFIG = SweepConfig(
    "digits",
    blocks=(0, 1),
    learning_rates=(1e-3, 3e-3),
    seeds=2,
    tuning_seeds=1,
    network=BlockConfig(width=4, hidden=8),
    training=TrainingConfig(epochs=1, batch_size=256),
)


def study(config=CONFIG):
    shared = dataclasses.asdict(config.network)
    variants = {n: NetworkConfig(**shared, blocks=n) for n in config.blocks}
    return grid.Study("sweep_blocks", "blocks", variants, config, grows=("blocks",))


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture
def counted(monkeypatch):
    """The trials that really run, by phase, depth, rate and seed."""
    ran, real = [], trial.run_together

    def run_together(configs, dataset, folders, **options):
        ran.extend(folder.path.name for folder in folders)
        return real(configs, dataset, folders, **options)

    monkeypatch.setattr(trial, "run_together", run_together)
    return ran


def test_a_study_tunes_then_compares_and_does_nothing_twice(digits, tmp_path, counted):
    results = grid.run(study(), digits, tmp_path)
    assert len(counted) == len(set(counted)) == len(results) == 2 * 2 * 1 + 2 * 2
    tuned, compared = (results[results["phase"] == phase] for phase in ("tune", "compare"))
    assert tuned["test_accuracy"].isna().all() and compared["test_accuracy"].notna().all()
    assert set(tuned["seed"]).isdisjoint(compared["seed"])
    for blocks, trials in compared.groupby("blocks"):
        rates = tuned[tuned["blocks"] == blocks].set_index("learning_rate")["val_accuracy"]
        assert set(trials["learning_rate"]) == {rates.idxmax()}
    saved = pd.read_csv(tmp_path / "results.csv")
    pd.testing.assert_frame_equal(saved, results)
    assert list(saved.columns[:10]) == [
        "phase", "blocks", "learning_rate", "seed", "status", "parameters", "macs", "val_accuracy", "test_accuracy",
        "train_seconds",
    ]  # fmt: skip
    counted.clear()
    pd.testing.assert_frame_equal(grid.run(study(), digits, tmp_path), results)
    assert counted == []
    correct = grid.correct_images(study(), results, tmp_path)
    for blocks, trials in compared.groupby("blocks"):
        assert correct[blocks].mean(axis=1).tolist() == pytest.approx(trials["test_accuracy"].tolist())


def test_a_grid_may_grow(digits, tmp_path, counted):
    config = dataclasses.replace(CONFIG, blocks=(0,), learning_rates=(1e-3,), seeds=1)
    grid.run(study(config), digits, tmp_path)
    assert counted == ["compare-blocks0-rate0.001-seed0"]
    counted.clear()
    grid.run(study(dataclasses.replace(config, blocks=(0, 1), seeds=2)), digits, tmp_path)
    assert sorted(counted) == [
        f"compare-blocks{blocks}-rate0.001-seed{seed}" for blocks, seed in ((0, 1), (1, 0), (1, 1))
    ]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"margin": 0.01}, "margin: 0.002, now 0.01"),
        ({"network": BlockConfig(width=8, hidden=8)}, "network.width: 4, now 8"),
        ({"blocks": (1,)}, r"blocks: \[0, 1\], now \[1\]"),
        ({"seeds": 1}, "seeds: 2, now 1"),
        ({"learning_rates": (1e-3,)}, r"learning_rates: \[0.001, 0.003\], now \[0.001\]"),
    ],
)
def test_anything_else_that_differs_is_refused_with_both_values(digits, tmp_path, change, message):
    grid.open_folder(study(), digits, tmp_path)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(RequestError, match=message):
        grid.open_folder(study(dataclasses.replace(CONFIG, **change)), digits, tmp_path)
    assert (tmp_path / "config.json").read_text() == before


def test_a_deeper_reference_that_changes_matched_widths_is_refused(digits, tmp_path):
    grid.open_folder(study(), digits, tmp_path)
    wider = study()
    wider.variants[1] = dataclasses.replace(wider.variants[1], width=5.5)
    with pytest.raises(RequestError, match=r"variants\.1\.width: 4, now 5\.5"):
        grid.open_folder(wider, digits, tmp_path)


def test_the_default_folder_does_not_depend_on_what_may_grow():
    grown = dataclasses.replace(CONFIG, blocks=(0, 1, 2), seeds=9, learning_rates=(1e-3,))
    assert study(grown).default_workdir() == study().default_workdir()
    assert study(dataclasses.replace(CONFIG, margin=0.1)).default_workdir() != study().default_workdir()


def test_a_trial_that_fails_is_recorded_and_tried_again(digits, tmp_path, monkeypatch):
    real = trial.run_together

    def run_together(configs, dataset, folders, **options):
        if configs[0].network.blocks == 1 and options["test"]:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 5 bytes")
        return real(configs, dataset, folders, **options)

    monkeypatch.setattr(trial, "run_together", run_together)
    results = grid.run(study(), digits, tmp_path)
    failed = results[results["status"] == "failed"]
    assert len(failed) == 2 and set(failed["blocks"]) == {1}
    assert failed["reason"].str.contains("RESOURCE_EXHAUSTED: Out of memory allocating").all()
    monkeypatch.undo()
    assert set(grid.run(study(), digits, tmp_path)["status"]) == {"done"}


def test_a_request_that_cannot_be_met_writes_nothing(digits, tmp_path):
    config = dataclasses.replace(CONFIG, training=TrainingConfig(epochs=1, batch_size=5000))
    with pytest.raises(RequestError, match="batch_size=5000"):
        grid.run(study(config), digits, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_cells_name_their_folders_apart():
    names = [cell.name for cell in study().cells("tune", {0: (1e-3, 3e-3), 1: (1e-3,)}, range(3))]
    assert len(set(names)) == len(names) == 9


def test_config_json_is_what_was_asked_for(digits, tmp_path):
    grid.open_folder(study(), digits, tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["experiment"] == "sweep_blocks" and saved["blocks"] == [0, 1] and saved["variants"]["1"]["width"] == 4


def test_a_folder_of_other_data_is_refused(digits, tmp_path):
    grid.open_folder(study(), digits, tmp_path)
    other = dataclasses.replace(digits, fingerprint="0123456789ab")
    with pytest.raises(RequestError, match=f"dataset_fingerprint: '{digits.fingerprint}', now '0123456789ab'"):
        grid.open_folder(study(), other, tmp_path)


@pytest.mark.parametrize(
    "content, message", [("[]", "not an object"), ("{", "is not JSON"), ('{"seed": 0}', "holds other")]
)
def test_a_folder_of_something_else_is_refused(digits, tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RequestError, match=message):
        grid.open_folder(study(), digits, tmp_path)
    assert (tmp_path / "config.json").read_text() == content
