"""The command that makes a page again: its flags give the same settings."""

import shlex
from pathlib import Path

import pytest

from cnn.config import NetworkConfig, SceneConfig, StudyConfig, SweepConfig, TrainingConfig, TrialConfig
from experiments import sweep_blocks, train, why_convnets
from experiments.command import flags
from experiments.command.again import command_line

MNIST = TrainingConfig(epochs=5, shift=1)
CASES = {
    "defaults": (
        sweep_blocks.EXPERIMENT,
        SweepConfig(training=TrainingConfig(epochs=20), network=NetworkConfig(width=16)),
    ),
    "other depths, rates and a recipe": (
        sweep_blocks.EXPERIMENT,
        SweepConfig(
            "mnist", blocks=(1, 2), learning_rates=(1e-3, 3e-05), training=MNIST, network=NetworkConfig(width=16)
        ),
    ),
    "a switch that the recipe sets": (
        sweep_blocks.EXPERIMENT,
        SweepConfig("cifar10", training=TrainingConfig(flip=False, shift=2), network=NetworkConfig(hidden=256)),
    ),
    "a name with spaces and quotes": (
        sweep_blocks.EXPERIMENT,
        SweepConfig("./my 'set'", image_size=(8, 8), network=NetworkConfig(head="average"), blocks=(1,)),
    ),
    "another model": (train.COMMAND, TrialConfig(network=NetworkConfig(model="resnet", normalization="ghost"), seed=7)),
    "a scene, where a recipe moves images": (
        train.COMMAND,
        TrialConfig(
            "cifar10",
            network=NetworkConfig(model="mlp", hidden=256),
            training=TrainingConfig(epochs=20, flip=True),
            scene=SceneConfig(objects=1),
        ),
    ),
    "another experiment": (why_convnets.EXPERIMENT, StudyConfig(seeds=2)),
}


@pytest.mark.parametrize("command, config", CASES.values(), ids=CASES)
def test_the_flags_give_the_same_settings(command, config):
    line = shlex.split(command_line(command.name, config))
    assert line[:3] == ["python", "-m", f"experiments.{command.name}"]
    values = flags.define(command)
    flags.parse(values, line[2:])
    assert flags.configure(values, command) == config


def test_the_work_folder_is_named_where_it_is_not_the_default():
    line = command_line("sweep_blocks", SweepConfig(), Path("my folder"))
    assert line.endswith("'--workdir=my folder'")
