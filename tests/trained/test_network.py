"""Outputs, activations and features of a trained network, against all images at once."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors

from cnn.data.batches import named_key
from cnn.errors import RequestError
from cnn.network.forms import PLAIN, fast
from cnn.trained import features, kept
from cnn.trained import network as trained_network
from cnn.trained.network import Trained, class_probabilities
from tests.trained import exported
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


@pytest.mark.parametrize("settings", [{}, {"model": "lenet5_1998"}], ids=["convnet", "lenet5_1998"])
def test_an_answer_may_be_the_mean_of_that_of_both_mirror_images(settings):
    trained = exported.make(mirror=True, **settings)
    alone = exported.make(**settings)
    images = random_images(5)
    mirrored = images[:, :, ::-1]
    found = trained.outputs(images)
    np.testing.assert_allclose(found, (alone.outputs(images) + alone.outputs(mirrored)) / 2, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(trained.outputs(mirrored), found)
    assert np.abs(found - alone.outputs(images)).max() > 0.01
    last = trained.network.layers()[-1].name
    np.testing.assert_array_equal(trained.features(last, images), alone.outputs(images))


SIZES = {1: 1, 2: 16, 16: 16, 17: 128, 127: 128, 128: 128, 129: 128, 300: 128}  # of a batch, by the number of images


def test_few_images_are_one_small_batch(monkeypatch):
    """No more programs than sizes; more images than a batch are padded as before."""
    traced = []
    normalize = trained_network.preprocess.normalize

    def seen(images, *arguments):
        traced.append(len(images))
        return normalize(images, *arguments)

    monkeypatch.setattr(trained_network.preprocess, "normalize", seen)
    trained = make(blocks=1, hidden=9)  # of no other test, so that nothing is compiled
    for count in SIZES:
        assert len(trained.outputs(random_images(count))) == count
    assert traced == sorted(set(SIZES.values()))


@pytest.mark.parametrize("count", [128, 129, 300])
def test_whole_batches_have_the_bits_of_a_batch_of_128(count):
    trained = make()
    images = random_images(300)
    scale = (trained.mean, trained.deviation)
    expected = [
        trained_network._outputs(trained.network, trained.forms, "float32", trained.variables, part, *scale)
        for part in (images[:128], images[128:256])
    ]
    whole = count // 128 * 128
    np.testing.assert_array_equal(trained.outputs(images[:count])[:whole], np.concatenate(expected)[:whole])


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
        dataclasses.replace(trained, variables=variables).outputs(random_images(3))  # its network is built anew
    assert len(traced) == 1


def test_initial_weights_are_those_of_the_seed():
    trained = make(blocks=1)
    trained = dataclasses.replace(trained, config=dataclasses.replace(trained.config, seed=5))
    initial = trained.with_initial_weights()
    expected = trained.network.init(named_key(5, "init"), jnp.zeros((1, *SHAPE)))
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


MODELS = [{}, {"normalization": "batch"}, {"head": "average"}, {"model": "resnet"}, {"model": "mlp"}, {"permute": True}]


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_a_saved_network_gives_the_same_bits(tmp_path, settings):
    known = {"test_accuracy": 0.75, "largest_pixel": 16, "provenance": {"host": "here"}, "forms": fast("cpu")}
    trained = dataclasses.replace(make(**settings), **known)
    trained.save(tmp_path / "kept")
    loaded = Trained.load(tmp_path / "kept")
    np.testing.assert_array_equal(loaded.outputs(random_images(5)), trained.outputs(random_images(5)))
    for field in dataclasses.fields(trained):
        if field.name not in ("variables", "mean", "deviation"):
            assert getattr(loaded, field.name) == getattr(trained, field.name)


def test_the_weights_are_read_by_another_program(tmp_path):
    """By the safetensors library alone, under the names of the layers."""
    make().save(tmp_path)
    with safetensors.safe_open(tmp_path / "trained.safetensors", "np") as weights:
        names = set(weights.keys())
        kernel = weights.get_tensor("params/block1/conv1/kernel")
    assert {"mean", "deviation", "params/logits/bias"} <= names
    np.testing.assert_array_equal(kernel, make().variables["params"]["block1"]["conv1"]["kernel"])


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip(path):
    path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])


def edit(path):
    path.write_text(path.read_text().replace('"a"', '"z"'))


def make_older(path):
    path.write_text(path.read_text().replace(f'"format": {kept.FORMAT}', f'"format": {kept.FORMAT - 1}'))


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("trained.json", Path.unlink, "holds no trained network (trained.json is missing)"),
        ("trained.json", cut, "trained.json: is damaged, or cannot be read"),
        ("trained.json", edit, "trained.json: is damaged"),
        ("trained.json", make_older, "trained.json: was made by another version"),
        ("trained.safetensors", Path.unlink, "trained.safetensors: is missing"),
        ("trained.safetensors", cut, "trained.safetensors: is damaged, or belongs to another network"),
        ("trained.safetensors", flip, "trained.safetensors: is damaged, or belongs to another network"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, damage, said):
    make().save(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(RequestError) as caught:
        Trained.load(tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_probabilities_are_those_of_the_loss():
    """With LeNet-5 of 1998, a class "none of them" takes its share (LeCun et al. 1998, equation 9)."""
    logits = np.array([[-1.0, -2.0], [-20.0, -20.0]], np.float32)
    plain = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(class_probabilities(logits, "convnet"), plain, rtol=1e-6)
    rejecting = np.exp(logits) / (np.exp(logits).sum(1, keepdims=True) + np.exp(-10.0))
    np.testing.assert_allclose(class_probabilities(logits, "lenet5_1998"), rejecting, rtol=1e-6)
    rows = make().probabilities(random_images(5))
    assert rows.shape == (5, 3)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-5)
