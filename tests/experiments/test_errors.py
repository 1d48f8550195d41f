"""Wrong input: one line that names the value and what would be accepted, exit status 2, nothing written."""

import numpy as np
import pytest

CASES = [
    ("sweep_blocks", "--dataset=minst", ["minst", "digits, mnist", "nearest: mnist"]),
    ("sweep_blocks", "--dataset=no/such.npz", ["no/such.npz"]),
    ("sweep_blocks", "--blocks=0,4", ["blocks=4", "8 -> 4 -> 2 -> 1 -> 0", "at most 3"]),
    ("sweep_blocks", "--blocks=-1", ["blocks=-1", "at least 0"]),
    ("sweep_blocks", "--blocks=1,x", ["--blocks=1,x", "comma-separated list, each an integer"]),
    ("sweep_blocks", "--blocks=1,1", ["blocks=(1, 1)", "none twice"]),
    ("sweep_blocks", "--seeds=0", ["seeds=0", "at least 1"]),
    ("sweep_blocks", "--seeds=many", ["--seeds=many", "an integer"]),
    ("sweep_blocks", "--tuning_seeds=0", ["tuning_seeds=0", "at least 1"]),
    ("sweep_blocks", "--learning_rates=0.001,0", ["learning_rates=0.0", "above 0"]),
    ("sweep_blocks", "--learning_rates=nan", ["learning_rates=nan", "above 0"]),
    ("sweep_blocks", "--match=depth", ["match='depth'", "width, parameters, macs"]),
    ("sweep_blocks", "--margin=-1", ["margin=-1", "at least 0"]),
    ("sweep_blocks", "--validation_fraction=0", ["validation_fraction=0", "above 0"]),
    ("sweep_blocks", "--batch_size=2000", ["batch_size=2000", "at most 1293"]),
    ("sweep_blocks", "--epochs=0", ["epochs=0", "at least 1"]),
    ("sweep_blocks", "--pooling=mean", ["pooling='mean'", "max, average, stride"]),
    ("sweep_blocks", "--epoch=3", ["flag 'epoch'", "epochs"]),
    ("sweep_blocks", "stray", ["'stray'", "--name=value"]),
    ("sweep_blocks", "--workdir=/proc/nowhere", ["/proc/nowhere", "can be written"]),
    ("train", "--model=lenet", ["model='lenet'", "convnet, lenet5, lenet5_1998, mlp", "nearest: lenet5"]),
    ("train", "--model=lenet5 --width=8", ["width=8", "model='lenet5'", "none of a network's settings"]),
    ("train", "--model=mlp --blocks=1", ["blocks=1", "hidden, dropout, permute"]),
    ("train", "--dataset=mnist --model=lenet5_1998 --permute", ["permute=True", "model='lenet5_1998'"]),
    ("train", "--objects=3", ["objects=3", "at most 2"]),
    ("train", "--objects=1 --canvas=0.5", ["canvas=0.5", "from 1 to 8"]),
    ("train", "--canvas=2", ["canvas=2.0", "objects=1"]),
    ("train", "--objects=1 --shift=2", ["shift=2", "objects=0"]),
    ("train", "--bottleneck=2", ["bottleneck=2", "from 0 to 1"]),
    ("why_convnets", "--seeds=0", ["seeds=0", "at least 1"]),
    ("why_convnets", "--permute", ["flag 'permute'"]),
    ("localize", "--objects=0", ["objects=0", "at least 1"]),
    ("why_convnets", "--blocks=0", ["blocks=0", "at least 1"]),
    ("one_by_one", "--blocks=1", ["blocks=1", "at least 2"]),
    ("localize", "--shift=1", ["flag 'shift'"]),
    ("features", "--blocks=0", ["blocks=0", "at least 1"]),
    ("downsampling", "--blocks=4", ["blocks=4", "8 -> 4 -> 2 -> 1 -> 0"]),
    ("downsampling", "--pooling=max", ["flag 'pooling'"]),
    ("one_by_one", "--learning_rates=0", ["learning_rates=0.0", "above 0"]),
    ("lenet5", "--width=8", ["flag 'width'"]),
    ("lenet5", "stray", ["'stray'", "--name=value"]),
    ("train", "--blocks=4", ["blocks=4", "8 -> 4 -> 2 -> 1 -> 0"]),
    ("train", "--learning_rate=-1", ["learning_rate=-1", "above 0"]),
    ("train", "--batch_size=2000", ["batch_size=2000", "at most 1437"]),
    ("train", "--validation_fraction=1", ["validation_fraction=1", "below 1"]),
    ("train", "--width=1e9", ["width=1000000000.0", "65536"]),
    ("sweep_blocks", "--growth=1e200", ["growth=1e+200", "at most 16"]),
    ("sweep_blocks", "--seeds=2000000", ["seeds=2000000", "at most 1000000"]),
    ("sweep_blocks", "--workdir=/etc/hostname", ["/etc/hostname", "Not a directory"]),
    ("train", "--workdir=/proc/nowhere", ["/proc/nowhere", "can be written"]),
]


@pytest.mark.parametrize("name, flag, parts", CASES, ids=[f"{name} {flag}" for name, flag, _ in CASES])
def test_one_line_and_status_2(command, tmp_path, name, flag, parts):
    done = command(name, *flag.split())
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" or name == "train"  # the table of the network comes first
    assert done.stderr.count("\n") == 1 and all(part in done.stderr for part in parts), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_npz_with_mismatched_arrays(command, tmp_path):
    images, labels = np.zeros((10, 8, 8), np.uint8), np.arange(10) % 2
    np.savez(tmp_path / "bad.npz", x_train=images, y_train=labels[:9], x_test=images, y_test=labels)
    done = command("sweep_blocks", "--dataset=bad.npz")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "y_train" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npz"]


@pytest.mark.parametrize(
    "name, epochs",
    [("sweep_blocks", "digits: 20"), ("train", "digits: 20"), ("localize", "digits: 30"), ("lenet5", "digits: 6")],
)
def test_help_shows_each_flag_with_its_defaults(command, name, epochs):
    done = command(name, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert "--epochs" in done.stdout and epochs in done.stdout and "--workdir" in done.stdout
