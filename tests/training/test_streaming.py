"""Images that stay on the host: trained to the bit as those on the device, and continued in the middle of an epoch."""

import dataclasses
import itertools
import json
import sys

import jax
import numpy as np
import pytest

from cnn import machine
from cnn.config import NetworkConfig, SceneConfig, TrainingConfig, TrialConfig
from cnn.data.stream import HostImages, Stream
from cnn.errors import RequestError
from cnn.training import trial
from cnn.training.fit import Fit, Session
from cnn.training.folder import TrialFolder
from cnn.training.loops.threads import ThreadsLoop
from cnn.training.prepared import prepare_trials
from cnn.training.trial import Options, run

pytestmark = pytest.mark.thorough

NETWORK = NetworkConfig(blocks=1, width=4, hidden=8)
PLAIN = TrialConfig(
    "digits", network=NETWORK, validation_fraction=0.1, training=TrainingConfig(2, 256, flip=True, shift=1)
)
SCENES = dataclasses.replace(PLAIN, scene=SceneConfig(objects=2), training=TrainingConfig(2, 256, flip=True))
DIVIDED = dataclasses.replace(PLAIN, network=NetworkConfig(blocks=1, width=32, hidden=8))
DENSE = dataclasses.replace(PLAIN, network=NetworkConfig(blocks=0, hidden=8))


def start(session, configs):
    return Fit(session, prepare_trials(configs[0], session.dataset), configs)


def numbers(epochs):
    return [dataclasses.replace(epoch, seconds=0.0) for epoch, _ in epochs]


def everything(fit):
    """All that a fit learnt, and its answers."""
    states = [own.state for own in fit.snapshot()]
    return jax.tree.leaves((states, fit.answers(), list(fit.validation_answers())))


def equal(left, right):
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("config", [PLAIN, SCENES, DIVIDED, DENSE], ids=["plain", "two objects", "divided", "dense"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_the_bits_of_a_resident_data_set_also_when_continued_within_an_epoch(session, config, replicas):
    configs = [dataclasses.replace(config, seed=seed) for seed in range(replicas)]
    resident = start(session, configs)
    assert not session.streams
    expected = [numbers(epochs) for epochs in resident.epochs()]
    with Session(session.dataset, stream=True) as streaming:
        whole = start(streaming, configs)
        assert isinstance(whole.loop.program.batches, Stream) and isinstance(streaming.train, HostImages)
        assert [numbers(epochs) for epochs in whole.epochs()] == expected
        stopped = start(streaming, configs)
        next(stopped.epochs())
        assert next(stopped.epochs(pause=lambda: True)) == []
        assert stopped.steps % stopped.prepared.steps_per_epoch > 0
        continued = start(streaming, configs)
        continued.restore(stopped.steps, stopped.snapshot())
        assert [numbers(epochs) for epochs in continued.epochs()] == expected[1:]
        equal(everything(whole), everything(resident))
        equal(everything(continued), everything(resident))


def test_a_trial_that_began_on_the_device_continues_from_the_host(digits, tmp_path, monkeypatch):
    """It saves after each step, and stops in its second epoch, when it looks at the clock for the 26th time."""
    expected = run(PLAIN, digits).result
    looks = itertools.count(1)

    def monotonic():
        if next(looks) == 26:
            raise KeyboardInterrupt
        return 0.0

    monkeypatch.setattr(trial, "monotonic", monotonic)
    with pytest.raises(KeyboardInterrupt):
        run(PLAIN, digits, tmp_path, Options(checkpoint_seconds=0.0))
    monkeypatch.undo()
    assert 5 < TrialFolder(tmp_path).checkpoints().steps()[-1] < 10  # an epoch has five
    result = run(PLAIN, digits, tmp_path, Options(stream=True)).result
    assert (result.val_accuracy, result.test_accuracy) == (expected.val_accuracy, expected.test_accuracy)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["train_loss"] for row in rows] == losses(digits)


def losses(digits):
    """The training loss of each epoch of a trial that was never stopped, and had its images on the device."""
    with Session(digits) as session:
        return [epoch.train_loss for ((epoch, _),) in start(session, [PLAIN]).epochs()]


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("devices", [1, 8])
def test_on_every_backend_python_starts_each_step_on_one_device(digits, backend, devices):
    here = dataclasses.replace(machine.here(), backend=backend, devices=devices, cores=2)
    with Session(digits, here, stream=True) as session:
        fit = start(session, [DENSE])
        assert type(fit.loop) is ThreadsLoop and fit.loop.pieces is None
        assert len(session.devices) == 1 and session.largest_group == 2
        next(fit.epochs())


def test_images_of_more_than_half_of_the_memory_stay_on_the_host(digits, monkeypatch):
    size = digits.train_images.nbytes + digits.test_images.nbytes
    for memory, streams in ((2 * size, False), (2 * size - 1, True), (None, False)):
        monkeypatch.setattr(machine, "device_memory", lambda memory=memory: memory)
        with Session(digits) as session:
            assert session.streams is streams


def test_without_grain_one_line_says_how_to_install_it(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    install = r": needs grain: pip install '\.\[stream\]' \(.*\)$"
    with pytest.raises(RequestError, match=rf"^stream=True{install}"):
        Options(stream=True)
    with pytest.raises(RequestError, match=rf"^stream=True{install}"):
        Session(digits, stream=True)
    monkeypatch.setattr(machine, "device_memory", lambda: 1000)
    too_large = "dataset='digits': its images take more than half of 1,000 bytes of memory"
    with pytest.raises(RequestError, match=rf"^{too_large}{install}"):
        Session(digits)
    with pytest.raises(RequestError, match=rf"^{too_large}{install}"):
        run(PLAIN, digits, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
