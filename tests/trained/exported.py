"""Networks of every kind that the registry has, and a process that runs exported files without this package."""

import functools
import subprocess
import sys

import jax.numpy as jnp
import numpy as np

from cnn.config import NetworkConfig, SceneConfig, TrainingConfig, TrialConfig
from cnn.network import models
from cnn.trained.network import Trained
from tests.trained import untrained

BATCHES = (1, 7)
IMAGES = {n: untrained.random_images(n, seed=n) for n in BATCHES}
FORBIDDEN = "import sys; sys.modules['cnn'] = None\n"  # so that importing it fails
KINDS = {
    **{f"{name}={value}": {name: value} for name, values in models.choices().items() for value in values},
    "blocks=0": {"blocks": 0},
    "blocks=1": {"blocks": 1},
    "bottleneck": {"bottleneck": 0.5},
    "convolutions": {"convolutions": 2},
    "dropout": {"dropout": 0.5},
    "permute": {"permute": True},
    "resnet, batch": {"model": "resnet", "normalization": "batch"},
    "resnet, layer": {"model": "resnet", "normalization": "layer"},
    "head=average, pooling=average": {"head": "average", "pooling": "average"},
    "mirror": {"mirror": True},
}


@functools.cache
def make(objects=0, precision="float32", mirror=False, **settings):
    """A network of random weights, with as many outputs as its model or its scene needs."""
    network = NetworkConfig(**{"blocks": 2, "width": 4, "hidden": 5} | settings)
    training = TrainingConfig(precision=precision, mirror=mirror)
    config = TrialConfig("random", network=network, training=training, scene=SceneConfig(objects=objects))
    outputs = 10 if network.model == "lenet5_1998" else 3
    names = tuple("abcdefghij"[:outputs])
    x = jnp.ones((1, *untrained.SHAPE))
    variables = untrained.some_variables(models.build(network, untrained.SHAPE, outputs), x)
    return Trained(config, variables, untrained.MEAN, untrained.DEVIATION, untrained.SHAPE, names, outputs)


def run(code, folder, python=sys.executable):
    """Run code in a fresh process of another folder, in which this package cannot be imported."""
    arguments = [python, "-W", "error", "-I", "-c", FORBIDDEN + code]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def images_as_files(folder):
    """The images of both batches, for the processes that read exported files."""
    for n, images in IMAGES.items():
        np.save(folder / f"images{n}.npy", images)


def answers_in(folder, kind, n):
    """What such a process has saved of one network and one batch."""
    with np.load(folder / f"{kind}.{n}.npz") as saved:
        return dict(saved)


def close(answers, trained, images):
    """Whether exported answers are those of the network itself: to 1e-5 of the largest logit."""
    logits = trained.outputs(images)
    assert np.abs(answers["logits"] - logits).max() <= 1e-5 * np.abs(logits).max()
    assert answers["logits"].dtype == answers["probabilities"].dtype == np.float32
    probabilities = trained.probabilities(images)
    np.testing.assert_allclose(answers["probabilities"], probabilities, atol=1e-5)
    if models.known(trained.config.network.model).rejection_logit is None:  # else "none of them" has a share too
        np.testing.assert_allclose(answers["probabilities"].sum(1), 1, atol=1e-5)
