"""Replicas and batches over several devices: which device does what, and that the results do not depend on it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cnn.training.loops.mesh import shape
from tests.training.loops.on_devices import REPLICAS


@pytest.mark.parametrize(
    "replicas, devices, batch_size, together, expected",
    [
        (1, 1, 64, 1, (1, 1)),
        (8, 1, 64, 1, (1, 1)),
        (8, 8, 64, 1, (8, 1)),
        (5, 8, 64, 1, (8, 1)),  # three devices compute what the fifth replica's device computes
        (3, 8, 64, 1, (4, 2)),
        (1, 8, 64, 1, (1, 8)),
        (17, 8, 64, 1, (8, 1)),  # three replicas a device
        (2, 6, 64, 1, (6, 1)),  # a batch of 64 has no three parts
        (2, 6, 63, 1, (2, 3)),
        (1, 8, 50, 1, (4, 2)),
        (1, 8, 64, 16, (2, 4)),  # whole ghost batches
        (1, 8, 60, 16, (8, 1)),
        (1, 7, 64, 1, (7, 1)),
    ],
)
def test_replicas_are_spread_first_and_then_the_batch(replicas, devices, batch_size, together, expected):
    assert shape(replicas, devices, batch_size, together) == expected


def test_every_device_has_work_and_every_part_is_whole():
    for devices in range(1, 13):
        for replicas in range(1, 13):
            for batch_size in (1, 50, 64, 96):
                found = shape(replicas, devices, batch_size)
                assert found.replica * found.batch == devices and batch_size % found.batch == 0
                assert found.replica >= min(replicas, devices)


@pytest.mark.parametrize(
    "replicas, devices, batch_size, expected",
    [(1, 8, 50, (1, 8)), (1, 8, 3, (4, 2)), (3, 8, 51, (4, 2)), (1, 7, 50, (1, 7)), (1, 8, 1, (8, 1))],
)
def test_parts_of_a_batch_may_have_images_that_do_not_count(replicas, devices, batch_size, expected):
    assert shape(replicas, devices, batch_size, pads=True) == expected


def test_two_devices_train_as_one_does(tmp_path):
    """With batch normalisation and dropout; each batch is divided."""
    command = [sys.executable, "-W", "error", "-m", "experiments.train", "--validation_fraction=0.1", "--blocks=1"]
    command += ["--width=4", "--hidden=8", "--normalization=batch", "--dropout=0.2", "--batch_size=128"]
    found = {}
    for devices in (1, 2):
        environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        folder = tmp_path / str(devices)
        subprocess.run([*command, "--epochs=2", f"--workdir={folder}"], env=environment, check=True)
        found[devices] = json.loads((folder / "result.json").read_text())
    assert [found[devices]["devices"] for devices in (1, 2)] == [1, 2]
    assert found[2]["val_accuracy"] == pytest.approx(found[1]["val_accuracy"], abs=0.03)
    epochs = [json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0]) for name in ("1", "2")]
    assert epochs[1]["train_loss"] == pytest.approx(epochs[0]["train_loss"], rel=1e-3)


@pytest.mark.slow
def test_a_batch_that_does_not_divide_says_how_many_devices_share_the_work(tmp_path):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-W", "error", "-m", "experiments.train", "--epochs=1", "--blocks=1", "--width=2"]
    command += ["--batch_size=50", "--normalization=batch", f"--workdir={tmp_path / 'w'}"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stderr.count("2 of 4 devices share the work (trials together: 1, batch_size=50)\n") == 1
    assert json.loads((tmp_path / "w" / "result.json").read_text())["devices"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("objects", [1, 2])
def test_scenes_are_spread_over_devices(tmp_path, objects):
    found = {}
    for devices in (1, 2):
        environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        command = [sys.executable, "-W", "error", "-m", "experiments.localize", f"--objects={objects}", "--seeds=1"]
        command += ["--epochs=1", "--learning_rates=3e-3", "--blocks=1", "--width=4", "--hidden=8"]
        subprocess.run([*command, f"--workdir={tmp_path / str(devices)}"], env=environment, check=True)
        rows = (tmp_path / str(devices) / "results.csv").read_text().splitlines()
        found[devices] = [dict(zip(rows[0].split(","), row.split(","), strict=True)) for row in rows[1:]]
    for one, two in zip(found[1], found[2], strict=True):
        assert float(two["val_accuracy"]) == pytest.approx(float(one["val_accuracy"]), abs=0.02)
        assert (one["devices"], two["devices"]) == ("1", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What processes with 1, 2, 4 and 8 devices made of the same trainings."""
    folder = tmp_path_factory.mktemp("devices")
    found = {}
    for devices in (1, 2, 4, 8):
        path = folder / f"{devices}.npz"
        environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        command = [sys.executable, "-W", "error", "-m", "tests.training.loops.on_devices", str(path)]
        subprocess.run(command, env=environment, check=True)
        with np.load(path) as arrays:
            found[devices] = dict(arrays)
        assert found[devices].pop("devices") == devices
    return found


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_results_do_not_depend_on_the_number_of_devices_beyond_rounding(trained, devices):
    alone = trained[1]
    assert {f"plain, {replicas}: weights" for replicas in REPLICAS["plain"]} <= alone.keys() <= trained[devices].keys()
    for name, values in alone.items():
        if name.endswith("outputs"):
            np.testing.assert_allclose(trained[devices][name], values, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_allclose(trained[devices][name], values, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_only_a_divided_batch_needs_collectives(trained, devices):
    for replicas in REPLICAS["plain"]:
        found = trained[devices][f"plain, {replicas}: collectives"].tolist()
        divided = shape(replicas, devices, 64).batch > 1
        assert found == (["all-reduce"] if divided else []), replicas
