"""Batches that the host gives, one for each step: the loop for CPUs takes them as it takes a resident data set."""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import machine
from cnn.data.batches import Batches, Images, Resident
from cnn.errors import RequestError
from cnn.training.loops.loop import Pace
from cnn.training.loops.scan import ScanLoop
from cnn.training.loops.threads import ThreadsLoop
from cnn.training.step import Totals
from tests.training.test_step import CLASSES, COUNT, SHAPE, program, replica

pytestmark = pytest.mark.thorough

EPOCHS = 2
STOP = 2  # steps of the second epoch before a stop


@dataclass(frozen=True)
class OnTheHost:
    """Batches of a data set in NumPy arrays, which never lies on the device as a whole."""

    size: int
    steps_per_epoch: int

    def order(self, seed, train_indices, epoch):
        return Resident(self.size, self.steps_per_epoch).order(seed, train_indices, epoch)

    def feed(self, data, order, first) -> Iterator[Images]:
        places = np.asarray(order)
        for step in range(first, self.steps_per_epoch):
            yield self.take(data, places[step * self.size : (step + 1) * self.size, np.newaxis])

    def examples(self, given, step):
        return given

    def take(self, data, indices):
        images, labels = data
        return Images(*jax.device_put((images[indices], labels[indices])))


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


def host_data():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
    return images, random.integers(0, CLASSES, COUNT, dtype=np.int32)


def train(chosen, data, pool, replicas):
    """All numbers of some epochs, of which the second is stopped and continued, and of an evaluation."""
    loop = ThreadsLoop(chosen, 2, pool)
    states = loop.start(replicas)
    loop.warm_up(states, replicas, data)
    found = []
    steps = chosen.batches.steps_per_epoch
    for epoch in range(EPOCHS):
        totals = [Totals.zero() for _ in replicas]
        ends = [STOP, steps] if epoch else [steps]
        for first, end in zip([0, *ends], ends, strict=False):
            states, totals = loop.epoch(states, totals, replicas, data, epoch, Pace(first, end, lambda: False))
        found.append(totals)
    part = np.arange(0, COUNT, 3, dtype=np.int32)
    return found, states, loop.evaluate(states, replicas, data, [part] * len(replicas), lambda: False)


@pytest.mark.parametrize("micro_batch", [8, 4], ids=["whole step", "divided step"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_batches_from_the_host_give_the_bits_of_a_resident_data_set(pool, micro_batch, replicas):
    resident = program(micro_batch)
    streamed = dataclasses.replace(resident, batches=OnTheHost(resident.batches.size, resident.batches.steps_per_epoch))
    assert isinstance(streamed.batches, Batches)
    members = [replica(seed) for seed in range(replicas)]
    data = host_data()
    expected = train(resident, Images(*map(jnp.asarray, data)), pool, members)
    found = train(streamed, data, pool, members)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_whole_epoch_in_one_program_needs_resident_data():
    streamed = dataclasses.replace(program(), batches=OnTheHost(8, 5))
    with pytest.raises(RequestError, match=r"^batches='OnTheHost': must be Resident where many steps are one program$"):
        ScanLoop(streamed, machine.all_devices(), together=1)
