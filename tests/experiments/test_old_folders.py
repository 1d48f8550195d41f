"""A work folder that holds another run, or damaged files: one line that names what differs, and nothing is changed."""

import json
import shutil

import pytest

from cnn.training.folder import FORMAT

pytestmark = pytest.mark.thorough

SMALL = ("--epochs=1", "--width=12", "--batch_size=32", "--workdir=w")
STUDY = (*SMALL, "--seeds=2", "--tuning_seeds=1", "--learning_rates=1e-2")
RUNS = {
    "train": (*SMALL, "--blocks=1"),
    "sweep_blocks": (*STUDY, "--blocks=1"),
    "one_by_one": (*STUDY, "--blocks=2"),
}
SHARED = {  # another value of each setting, and what the line says of it
    "batch_size": ("256", "training.batch_size: 32, now 256"),
    "convolutions": ("2", "network.convolutions: 1, now 2"),
    "dropout": ("0.1", "network.dropout: 0, now 0.1"),
    "epochs": ("2", "training.epochs: 1, now 2"),
    "filter_size": ("5", "network.filter_size: 3, now 5"),
    "flip": ("true", "training.flip: False, now True"),
    "head": ("average", "network.head: 'dense', now 'average'"),
    "growth": ("1.5", "network.growth: 2, now 1.5"),
    "hidden": ("9", "network.hidden: 128, now 9"),
    "label_smoothing": ("0.1", "training.label_smoothing: 0, now 0.1"),
    "normalization": ("layer", "network.normalization: 'none', now 'layer'"),
    "permute": ("true", "network.permute: False, now True"),
    "pooling": ("average", "network.pooling: 'max', now 'average'"),
    "precision": ("bfloat16", "training.precision: 'float32', now 'bfloat16'"),
    "shift": ("1", "training.shift: 0, now 1"),
    "cutout": ("2", "training.cutout: 0, now 2"),
    "mirror": ("true", "training.mirror: False, now True"),
    "turn": ("5", "training.turn: 0, now 5"),
    "zoom": ("0.1", "training.zoom: 0, now 0.1"),
    "weight_decay": ("0.1", "training.weight_decay: 0.0001, now 0.1"),
    "width": ("13", "network.width: 12, now 13"),
}
STUDIES = {
    **SHARED,
    "learning_rates": ("2e-3", "learning_rates: [0.01], now [0.002]"),
    "tuning_seeds": ("2", "tuning_seeds: 1, now 2"),
    "validation_fraction": ("0.2", "validation_fraction: 0.1, now 0.2"),
}
OTHER = {
    "train": {
        **SHARED,
        "blocks": ("2", "network.blocks: 1, now 2"),
        "bottleneck": ("0.5", "network.bottleneck: 0, now 0.5"),
        "learning_rate": ("2e-3", "learning_rate: 0.001, now 0.002"),
        "seed": ("1", "seed: 0, now 1"),
        "validation_fraction": ("0.2", "validation_fraction: 0, now 0.2"),
    },
    "sweep_blocks": {
        **STUDIES,
        "blocks": ("0", "blocks: [1], now [0]"),
        "bottleneck": ("0.5", "network.bottleneck: 0, now 0.5"),
        "margin": ("0.1", "margin: 0.05, now 0.1"),
        "match": ("parameters", "match: 'width', now 'parameters'"),
    },
    "one_by_one": {**STUDIES, "blocks": ("3", "network.blocks: 2, now 3")},
}


@pytest.fixture(scope="module")
def finished(answering, tmp_path_factory):
    """A finished run of each experiment; the folder above its work folder."""
    folders = {name: tmp_path_factory.mktemp(name) for name in RUNS}
    for name, flags in RUNS.items():
        done = answering.ask(folders[name], name, *flags)
        assert done.returncode == 0, done.stderr
    return folders


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(done, *parts):
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and all(part in done.stderr for part in parts), done.stderr


@pytest.mark.parametrize("name", RUNS)
def test_another_configuration_is_named(answering, finished, name):
    before = content(finished[name])
    for flag, (value, said) in OTHER[name].items():
        refused(answering.ask(finished[name], name, *RUNS[name], f"--{flag}={value}"), said, "choose another")
    several = answering.ask(finished[name], name, *RUNS[name], "--width=13", "--epochs=2")
    refused(several, OTHER[name]["width"][1], OTHER[name]["epochs"][1])
    assert content(finished[name]) == before


@pytest.mark.parametrize("name", RUNS)
def test_another_experiment_is_named(answering, finished, name):
    """The folder of each experiment is refused by the two others."""
    before = content(finished[name])
    for other in RUNS.keys() - {name}:
        done = answering.ask(finished[name], other, *RUNS[other])
        held = f"holds a run of {name}" if other == "train" else "experiment"
        refused(done, "network.blocks" if name == "train" else held)
    assert content(finished[name]) == before


def changed(**changes):
    return lambda whole: json.dumps({**json.loads(whole), **changes}).encode()


@pytest.mark.parametrize("kept_by", [None, FORMAT - 1, FORMAT + 1], ids=["no number", "an older one", "a later one"])
@pytest.mark.parametrize("name", RUNS)
def test_a_folder_of_another_version(ask, finished, tmp_path, name, kept_by):
    shutil.copytree(finished[name] / "w", tmp_path / "w")
    config = tmp_path / "w" / "config.json"
    values = json.loads(config.read_text())
    assert values.pop("format") == FORMAT
    config.write_text(json.dumps(values if kept_by is None else {**values, "format": kept_by}))
    before = content(tmp_path)
    refused(ask(name, *RUNS[name]), "version", "choose another")
    assert content(tmp_path) == before


DAMAGE = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "no object": lambda whole: b"[]",
    "no settings": lambda whole: b"{}",
    "no text": lambda whole: whole.decode().encode("utf-16"),
    "too deep": lambda whole: b"[" * 100_000,
    "settings of other types": changed(training=None, learning_rates=3, seeds="x", variants=[1], blocks=None),
    "variants of other types": changed(variants={"0": "x"}, learning_rates=[[1]]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", RUNS)
def test_a_damaged_configuration(ask, finished, tmp_path, name, damage):
    shutil.copytree(finished[name] / "w", tmp_path / "w")
    config = tmp_path / "w" / "config.json"
    config.write_bytes(damage(config.read_bytes()))
    before = content(tmp_path)
    refused(ask(name, *RUNS[name]), "choose another")
    assert content(tmp_path) == before


def test_settings_of_the_wrong_type(ask, finished, tmp_path):
    """One at a time, so that none hides behind another."""
    shutil.copytree(finished["sweep_blocks"] / "w", tmp_path / "w")
    config = tmp_path / "w" / "config.json"
    whole = config.read_bytes()
    for changes in ({"learning_rates": 3}, {"seeds": "x"}, {"variants": [1]}, {"blocks": None}, {"blocks": [[0]]}):
        config.write_bytes(changed(**changes)(whole))
        refused(ask("sweep_blocks", *RUNS["sweep_blocks"]), "config.json: is damaged")


@pytest.mark.parametrize("provenance", [None, {}, "x", {"machine": "x"}])
def test_a_damaged_provenance_is_written_anew(ask, finished, tmp_path, provenance):
    shutil.copytree(finished["sweep_blocks"] / "w", tmp_path / "w")
    config = tmp_path / "w" / "config.json"
    config.write_bytes(changed(provenance=provenance)(config.read_bytes()))
    assert ask("sweep_blocks", *RUNS["sweep_blocks"]).returncode == 0
    assert json.loads(config.read_text())["provenance"]["machine"]["packages"]


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the work folder of a finished run; `ask` works in the folder above it."""

    def copy(name):
        shutil.copytree(finished[name] / "w", tmp_path / "w")
        return tmp_path / "w"

    return copy


@pytest.mark.parametrize("flag", ["epochs", "width", "validation_fraction"])
@pytest.mark.parametrize("name", RUNS)
def test_without_its_configuration_a_folder_is_refused_all_the_same(ask, copied, name, flag):
    """What a trial keeps says what it was run for, so a removed `config.json` makes nothing pass for anything else."""
    folder = copied(name)
    (folder / "config.json").unlink()
    before = content(folder)
    value, said = OTHER[name][flag]
    expected = "is the result of another run" if name == "train" else said.removeprefix("network.")
    refused(ask(name, *RUNS[name], f"--{flag}={value}"), expected, "choose another")
    assert content(folder) == before


@pytest.mark.parametrize("name", RUNS)
def test_without_its_configuration_the_same_command_writes_it_anew(ask, copied, name):
    folder = copied(name)
    before = content(folder)
    for path in folder.rglob("config.json"):
        path.unlink()
    done = ask(name, *RUNS[name])
    assert done.returncode == 0, done.stderr
    after = content(folder)
    assert after.keys() == before.keys()
    assert all(after[path] == before[path] for path in before if path.name in ("result.json", "answer.json"))


def test_exchanged_trials_are_named(ask, copied):
    folder = copied("sweep_blocks")
    first, second = sorted((folder / "trials").iterdir())
    first.rename(folder / "third")
    second.rename(first)
    (folder / "third").rename(second)
    refused(ask("sweep_blocks", *RUNS["sweep_blocks"]), "seed: 1, now 0", first.name, "choose another")


def test_exchanged_results_are_named(ask, copied):
    folder = copied("sweep_blocks")
    first, second = sorted((folder / "trials").iterdir())
    shutil.copy(second / "result.json", first / "result.json")
    refused(ask("sweep_blocks", *RUNS["sweep_blocks"]), f"{first.name}/result.json is the result of another run")


def test_the_configuration_of_a_trial_counts(ask, copied):
    folder = copied("sweep_blocks")
    config = next((folder / "trials").iterdir()) / "config.json"
    config.write_bytes(changed(seed=7)(config.read_bytes()))
    refused(ask("sweep_blocks", *RUNS["sweep_blocks"]), "seed: 7, now ", config.parent.name, "choose another")


@pytest.mark.parametrize(
    "change",
    [
        *({"val_accuracy": value} for value in ("x", [1], 1e300, None, 0.5, True)),
        *({"status": value} for value in ("diverged", "failed", None, 3)),
        *({"test_examples": value} for value in (359, "x", None)),
        *({"phase": "tune"}, {"measured": 1}, {"seal": None}, {"files": {}}, {"settings_digest": "0"}),
    ],
    ids=str,
)
def test_a_result_that_was_altered_is_named(ask, copied, change):
    folder = copied("sweep_blocks")
    result = next((folder / "trials").iterdir()) / "result.json"
    result.write_bytes(changed(**change)(result.read_bytes()))
    before = content(folder)
    advice = f"remove w/trials/{result.parent.name}"
    refused(ask("sweep_blocks", *RUNS["sweep_blocks"]), "result.json: is damaged", advice)
    assert content(folder) == before


@pytest.mark.parametrize("link", ["trials", "one trial"])
def test_a_link_in_the_place_of_trials_is_refused(ask, copied, tmp_path, link):
    folder = copied("sweep_blocks")
    place = folder / "trials" if link == "trials" else next((folder / "trials").iterdir())
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    before = content(tmp_path)
    refused(ask("sweep_blocks", *RUNS["sweep_blocks"]), "must be a folder, not a link")
    assert content(tmp_path) == before


BYTES = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "pickled": lambda whole: b"cbuiltins\nexit\n(tR.",
    "one image more": lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
}


@pytest.mark.parametrize("damage", BYTES.values(), ids=BYTES)
def test_damaged_answers_of_a_finished_trial(ask, copied, damage):
    right = sorted(copied("sweep_blocks").rglob("test_answers.npy"))[0]
    whole = right.read_bytes()
    right.write_bytes(damage(whole))
    refused(ask("sweep_blocks", *RUNS["sweep_blocks"]), "test_answers.npy: is damaged", "remove")
    shutil.rmtree(right.parent)  # what the line says
    assert ask("sweep_blocks", *RUNS["sweep_blocks"]).returncode == 0 and right.read_bytes() == whole


def test_missing_answers_of_a_finished_trial(ask, copied):
    """Without them the bootstrap intervals of the answer would be others."""
    right = sorted(copied("sweep_blocks").rglob("test_answers.npy"))[0]
    right.unlink()
    refused(ask("sweep_blocks", *RUNS["sweep_blocks"]), "test_answers.npy: is missing", "remove")


@pytest.mark.parametrize("file", ["results.csv", "answer.json", "accuracy_vs_blocks.png", "report.html"])
def test_what_follows_from_the_trials_is_made_anew(ask, finished, tmp_path, file):
    shutil.copytree(finished["sweep_blocks"] / "w", tmp_path / "w")
    damaged = tmp_path / "w" / file
    whole = damaged.read_bytes()
    for data in (b"", whole[:30], bytes(range(256))):
        damaged.write_bytes(data)
        assert ask("sweep_blocks", *RUNS["sweep_blocks"]).returncode == 0 and damaged.read_bytes() == whole
