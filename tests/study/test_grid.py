import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import pandas as pd
import pytest

from cnn.config import (
    BlockConfig,
    ConvNetConfig,
    ExperimentConfig,
    NetworkConfig,
    RequestError,
    SweepConfig,
    TrainingConfig,
)
from cnn.data import datasets
from cnn.progress import Progress
from cnn.study import analysis, comparison, comparison_figures, figures, grid
from cnn.training import trial
from cnn.training.lock import writer
from cnn.training.provenance import machine
from experiments import one_by_one, sweep_blocks

CONFIG = SweepConfig(
    "digits",
    blocks=(0, 1),
    learning_rates=(1e-3, 3e-3),
    seeds=2,
    tuning_seeds=1,
    network=BlockConfig(width=4, hidden=8),
    training=TrainingConfig(epochs=1, batch_size=256),
)
ONE_RATE = ExperimentConfig(
    "digits",
    learning_rates=(1e-3,),
    seeds=2,
    network=ConvNetConfig(blocks=2, width=8, hidden=8),
    training=CONFIG.training,
)


class Said(Progress):
    """Keeps the sentences."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


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


def test_what_a_kill_left_in_a_finished_trial_goes_with_the_next_run(digits, tmp_path, counted):
    grid.run(study(), digits, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for path in (tmp_path / "trials").iterdir():
        (path / f".result.json.{0:032x}").write_text("{")
        (path / "failure.txt").write_text("Trace")
        (path / "checkpoints" / "5" / "state").mkdir(parents=True)
    counted.clear()
    grid.run(study(), digits, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before and counted == []


def test_a_row_has_the_sizes_that_its_model_knows():
    networks = {model: NetworkConfig(model=model, width=4, hidden=8) for model in ("convnet", "mlp", "lenet5")}
    cells = grid.Study("e", "model", networks, CONFIG).cells("compare", {name: (1e-3,) for name in networks}, range(1))
    rows = {cell.value: cell.row({}) for cell in cells}
    sizes = {model: (row["width"], row["hidden"]) for model, row in rows.items()}
    assert sizes == {"convnet": (4, 8), "mlp": ("", 8), "lenet5": ("", "")}


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


def exhausts_memory(fit, answers, progress):
    """A measurement that fits some networks and not others."""
    if fit.config.network.blocks == 1:
        jnp.zeros((1 << 45,)).block_until_ready()
    return [None] * len(answers)


def refuses_a_seed(fit, answers, progress):
    """A measurement that fails for one of the trials that run together."""
    if any(config.seed == 1 and config.network.blocks == 0 for config in fit.configs):
        raise ZeroDivisionError("no two\nclasses")
    return [None] * len(answers)


@pytest.mark.parametrize(
    "measure, lost, reason",
    [
        (exhausts_memory, [(1, 0), (1, 1)], "RESOURCE_EXHAUSTED"),
        (refuses_a_seed, [(0, 1)], "ZeroDivisionError: no two"),
    ],
)
def test_a_trial_that_really_fails_is_alone_in_it(digits, tmp_path, measure, lost, reason):
    said = Said()
    results = grid.run(dataclasses.replace(study(), measure=measure), digits, tmp_path, said)
    failed = results[results["status"] == "failed"]
    assert list(zip(failed["blocks"], failed["seed"])) == lost and failed["reason"].str.contains(reason).all()
    assert failed["test_accuracy"].isna().all() and (results["status"] == "done").sum() == len(results) - len(lost)
    *each, last = said.lines
    assert len(each) == len(lost) and all(reason in line for line in each)
    assert last.startswith("failed: compare-blocks") and last.count("compare-blocks") == len(lost)
    traces = list(tmp_path.glob("trials/*/failure.txt"))
    assert len(traces) == len(lost) and all("Traceback" in path.read_text() for path in traces)
    mended = grid.run(study(), digits, tmp_path)
    whole = grid.run(study(), digits, tmp_path / "whole")
    columns = [name for name in whole.columns if name != "train_seconds"]
    pd.testing.assert_frame_equal(mended[columns], whole[columns])
    assert not list(tmp_path.glob("trials/*/failure.txt"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RequestError("no")])
def test_what_no_trial_can_mend_ends_the_study(digits, tmp_path, monkeypatch, error):
    monkeypatch.setattr(trial, "run_together", lambda *arguments, **options: (_ for _ in ()).throw(error))
    with pytest.raises(type(error), match=str(error.args[-1])):
        grid.run(study(), digits, tmp_path)
    assert not list(tmp_path.glob("trials/*/result.json"))


def test_a_diverged_trial_is_counted_and_never_averaged_in(digits, tmp_path):
    config = dataclasses.replace(CONFIG, learning_rates=(1e20,))
    results = grid.run(study(config), digits, tmp_path)
    assert set(results["status"]) == {"diverged"} and results["bad_step"].notna().all()
    assert results[["val_accuracy", "test_accuracy"]].isna().all(axis=None)
    found = analysis.answer(results, dataset="digits", match="width", margin=0.002, correct={})
    assert found["recommended_blocks"] is None
    assert [(row["n"], row["diverged"], row["test_mean"]) for row in found["depths"]] == [(0, 2, None)] * 2
    assert "diverged" in analysis.table(found) and "diverged" in analysis.sentence(found)
    figures.accuracy_vs_blocks(found, results, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"


def test_finished_rows_stay_while_a_grown_grid_tunes_again(digits, tmp_path, monkeypatch):
    before = grid.run(study(), digits, tmp_path)
    compared = before[before["phase"] == "compare"].reset_index(drop=True)
    seen, real = [], grid._write_results

    def write_results(workdir, rows):
        real(workdir, rows)
        seen.append(grid.read_results(workdir))

    monkeypatch.setattr(grid, "_write_results", write_results)
    grown = dataclasses.replace(CONFIG, learning_rates=(1e-3, 3e-3, 1e-2))
    after = grid.run(study(grown), digits, tmp_path)
    for results in seen[:3]:  # a new rate for each of two depths, and the end of the phase
        rows = results[results["phase"] == "compare"].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, compared, check_dtype=False)
    assert len(after) == 6 + 4


@pytest.mark.parametrize(
    "experiment, writes",
    [
        (
            lambda *where: sweep_blocks.sweep(CONFIG, *where),
            [(grid, "read_results"), (sweep_blocks, "write_json"), (figures, "accuracy_vs_blocks")],
        ),
        (
            lambda *where: one_by_one.experiment(ONE_RATE, *where),
            [(grid, "read_results"), (comparison, "write_json"), (comparison_figures, "variants")],
        ),
    ],
    ids=["sweep_blocks", "one_by_one"],
)
def test_nobody_else_writes_until_the_answer_is_made(digits, tmp_path, monkeypatch, experiment, writes):
    refused = []

    def spy(module, name):
        real = getattr(module, name)

        def call(*arguments, **options):
            with pytest.raises(RequestError, match="in use by process"), writer(tmp_path):
                pass
            refused.append((module, name))
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    for module, name in writes:
        spy(module, name)
    experiment(digits, tmp_path)
    assert set(refused) == set(writes)
    with writer(tmp_path):
        assert (tmp_path / "answer.json").exists()


def test_trials_that_stopped_at_different_steps_are_not_run_together(digits, tmp_path):
    config = dataclasses.replace(CONFIG, blocks=(1,), learning_rates=(1e-3,), seeds=3)
    cells = study(config).cells("compare", {1: (1e-3,)}, range(3))
    for cell in cells[1:2]:
        (tmp_path / "trials" / cell.name / "checkpoints" / "7").mkdir(parents=True)
    running = grid._Running(study(config), digits, tmp_path, machine(), Progress())
    groups = [[cell.config.seed for cell in group] for group in running._groups(cells)]
    assert groups[0] == [1] and sorted(itertools.chain(*groups)) == [0, 1, 2]


def test_another_machine_is_said_once_and_marks_its_rows(digits, tmp_path):
    small = dataclasses.replace(CONFIG, learning_rates=(1e-3,), seeds=1)
    grid.run(study(small), digits, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["provenance"]["machine"]["cpu"] = "Z80"
    (tmp_path / "config.json").write_text(json.dumps(config))
    said = Said()
    results = grid.run(study(dataclasses.replace(small, seeds=2)), digits, tmp_path, said)
    assert [line for line in said.lines if "another machine" in line and "cpu: 'Z80'" in line] == said.lines[:1]
    assert not results["same_machine"].any()
    said.lines.clear()
    grid.run(study(dataclasses.replace(small, seeds=2)), digits, tmp_path, said)
    assert said.lines == []  # all is done


def test_the_same_study_gives_the_same_numbers_twice(digits, tmp_path):
    first, second = (grid.run(study(), digits, tmp_path / name) for name in ("a", "b"))
    columns = [name for name in first.columns if name != "train_seconds"]
    pd.testing.assert_frame_equal(first[columns], second[columns])
    assert first["same_machine"].all()
