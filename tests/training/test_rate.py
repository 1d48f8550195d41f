"""The rate of matrix products is measured once for each machine and precision, whatever becomes of its file."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import pytest

from cnn import machine
from cnn.training import rate
from cnn.training.rate import NAME, product_rate

HERE = machine.here()
AGAIN = "from cnn import machine; from cnn.training.rate import product_rate; "
SAY = "print(repr(product_rate(machine.here(), 'float32')))"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The user's cache folder, of a process that has measured nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    product_rate.cache_clear()
    yield tmp_path / "conv-relu-pool"
    product_rate.cache_clear()


@pytest.fixture
def timed(monkeypatch):
    """The precisions that were measured, each at 1 to 8 TFLOP/s, so that no two rates are alike."""
    precisions = []

    def measure(precision, repeats, side):
        precisions.append(precision)
        return 1000.0 * len(precisions)

    monkeypatch.setattr(rate, "SHORTEST", 0.0)
    monkeypatch.setattr(machine, "matrix_product_rate", measure)
    return precisions


def next_process(here=HERE, precision="float32"):
    """What a process that knows only the file says."""
    product_rate.cache_clear()
    return product_rate(here, precision)


def test_a_rate_that_something_was_faster_than_is_measured_once_more(timed):
    assert product_rate(HERE, "float32") == 1e12
    assert [product_rate(HERE, "float32", refuted=True) for _ in range(2)] == [2e12] * 2
    assert next_process() == 2e12 and len(timed) == 2


def test_the_higher_rate_stays(monkeypatch):
    monkeypatch.setattr(rate, "SHORTEST", 0.0)
    for gigaflops, expected in ((1000.0, 1e12), (500.0, 1e12), (1500.0, 1.5e12)):
        monkeypatch.setattr(machine, "matrix_product_rate", lambda *given, own=gigaflops: own)
        product_rate.cache_clear()
        assert product_rate(HERE, "float32", refuted=True) == expected


@pytest.mark.thorough
def test_a_rate_is_kept_for_other_processes(folder):
    first = product_rate(HERE, "float32")
    assert first > 1e9 and [path.name for path in folder.iterdir()] == [NAME]
    monkey = "machine.matrix_product_rate = None; "  # cannot measure
    arguments = [sys.executable, "-W", "error", "-c", AGAIN + monkey + SAY]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == first


def test_each_machine_and_precision_has_its_own_rate(timed):
    other = dataclasses.replace(HERE, cpu="Z80")
    rates = [product_rate(HERE, "float32"), product_rate(HERE, "bfloat16"), product_rate(other, "float32")]
    assert timed == ["float32", "bfloat16", "float32"] and rates == [1e12, 2e12, 3e12]
    found = [next_process(), next_process(precision="bfloat16"), next_process(other)]
    assert found == rates and len(timed) == 3


def test_accelerators_add_up_and_devices_of_a_cpu_share_its_cores(timed):
    accelerators, cores = (dataclasses.replace(HERE, backend=name, devices=8) for name in ("gpu", "cpu"))
    assert product_rate(accelerators, "float32") == 8 * 1e12 and product_rate(cores, "float32") == 2e12


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


def edited(path):
    path.write_text(path.read_text().replace("1000000000000.0", "9.9"))


def no_object(path):
    path.write_text("[1, 2]")


def not_sealed(path):
    path.write_text(json.dumps({name: 5.0 for name in json.loads(path.read_text())}))


def no_text(path):
    path.write_bytes(bytes(range(256)))


@pytest.mark.parametrize("damage", [cut, edited, no_object, not_sealed, no_text])
def test_a_damaged_file_is_replaced(folder, timed, damage):
    product_rate(HERE, "float32")
    whole = (folder / NAME).read_bytes()
    damage(folder / NAME)
    assert (folder / NAME).read_bytes() != whole
    assert next_process() == 2e12 == next_process() and len(timed) == 2


def a_folder(folder):
    (folder / NAME / "x").mkdir(parents=True)


def a_file_above(folder):
    folder.write_text("")


def a_pipe(folder):
    folder.mkdir()
    os.mkfifo(folder / NAME)


@pytest.mark.parametrize("obstacle", [a_folder, a_file_above])
def test_where_nothing_can_be_kept_a_process_measures_once(folder, timed, obstacle):
    obstacle(folder)
    assert [product_rate(HERE, "float32") for _ in range(3)] == [1e12] * 3
    assert next_process() == 2e12 and len(timed) == 2
    assert not list(folder.parent.rglob(".*"))  # nothing half-written


def test_a_pipe_in_the_place_of_the_file_does_not_block(folder, timed):
    a_pipe(folder)
    assert product_rate(HERE, "float32") == 1e12 == next_process()  # the pipe was replaced


def test_a_device_without_room_has_no_rate(folder, monkeypatch):
    def full(precision, repeats, side):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(machine, "matrix_product_rate", full)
    assert product_rate(HERE, "float32") is None and not folder.exists()


def test_matrices_grow_until_their_product_takes_long_enough(monkeypatch):
    sides = []

    def measure(precision, repeats, side):
        sides.append(side)
        return 100_000.0  # so 4096 take 1.4 ms, and 8192 take 11 ms

    monkeypatch.setattr(machine, "matrix_product_rate", measure)
    assert rate.measured("bfloat16") == 1e14 and sides == [1024, 2048, 4096, 8192]
