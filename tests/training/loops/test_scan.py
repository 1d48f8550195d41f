"""The loop for accelerators on whatever device there is: replicas side by side, or group after group."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import machine
from cnn.data.batches import Images
from cnn.network import forms
from cnn.training.loops.loop import Pace, Stopped
from cnn.training.loops.scan import BATCHES, ScanLoop
from cnn.training.step import Totals
from tests.training.test_step import CLASSES, COUNT, SHAPE, program, replica

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
    return Images(jnp.asarray(images), jnp.asarray(random.integers(0, CLASSES, COUNT, dtype=np.int32)))


def loop(together):
    return ScanLoop(dataclasses.replace(program(), forms=forms.fast("gpu")), machine.all_devices(), together)


def trained(own, members, data):
    """States, sums and answers after an epoch."""
    states = own.start(members)
    steps = own.program.batches.steps_per_epoch
    states, totals = own.epoch(states, [Totals.zero()] * len(members), members, data, 0, Pace(0, steps, lambda: False))
    answers = own.evaluate(states, members, data, [np.arange(COUNT)] * len(members), lambda: False)
    return own.unstack(states, len(members)), totals, answers


@pytest.mark.slow
@pytest.mark.parametrize("together, replicas", [(1, 3), (2, 5), (2, 4)])
def test_groups_one_after_another_do_what_one_group_does(data, together, replicas):
    """Five replicas by twos are three groups; the sixth place repeats the last replica."""
    members = [replica(seed, 1e-3 * (1 + seed)) for seed in range(replicas)]
    expected = trained(loop(8), members, data)
    found = trained(loop(together), members, data)
    assert [len(part) for part in found] == [replicas] * 3
    for left, right in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_a_replica_does_not_depend_on_its_neighbours(data):
    members = [replica(seed) for seed in range(3)]
    together = trained(loop(8), members, data)[0]
    for place, member in enumerate(members):
        alone = trained(loop(8), [member], data)[0][0]
        for left, right in zip(jax.tree.leaves(alone), jax.tree.leaves(together[place]), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_an_evaluation_that_is_not_wanted_is_given_up(data):
    own = loop(8)
    with pytest.raises(Stopped):
        own.evaluate(own.start([replica()]), [replica()], data, [np.arange(COUNT)], lambda: True)


def test_an_evaluation_is_given_up_between_its_pieces(data):
    """It asks before each piece, so that a long evaluation does not hold up a stop."""
    own = loop(8)
    own.batch_size = COUNT // (3 * BATCHES)
    asked = []

    def stop():
        asked.append(None)
        return len(asked) == 3

    states = own.start([replica()])
    with pytest.raises(Stopped):
        own.evaluate(states, [replica()], data, [np.arange(COUNT)], stop)
    assert len(asked) == 3


@pytest.mark.parametrize("size", [COUNT, 7, 1])
def test_an_evaluation_does_not_depend_on_its_batches(data, size):
    members = [replica(seed) for seed in range(2)]
    parts = [np.arange(COUNT), np.arange(COUNT)[::-1]]
    own = loop(8)
    states = own.start(members)
    expected = own.evaluate(states, members, data, parts, lambda: False)
    own.batch_size = size
    found = own.evaluate(states, members, data, parts, lambda: False)
    for left, right in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
