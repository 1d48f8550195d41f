"""Replicas and batches over several devices: which device does what, and that the results do not depend on it."""

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
