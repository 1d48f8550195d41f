"""Every experiment, tiny: what it leaves, what it says, and that the same command again does nothing."""

import importlib
import json
import re

import pandas as pd
import pytest

from cnn import recipes
from cnn.config import NetworkConfig, SceneConfig, StudyConfig
from cnn.data import datasets
from cnn.study.plan import plan_study
from experiments import localize, one_by_one, why_convnets

pytestmark = pytest.mark.thorough

COMMON = ["--seeds=2", "--learning_rates=1e-2", "--epochs=1", "--batch_size=32", "--workdir=w"]
SMALL = [*COMMON, "--width=8", "--hidden=16"]
TINY = [*SMALL, "--blocks=1"]
BOTTLENECKS = ["to a half", "to a quarter"]
CLAIMS = {
    # flags, the column that is compared with its values, what else is measured, pictures
    "why_convnets": (
        TINY,
        ("network", ["convnet", "convnet, permuted", "mlp", "mlp, permuted"]),
        ["moved_0", "moved_1"],
        ["why_convnets.png"],
    ),
    "localize": (
        [*TINY, "--objects=2"],
        ("network", ["convnet", "mlp"]),
        ["mean_iou", "class_accuracy", "average_precision"],
        ["localize.png"],
    ),
    "features": (
        [*TINY, "--width=10"],  # an MLP of five classes can have as many parameters
        ("network", ["convnet", "mlp"]),
        ["learnt filters, 5", "hidden units of an MLP, 5", "random filters, 5", "principal components, 5", "pixels, 5"],
        ["features.png", "filters.png", "feature_maps.png", "patches.png"],
    ),
    "downsampling": (
        SMALL,
        ("downsampling", ["max", "average", "stride", "convolution", "narrower convolution"]),
        [],
        ["downsampling.png"],
    ),
    "convolutions": (
        [*TINY, "--match=macs"],
        ("convolutions", [1, 2, 3]),
        [],
        ["convolutions.png"],
    ),
    "one_by_one": (
        [*SMALL, "--blocks=2"],
        ("bottleneck", ["none", *BOTTLENECKS, *(f"narrower as {name}" for name in BOTTLENECKS)]),
        [],
        ["one_by_one.png"],
    ),
    "lenet5": ([*COMMON, "--epochs=4"], ("model", ["lenet5_1998", "lenet5"]), [], ["lenet5.png"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_an_experiment_leaves_its_files_and_continues(ask, tmp_path, name):
    arguments, (column, values), measured, pictures = CLAIMS[name]
    done = ask(name, *arguments)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "w"
    results = pd.read_csv(folder / "results.csv")
    assert list(dict.fromkeys(results[column])) == values
    assert len(results) == 2 * len(values) and set(results["status"]) == {"done"}
    assert results[["test_accuracy", "parameters", "macs"]].notna().all(axis=None)
    own = {"hidden units of an MLP, 5": ["mlp"]} if name == "features" else {}
    for number in measured:  # each kind of feature comes from one of the networks
        given = results[results[number].notna()][column]
        assert list(given.unique()) == own.get(number, values[:1] if name == "features" else values)
    for names, cost in ((("why_convnets", "localize"), "parameters"), (("convolutions",), "macs")):
        assert name not in names or results[cost].max() / results[cost].min() <= 1.04  # each within 2 % of one of them
    answer = json.loads((folder / "answer.json").read_text())
    assert "All variants learnt at rate 0.01, which was given" in answer["sentence"]
    assert answer["sentence"] in done.stdout and done.stdout.startswith("|")
    assert all(row["n"] == 2 for row in answer["variants"])
    assert all((folder / picture).read_bytes()[:4] == b"\x89PNG" for picture in pictures)
    listed = ", ".join(f"w/{picture}" for picture in pictures)
    said = f"Picture{'s' if len(pictures) > 1 else ''}: {listed}"
    assert done.stdout.splitlines()[-2:] == [said, "Page: w/report.html"]
    assert (folder / "report.html").read_text().endswith("</html>")
    finished = {path: path.stat().st_mtime_ns for path in (folder / "trials").rglob("*")}
    again = ask(name, *arguments)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert {path: path.stat().st_mtime_ns for path in (folder / "trials").rglob("*")} == finished


@pytest.mark.slow
@pytest.mark.parametrize("name", ["why_convnets", "localize", "features"])
def test_where_every_trial_diverged_the_sentence_says_so(ask, tmp_path, name):
    done = ask(name, *[flag for flag in CLAIMS[name][0] if "rates" not in flag], "--learning_rates=1e30")
    assert done.returncode == 0, done.stderr
    assert "no trial succeeded" in done.stdout and "Trials diverged: 2 of 2" in done.stdout
    assert (tmp_path / "w" / f"{name}.png").exists()


@pytest.mark.parametrize("experiment", [why_convnets, localize], ids=lambda module: module.EXPERIMENT.name)
@pytest.mark.parametrize("width, hidden", [(10, 32), (8, 16)])
def test_networks_have_equal_parameters(experiment, width, hidden):
    scene = SceneConfig(objects=1 if experiment is localize else 0)
    config = StudyConfig(network=NetworkConfig(width=width, hidden=hidden), scene=scene)
    plan = plan_study(experiment.study(config, datasets.load("digits")))
    parameters = [prepared.cost.parameters for prepared in plan.prepared.values()]
    assert len(parameters) >= 2 and max(parameters) / min(parameters) <= 1.02


@pytest.mark.parametrize("name", ["sweep_blocks", *CLAIMS])
def test_a_kept_setting_of_the_network_holds_for_every_variant(name):
    """Apart from the sizes, which are matched to a cost."""
    experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
    config = experiment.config(scene=SceneConfig(objects=1 if name == "localize" else 0))
    kept = experiment.study(config, datasets.load("digits")).settings()
    shared = {setting: value for setting, value in kept["network"].items() if setting not in ("width", "hidden")}
    assert shared and all(shared.items() <= network.items() for network in kept["variants"].values())


@pytest.mark.parametrize("dataset", recipes.DATASETS)
@pytest.mark.parametrize("name", ["sweep_blocks", *CLAIMS])
def test_by_default_every_variant_tries_several_learning_rates(name, dataset):
    """Each on the same rates and seeds, so that each can have its own."""
    experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
    own = recipes.defaults(name, dataset)
    rates = own.get("learning_rates", ())
    config = experiment.config(learning_rates=rates, scene=SceneConfig(objects=own.get("objects", 0)))
    plan = plan_study(experiment.study(config, datasets.load("digits")))
    tried = {variant: [] for variant in plan.study.variants}
    for trial in plan.tuning():
        tried[trial.variant].append((trial.config.learning_rate, trial.config.seed))
    assert all(len({rate for rate, _ in each}) > 1 for each in tried.values())
    assert len(tried) > 1 and len({tuple(each) for each in tried.values()}) == 1


def test_each_bottleneck_has_a_control_of_equal_multiply_accumulates():
    plan = plan_study(one_by_one.study(StudyConfig(network=NetworkConfig(blocks=3, width=16)), datasets.load("digits")))
    for name in BOTTLENECKS:
        control = plan.prepared[f"narrower as {name}"]
        assert plan.study.variants[f"narrower as {name}"].bottleneck == 0
        assert control.cost.macs == pytest.approx(plan.prepared[name].cost.macs, rel=0.02)


@pytest.mark.slow
def test_what_a_convolution_for_reduction_adds_is_counted(ask, tmp_path):
    done = ask("downsampling", *CLAIMS["downsampling"][0])
    said = " ".join(done.stdout.split())
    more = 9 * 8 * 8 + 8 + 9 * 16 * 16 + 16  # one 3x3 convolution from c to c channels in each of two blocks
    assert "is false for a stride in the block's own convolution (as many parameters)" in said
    assert f"and true for an additional convolution ({more:,} parameters more)" in said
    assert re.search('worse than pooling" (holds|does not hold|is not decided|cannot be tested)', said)


@pytest.mark.slow
def test_features_of_a_network_that_is_too_small_for_an_mlp_are_compared_without_one(ask, tmp_path):
    """One unit more or less changes an MLP of 2,229 parameters by more than 2 %."""
    done = ask("features", *TINY)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "No MLP has as many parameters as this small network within 2 %, so no hidden units are compared." in said
    assert "random filters, " in said and "pixels, " in said and "hidden units of an MLP" not in said
    assert list(pd.read_csv(tmp_path / "w" / "results.csv")["network"].unique()) == ["convnet"]
    answer = json.loads((tmp_path / "w" / "answer.json").read_text())
    kinds = [variant["features"] for variant in answer["variants"]]
    assert kinds == ["learnt filters", "random filters", "principal components", "pixels"]


STATEMENTS = {
    "why_convnets": "a 1-D layer does not preserve spatial relationships",
    "localize": "better for localisation and detection",
    "features": "better for feature extraction",
    "downsampling": "reducing the resolution by convolution alone is worse than pooling",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STATEMENTS)
def test_the_sentence_says_whether_the_lectures_statement_holds(ask, name):
    said = ask(name, *CLAIMS[name][0]).stdout
    assert re.search(
        rf'statement "{STATEMENTS[name]}" (holds|does not hold|is not decided|cannot be tested) on digits', said
    )
