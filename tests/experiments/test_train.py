import json
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.faults.harness import without_seconds

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("flags, parameters", [(["--model=lenet5"], 61_706), (["--model=mlp", "--hidden=8"], 682)])
def test_train_leaves_its_files(ask, tmp_path, flags, parameters):
    flags = [*flags, "--epochs=2", "--batch_size=128", "--workdir=w"]
    done = ask("train", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("layer") and f"{parameters:,}" in done.stdout
    folder = tmp_path / "w"
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "done" and result["parameters"] == parameters and result["test_examples"] == 360
    assert f"Test accuracy {100 * result['test_accuracy']:.2f} % on 360 images" in done.stdout
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2] and epochs[0]["val_accuracy"] is None
    assert json.loads((folder / "config.json").read_text())["training"]["batch_size"] == 128
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["22"]
    assert ask("train", *flags).stdout == done.stdout


@pytest.mark.slow
def test_tensorboard_shows_each_epoch_once_after_a_kill(command, ask, tmp_path):
    flags = ["--epochs=60", "--width=4", "--batch_size=512", "--checkpoint_seconds=0", "--tensorboard", "--workdir=w"]
    metrics = tmp_path / "w" / "metrics.jsonl"
    process = command("train", *flags, background=True)
    while process.poll() is None and (not metrics.exists() or metrics.read_text().count("\n") < 3):
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=60)
    assert 3 <= metrics.read_text().count("\n") < 60
    done = ask("train", *flags, "--checkpoint_seconds=30")
    assert done.returncode == 0, done.stderr
    losses = [json.loads(line)["train_loss"] for line in metrics.read_text().splitlines()]
    points = EventAccumulator(str(tmp_path / "w")).Reload().Scalars("loss/train")
    shown = [(point.step, point.value) for point in points]
    assert len(shown) == 60 and shown == [(epoch, np.float32(loss)) for epoch, loss in enumerate(losses, start=1)]


def test_a_diverged_run_is_a_result(ask, tmp_path):
    done = ask("train", "--learning_rate=1e30", "--epochs=2", "--workdir=w")
    assert done.returncode == 0 and "not finite at step" in done.stdout
    assert json.loads((tmp_path / "w" / "result.json").read_text())["status"] == "diverged"


def test_a_collapsed_run_is_said_to_have_collapsed(ask, tmp_path):
    """At a rate of 1 all units die; the accuracy alone would not say so."""
    done = ask("train", "--learning_rate=1", "--epochs=2", "--workdir=w")
    assert json.loads((tmp_path / "w" / "result.json").read_text())["collapsed"] is True
    assert "The training collapsed: this is no better than always the commonest class." in done.stdout
    assert "collapsed" not in ask("train", "--epochs=2", "--workdir=learnt").stdout


@pytest.mark.slow
def test_what_was_compiled_is_kept_for_the_next_run(command, tmp_path):
    flags = ["--epochs=1", "--width=4", "--compiled_dir=compiled"]
    compiled = tmp_path / "compiled"
    for workdir in ("first", "second"):
        done = command("train", *flags, f"--workdir={workdir}")
        assert done.returncode == 0, done.stderr
        kept = {path.name: path.stat().st_mtime_ns for path in compiled.glob("*-cache")}
        if workdir == "first":
            first = kept
    # The step and the evaluation at least, and none of them was compiled again. A program that takes about 0.05 s to
    # compile, from which on programs are kept, can be kept by the second run alone.
    assert len(first) >= 2 and first.items() <= kept.items()
    texts = [(tmp_path / workdir / "result.json").read_text() for workdir in ("first", "second")]
    results = [without_seconds(json.loads(text)) for text in texts]
    assert results[0] == results[1]


@pytest.mark.slow
def test_nothing_compiled_is_kept_without_a_folder(command, tmp_path):
    flags = ["--epochs=1", "--width=4", "--compiled_dir=", "--workdir=w"]
    done = command("train", *flags, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "cache").rglob("manifest.json"))  # the images are kept there
    assert not list((tmp_path / "cache").rglob("*-cache"))


@pytest.mark.slow
@pytest.mark.real_data
def test_mnist_is_learned_in_two_epochs(command, real_data_dir, tmp_path):
    done = command("train", "--dataset=mnist", "--recipe=quick", f"--data_dir={real_data_dir}", "--workdir=w")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "w" / "result.json").read_text())
    assert result["epochs"] == 2 and result["test_examples"] == 10_000
    assert result["test_accuracy"] >= 0.988  # of one seed; its mean over ten is in benchmarks/README.md
