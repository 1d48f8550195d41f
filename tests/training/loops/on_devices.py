"""Trains in a process that has so many devices, and writes what came of it; `test_mesh` starts it.

XLA_FLAGS=--xla_force_host_platform_device_count=4 python -m tests.training.loops.on_devices FILE.npz
"""

import re
import sys

import jax
import numpy as np

from cnn import machine
from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.training.fit import Fit, Session
from cnn.training.loops.scan import ScanLoop
from cnn.training.prepared import prepare_trials
from cnn.training.step import Totals

COLLECTIVES = re.compile(r" (all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)(?:-start)?\(")
EPOCHS = 2
# Under a normalisation by batches the gradient of the bias before it is 0 but for rounding, which Adam enlarges to
# whole steps. So these networks do one step, and what counts are the gradients and the statistics. With 8 hidden units
# dropout silences all of them for some images. Their logits are the biases, which Adam's first step makes equal but for
# rounding, so that their answers mean nothing.
TWO_EPOCHS = {"plain": {"dropout": 0.3, "hidden": 32}, "layer": {"normalization": "layer", "pooling": "average"}}
UNEVEN = {  # batches of 51 images
    "uneven": {"dropout": 0.3, "hidden": 32},
    "uneven, layer": {"normalization": "layer", "head": "average"},
}
ONE_STEP = {"batch": {"normalization": "batch"}, "ghost": {"normalization": "ghost", "dropout": 0.3}}
REPLICAS = {
    "plain": (1, 3, 5, 8),
    "layer": (3,),
    "uneven": (1, 3),
    "uneven, layer": (1,),
    "batch": (1, 3),
    "ghost": (1, 3),
}


def config(network, seed, batch_size=64):
    return TrialConfig(
        "digits",
        seed=seed,
        learning_rate=1e-3 * (1 + seed),
        validation_fraction=0.1,
        network=NetworkConfig(**{"blocks": 1, "width": 4, "hidden": 8, "ghost_batch": 8, **network}),
        training=TrainingConfig(epochs=EPOCHS, batch_size=batch_size, flip=True, shift=1),
    )


def start(session, network, replicas, batch_size=64):
    configs = [config(network, seed, batch_size) for seed in range(replicas)]
    fit = Fit(session, prepare_trials(configs[0], session.dataset), configs)
    assert isinstance(fit.loop, ScanLoop) or len(jax.devices()) == 1
    return fit


def flat(tree):
    return np.concatenate([np.ravel(np.asarray(leaf, np.float32)) for leaf in jax.tree.leaves(tree)])


def collectives(fit):
    """The collectives of the compiled program that trains."""
    compiled = fit.loop.compiled(len(fit.replicas))
    totals = compiled.stack([Totals.zero() for _ in fit.replicas])
    arguments = (fit._states, totals, compiled.stack(fit.replicas), compiled.everywhere(fit.session.train), 0, 1)
    return sorted(set(COLLECTIVES.findall(compiled.steps.lower(*arguments).compile().as_text())))


def main(path):
    found = {"devices": np.array(machine.here().devices)}
    with Session(datasets.load("digits")) as session:
        for name, network in {**TWO_EPOCHS, **UNEVEN}.items():
            for replicas in REPLICAS[name]:
                fit = start(session, network, replicas, 51 if name in UNEVEN else 64)
                ended = list(fit.epochs())
                losses = [[(epoch.train_loss, epoch.val_loss) for epoch, _ in each] for each in ended]
                right = [[(epoch.train_accuracy, epoch.val_accuracy) for epoch, _ in each] for each in ended]
                found[f"{name}, {replicas}: weights"] = np.stack([flat(own.variables) for own in fit.trained()])
                found[f"{name}, {replicas}: outputs"] = np.stack([own.outputs for own in fit.answers()])
                found[f"{name}, {replicas}: losses"] = np.array(losses, np.float64)
                found[f"{name}, {replicas}: accuracies"] = np.array(right, np.float64)
                if isinstance(fit.loop, ScanLoop):
                    found[f"{name}, {replicas}: collectives"] = np.array(collectives(fit))
        for name, network in ONE_STEP.items():
            for replicas in REPLICAS[name]:
                fit = start(session, network, replicas)
                next(fit.epochs(pause=lambda: True))
                states = [snapshot.state for snapshot in fit.snapshot()]
                found[f"{name}, {replicas}: moments"] = np.stack(
                    [flat((state.step, state.statistics, state.optimizer)) for state in states]
                )
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
