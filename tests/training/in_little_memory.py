"""Trains some steps on a data set of the cache, in a process that may have little memory; prints what came out.

    python -m tests.training.in_little_memory CACHE WAY [BYTES]

WAY is `chosen`, or `resident` for images on the device whatever their size. The process may have so many bytes of data.
"""

import itertools
import json
import resource
import sys
import zlib
from pathlib import Path

import jax
import numpy as np

from cnn import machine
from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data import cache
from cnn.data.content import Content, Dataset
from cnn.training.fit import Fit, Session
from cnn.training.prepared import prepare_trials

KEY = "large"
COUNT = 700_000  # images, of 3,072 bytes: 2.15 GB
SHAPE = (32, 32, 3)
CLASSES = 4
STEPS = 12


def build() -> Content:
    """Images of noise, brighter with their class."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, COUNT, dtype=np.int32)
    images = random.integers(0, 128, (COUNT, *SHAPE), dtype=np.uint8)
    images += (labels * 40).astype(np.uint8)[:, np.newaxis, np.newaxis, np.newaxis]
    return Content(images, labels, images[:500], labels[:500], tuple("abcd"))


def main(root: Path, way: str, limit: int = resource.RLIM_INFINITY) -> None:
    """Do some steps, answer the test images, and print what was learnt and whether the images stayed on the host."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if way == "resident":
        machine.device_memory = lambda: None
    content, mark = cache.load(root, KEY, build)
    dataset = Dataset(KEY, *content[:5], mark, KEY)
    network = NetworkConfig(blocks=3, width=4, hidden=8)
    config = TrialConfig(KEY, network=network, training=TrainingConfig(epochs=1, batch_size=64, flip=True))
    with Session(dataset) as session:
        fit = Fit(session, prepare_trials(config, dataset), [config])
        begun = itertools.count(1)
        next(fit.epochs(pause=lambda: next(begun) >= STEPS))
        (snapshot,) = fit.snapshot()
        (answers,) = fit.answers()
        weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(snapshot.state.params))
        found = {
            "streams": session.streams,
            "steps": fit.steps,
            "loss": float(snapshot.totals.loss).hex(),
            "weights": zlib.crc32(weights),
            "outputs": zlib.crc32(np.asarray(answers.outputs).tobytes()),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
