import json
import signal
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnn.data import datasets
from tests.faults.harness import is_time

pytestmark = pytest.mark.thorough

TINY = ["--epochs=2", "--batch_size=256", "--width=4", "--hidden=8", "--seeds=2", "--tuning_seeds=1", "--workdir=w"]


def contract(answer):
    depth = {"blocks", "learning_rate", "n", "diverged", "val_mean", "val_std", "val_low", "val_high", "test_mean",
             "test_std", "test_low", "test_high", "parameters", "macs", "p_adjusted"}  # fmt: skip
    top = {"recommended_blocks", "rule", "margin", "indistinguishable", "dataset", "match", "depths"}
    top |= {"learning_rates", "deeper_fits", "seal"}
    assert set(answer) == top and all(depth <= set(row) for row in answer["depths"])


def test_a_sweep_leaves_its_files_and_continues(command, ask, tmp_path):
    done = command("sweep_blocks", *TINY, "--blocks=0,1")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "w"
    answer = json.loads((folder / "answer.json").read_text())
    contract(answer)
    assert [row["blocks"] for row in answer["depths"]] == [0, 1]
    assert f"use {answer['recommended_blocks']} block" in done.stdout and "w/accuracy_vs_blocks.png" in done.stdout
    assert (folder / "accuracy_vs_blocks.png").read_bytes()[:4] == b"\x89PNG"
    results = pd.read_csv(folder / "results.csv")
    assert len(results) == 2 * len(answer["learning_rates"]) * 1 + 2 * 2 and set(results["status"]) == {"done"}
    finished = {path: path.stat().st_mtime_ns for path in (folder / "trials").rglob("*")}
    again = ask("sweep_blocks", *TINY, "--blocks=0,1")
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert {path: path.stat().st_mtime_ns for path in (folder / "trials").rglob("*")} == finished
    refused = ask("sweep_blocks", *TINY, "--blocks=0,1", "--margin=0.01")
    assert refused.returncode == 2 and "margin: 0.05, now 0.01" in refused.stderr


def test_tensorboard_has_a_run_for_each_trial(ask, tmp_path):
    flags = [*TINY, "--blocks=0,1", "--learning_rates=1e-3,3e-3"]
    plain = ask("sweep_blocks", *flags, "--workdir=plain")
    done = ask("sweep_blocks", *flags, "--tensorboard")
    assert done.returncode == 0 and done.stdout.splitlines()[0] == plain.stdout.splitlines()[0], done.stderr
    tables = [pd.read_csv(tmp_path / name / "results.csv") for name in ("w", "plain")]
    timeless = [table.drop(columns=[name for name in table if is_time(name)]) for table in tables]
    pd.testing.assert_frame_equal(*timeless)
    runs = [len(list(trial.glob("events.out.tfevents.*"))) for trial in (tmp_path / "w" / "trials").iterdir()]
    assert runs == [1] * 8 and list((tmp_path / "plain").rglob("events.*")) == []


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_sweep_killed_again_and_again_ends_as_one_never_touched(command, ask, tmp_path, kills):
    flags = [*TINY, "--blocks=0,1", "--learning_rates=1e-3,3e-3"]  # four groups of two trials
    trials = tmp_path / "w" / "trials"
    kept = {}
    for _ in range(kills):
        process = command("sweep_blocks", *flags, background=True)
        while process.poll() is None and len(list(trials.glob("*/result.json"))) == len(kept):
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        present = {path: path.stat().st_mtime_ns for path in trials.glob("*/result.json")}
        assert kept.items() <= present.items()
        kept = present
    assert command("sweep_blocks", *flags).returncode == 0
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert ask("sweep_blocks", *flags, "--workdir=other").returncode == 0
    columns = ["phase", "blocks", "learning_rate", "seed", "val_accuracy", "test_accuracy"]
    tables = [pd.read_csv(tmp_path / name / "results.csv")[columns] for name in ("w", "other")]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.slow
def test_equal_cost_is_equal_to_2_percent(ask, tmp_path):
    """No blocks are matched by hidden units, one block by its width and hidden units; both are shown."""
    flags = ["--blocks=0,1,2", "--match=parameters", "--width=4", "--learning_rates=1e-3", "--seeds=1", "--epochs=1"]
    done = ask("sweep_blocks", *flags, "--workdir=w")
    assert done.returncode == 0, done.stderr
    answer = json.loads((tmp_path / "w" / "answer.json").read_text())
    networks = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    for shown in (["blocks", "width", "hidden"], ["0", "4", "78"], ["1", "2.5", "135"], ["2", "4", "128"]):
        assert shown in [cells[:3] for cells in networks], done.stdout
    reference = answer["depths"][-1]["parameters"]
    assert all(abs(row["parameters"] / reference - 1) <= 0.02 for row in answer["depths"])
    assert answer["match"] == "parameters" and answer["depths"][0]["test_low"] is None  # one seed has no interval


def by_class(images, labels):
    order = np.argsort(labels, kind="stable")
    return images[order][::4], labels[order][::4]


@pytest.mark.slow
def test_a_folder_of_pictures_gives_the_answer_of_the_same_arrays(ask, tmp_path):
    """A quarter of the digits as PNG files, and as an `.npz` in the same order."""
    digits = datasets.load("digits", cache_dir=tmp_path / "cache")
    x_train, y_train = by_class(digits.train_images, digits.train_labels)
    x_test, y_test = by_class(digits.test_images, digits.test_labels)
    np.savez(tmp_path / "own.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    for part, images, labels in (("train", x_train, y_train), ("test", x_test, y_test)):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = tmp_path / "own" / part / str(label) / f"{number:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(file)
    flags = [
        "--epochs=3",
        "--batch_size=64",
        "--width=4",
        "--hidden=8",
        "--seeds=2",
        "--tuning_seeds=1",
        "--blocks=0,1",
    ]
    answers = {}
    for name in ("own.npz", "./own"):
        done = ask("sweep_blocks", *flags, f"--dataset={name}", f"--workdir=w {name}", "--cache_dir=cache")
        assert done.returncode == 0, done.stderr
        answer = json.loads((tmp_path / f"w {name}" / "answer.json").read_text())
        assert answer.pop("dataset") == name and answer.pop("seal")
        answers[name] = answer
        config = json.loads((tmp_path / f"w {name}" / "config.json").read_text())
        answers[name]["fingerprint"] = config["dataset_fingerprint"]
    for answer in answers.values():
        for depth in answer["depths"]:
            depth.pop("train_seconds", None)
    assert answers["./own"] == answers["own.npz"]
