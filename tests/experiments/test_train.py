import json

import pytest


@pytest.mark.parametrize("flags, parameters", [(["--model=lenet5"], 61_706), (["--model=mlp", "--hidden=8"], 682)])
def test_train_leaves_its_files(command, tmp_path, flags, parameters):
    flags = [*flags, "--epochs=2", "--batch_size=128", "--workdir=w"]
    done = command("train", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("layer") and f"{parameters:,}" in done.stdout
    folder = tmp_path / "w"
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "done" and result["parameters"] == parameters and result["test_examples"] == 360
    assert f"{result['test_accuracy']:.4f}" in done.stdout
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2] and epochs[0]["val_accuracy"] is None
    assert json.loads((folder / "config.json").read_text())["training"]["batch_size"] == 128
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["2"]
    assert command("train", *flags).stdout == done.stdout


def test_a_diverged_run_is_a_result(command, tmp_path):
    done = command("train", "--learning_rate=1e30", "--epochs=2", "--workdir=w")
    assert done.returncode == 0 and "not finite at step" in done.stdout
    assert json.loads((tmp_path / "w" / "result.json").read_text())["status"] == "diverged"
