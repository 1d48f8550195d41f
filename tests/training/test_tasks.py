import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cnn import machine
from cnn.config import NetworkConfig, SceneConfig, TrainingConfig, TrialConfig
from cnn.data import datasets, splits
from cnn.data.batches import Images
from cnn.data.scenes import overlap
from cnn.errors import RequestError
from cnn.training import tasks
from cnn.training.fit import Fit, Session
from cnn.training.prepared import prepare_trials

pytestmark = pytest.mark.thorough

SHAPE = (8, 8, 1)
CLASSES = 3


def localization(objects=2):
    return tasks.Localization(SHAPE, CLASSES, objects, 2.0, TrainingConfig(flip=True))


def random_boxes(seed, *shape):
    random = np.random.default_rng(seed)
    return np.concatenate(
        [random.uniform(0.2, 0.8, (*shape, 2)), random.uniform(0.05, 0.6, (*shape, 2))], -1, dtype=np.float32
    )


def images(count=12, objects=2):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, objects, *SHAPE), dtype=np.uint8)
    return Images(jnp.asarray(pixels), jnp.asarray(random.integers(0, CLASSES, (count, objects))))


def scene_loss(outputs, targets, task):
    """The loss of one scene by the definition: the cheapest of all ways to give slots to objects."""
    slots = outputs.reshape(task.objects, -1)
    ways = []
    for way in itertools.permutations(range(task.objects)):
        total = 0.0
        for slot, label, true in zip(way, *targets, strict=True):
            logits, box = slots[slot][:CLASSES], 1 / (1 + np.exp(-slots[slot][CLASSES:]))
            total += np.log(np.exp(logits).sum()) - logits[label] + 5 * np.abs(box - true).sum()
            total += 2 * (1 - float(overlap(box, true).generalized))
        ways.append(total / task.objects)
    return min(ways)


@pytest.mark.parametrize("objects", [1, 2])
def test_the_loss_is_that_of_the_cheapest_assignment(objects):
    task = localization(objects)
    outputs = np.random.default_rng(2).normal(size=(20, task.outputs)).astype(np.float32)
    labels, boxes = np.random.default_rng(3).integers(0, CLASSES, (20, objects)), random_boxes(4, 20, objects)
    found = task.loss(jnp.asarray(outputs), tasks.Found(jnp.asarray(labels), jnp.asarray(boxes)), 0.0)
    wanted = [scene_loss(*scene, task) for scene in zip(outputs, zip(labels, boxes, strict=True), strict=True)]
    assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.slow
def test_right_asks_for_every_class_and_half_of_every_box_in_any_order():
    task = localization()
    boxes = np.array([[[0.3, 0.3, 0.4, 0.4], [0.7, 0.7, 0.4, 0.4]]], np.float32)
    targets = tasks.Found(jnp.array([[0, 2]]), jnp.asarray(boxes))

    def outputs(labels, places, order):
        raw = np.log(places / (1 - places))
        slots = np.concatenate([10 * np.eye(CLASSES)[labels], raw], axis=1)[list(order)]
        return jnp.asarray(slots.reshape(1, -1), jnp.float32)

    moved = boxes[0] + np.array([0.2, 0, 0, 0])  # half of the height: intersection over union 1/3
    for order in ((0, 1), (1, 0)):
        assert task.right(outputs([0, 2], boxes[0], order), targets).tolist() == [True]
        assert task.right(outputs([0, 1], boxes[0], order), targets).tolist() == [False]
        assert task.right(outputs([0, 2], moved, order), targets).tolist() == [False]
        matched = task.matched(outputs([0, 2], boxes[0], order), targets)
        assert_allclose(matched.boxes, boxes, atol=1e-5)
        assert matched.classes.argmax(-1).tolist() == [[0, 2]]


@pytest.mark.slow
def test_test_scenes_follow_from_their_images_alone():
    task, batch = localization(), images()
    indices = np.stack([np.arange(12), np.roll(np.arange(12), 1)], 1)
    scenes, found = jax.jit(task.test_examples)(indices, batch)
    part = jax.tree.map(lambda leaf: leaf[4:7], batch)
    again, part_found = jax.jit(task.test_examples)(indices[4:7], part)
    assert_array_equal(scenes[4:7], again)
    assert_allclose(found.boxes[4:7], part_found.boxes)
    assert scenes.shape == (12, 16, 16, 1) and found.boxes.shape == (12, 2, 4)
    one, other = (jax.jit(task.training_examples)(jax.random.key(seed), batch)[0] for seed in (0, 1))
    assert (one != other).any()


def test_a_rejection_logit_counts_in_the_loss_as_in_equation_9():
    """E = y_D + log(exp(-j) + sum_i exp(-y_i)) of LeCun et al. 1998, with penalties y = -logits."""
    task = tasks.Classification(SHAPE, CLASSES, TrainingConfig(), rejection_logit=-2.0)
    penalties = np.random.default_rng(0).uniform(0, 5, (6, CLASSES)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 2])
    wanted = penalties[np.arange(6), labels] + np.log(np.exp(-2.0) + np.exp(-penalties).sum(1))
    assert_allclose(task.loss(jnp.asarray(-penalties), jnp.asarray(labels), 0.0), wanted, rtol=1e-5)


def scene_config(**settings):
    network = NetworkConfig(blocks=1, width=4, hidden=8)
    return TrialConfig(
        "digits", 0.1, 3e-3, 0, network, TrainingConfig(epochs=1, batch_size=256), SceneConfig(**settings)
    )


@pytest.mark.slow
def test_scenes_are_learnt_from_alike_by_both_loops():
    digits = datasets.load("digits")
    config = dataclasses.replace(scene_config(objects=2), network=NetworkConfig(model="mlp", hidden=8))
    seen = []
    for backend in ("cpu", "gpu"):
        with Session(digits, dataclasses.replace(machine.here(), backend=backend)) as session:
            fit = Fit(session, prepare_trials(config, digits), [config])
            metrics = [epochs[0][0] for epochs in fit.epochs()]
            seen.append((metrics[-1].train_loss, metrics[-1].val_loss, fit.answers()[0]))
    assert seen[0][:2] == pytest.approx(seen[1][:2], rel=1e-3)
    one = seen[0][2]
    other = seen[1][2]
    assert len(one.right) == 360
    assert_allclose(one.targets.boxes, other.targets.boxes, atol=1e-6)  # whatever the size of a batch
    assert_allclose(one.outputs, other.outputs, atol=1e-2)


def test_the_task_and_the_loss_follow_from_the_settings():
    digits = datasets.load("digits")
    found = prepare_trials(scene_config(objects=2, canvas=1.5), digits)
    assert found.task.image_shape == (12, 12, 1) and found.network.output_shape((12, 12, 1)) == (2 * 14,)
    lenet = dataclasses.replace(scene_config(), network=NetworkConfig(model="lenet5_1998"))
    six = splits.subset(digits, range(6))
    with pytest.raises(RequestError, match=r"^objects=1: lenet5_1998 only classifies"):
        prepare_trials(dataclasses.replace(lenet, dataset=six.name, scene=SceneConfig(1)), six)
    mirror = dataclasses.replace(scene_config(objects=1), training=TrainingConfig(batch_size=256, mirror=True))
    with pytest.raises(RequestError, match=r"^mirror=True: must be false with objects=1, "):
        prepare_trials(mirror, digits)
    assert prepare_trials(lenet, digits).task.rejection_logit == -10.0
    assert prepare_trials(scene_config(), digits).task.rejection_logit is None
