"""Outputs, activations and features of a trained network, against all images at once."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn.data.batches import stream
from cnn.errors import RequestError
from cnn.network import models
from cnn.network.forms import PLAIN, fast
from cnn.trained import features
from cnn.trained import network as trained_network
from tests.trained.untrained import SHAPE, make, outputs_at_once, random_images

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
@pytest.mark.parametrize("layer", ["block1/conv1", "block2/pool", "flatten"])
def test_activations_are_those_of_all_images_at_once(count, layer):
    images = random_images(300)[:count]
    expected = outputs_at_once()[layer][:count]
    batches = list(make().activations(layer, images))
    assert [len(batch) for batch in batches[:-1]] == [trained_network.BATCH_SIZE] * (len(batches) - 1)
    np.testing.assert_allclose(np.concatenate(batches), expected, rtol=1e-4, atol=1e-4)
    rows = make().features(layer, images)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.concatenate(batches).reshape(count, -1))


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 300])
def test_outputs_are_those_of_all_images_at_once(count):
    outputs = make().outputs(random_images(300)[:count])
    assert outputs.dtype == np.float32 and outputs.shape == (count, 3)
    np.testing.assert_allclose(outputs, outputs_at_once()["logits"][:count], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(cores, monkeypatch):
    expected = make().outputs(random_images(300))
    monkeypatch.setattr(trained_network.machine, "cores", lambda: cores)
    np.testing.assert_array_equal(make().outputs(random_images(300)), expected)
    np.testing.assert_array_equal(make().features("logits", random_images(300)), expected)


def test_few_batches_wait_to_be_taken(monkeypatch):
    """The activations of a whole data set may not fit in memory."""
    monkeypatch.setattr(trained_network.machine, "cores", lambda: 2)
    started = []
    results = trained_network._in_threads(lambda number: started.append(number) or number, ((n,) for n in range(50)))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert max(started) <= 2 + 2
    assert list(results) == list(range(3, 50))


def test_the_forms_reach_the_layers():
    """In both forms the same numbers up to rounding, and the operations called are those that were handed in."""
    called = []

    def conv2d(*arguments, **settings):
        called.append(settings)
        return PLAIN.conv2d(*arguments, **settings)

    trained = make()
    plain = trained.outputs(random_images(5))
    watched = dataclasses.replace(trained, forms=dataclasses.replace(PLAIN, conv2d=conv2d))
    np.testing.assert_array_equal(watched.outputs(random_images(5)), plain)
    assert len(called) == 2
    cpu = dataclasses.replace(trained, forms=fast("cpu"))
    np.testing.assert_allclose(cpu.outputs(random_images(5)), plain, rtol=1e-4, atol=1e-4)


def test_one_program_serves_all_weights_of_a_network(monkeypatch):
    traced = []
    normalize = trained_network.preprocess.normalize
    monkeypatch.setattr(
        trained_network.preprocess, "normalize", lambda *arguments: traced.append(1) or normalize(*arguments)
    )
    trained = make(blocks=1, hidden=7)
    for scale in (1, 2):
        variables = jax.tree.map(functools.partial(jnp.multiply, scale), trained.variables)
        network = models.build(trained.network.settings, SHAPE, 3)
        dataclasses.replace(trained, network=network, variables=variables).outputs(random_images(3))
    assert len(traced) == 1


def test_initial_weights_are_those_of_the_seed():
    trained = dataclasses.replace(make(blocks=1), seed=5)
    initial = trained.with_initial_weights()
    expected = trained.network.init(stream(5, "init"), jnp.zeros((1, *SHAPE)))
    jax.tree.map(np.testing.assert_array_equal, initial.variables, dict(expected))
    for field in dataclasses.fields(trained):
        if field.name != "variables":
            assert getattr(initial, field.name) is getattr(trained, field.name)


def test_features_use_the_running_statistics_and_no_dropout():
    trained = make(blocks=1, normalization="batch", dropout=0.5)
    rows = trained.features("logits", random_images(3))
    alone = trained.features("logits", random_images(3)[1:2])
    np.testing.assert_allclose(rows[1:2], alone, rtol=1e-4, atol=1e-5)


def test_features_of_a_memory_map(tmp_path):
    np.save(tmp_path / "images.npy", random_images(5))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(make().features("flatten", mapped), make().features("flatten", random_images(5)))
    np.testing.assert_array_equal(make().outputs(mapped), make().outputs(random_images(5)))
    np.testing.assert_array_equal(features.pixels(mapped), random_images(5).reshape(5, -1))


def test_an_unknown_layer_lists_the_known_ones():
    with pytest.raises(RequestError, match=r"^layer='block1/conv': must be one of .*flatten.*; nearest: block1/conv1$"):
        make().activations("block1/conv", random_images(1))


def test_images_of_another_shape_are_refused():
    with pytest.raises(RequestError, match=r"^images=\(6, 8, 2\): must be of shape \(8, 6, 2\)$"):
        make().outputs(random_images(1, (6, 8, 2)))
