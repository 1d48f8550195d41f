"""How many programs a training, a sweep and a continued run trace and compile: each once, whatever the seeds."""

import contextlib
import dataclasses
from collections import Counter

import jax
import jax.numpy as jnp
import pytest

from cnn.config import BlockConfig, NetworkConfig, SweepConfig, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.progress import Progress
from cnn.study import grid
from cnn.training import replicas, strategies, trial
from cnn.training.runs import TrialFolder
from experiments import sweep_blocks

TRACED, COMPILED = "/jax/core/compile/jaxpr_trace_duration", "/jax/core/compile/backend_compile_duration"
# 1293 images train, in 5 steps and a rest; 144 validate and 360 test, in batches of 128 of which the last is partial.
CONFIG = TrialConfig(
    "digits",
    validation_fraction=0.1,
    network=NetworkConfig(blocks=0, hidden=5),
    training=TrainingConfig(epochs=3, batch_size=256),
)
# The images of training and of test lie in arrays of two shapes, so `take` is two programs.
WHOLE_STEP = {"init": 1, "shuffle": 1, "step": 1, "take": 2, "evaluate": 1}
DIVIDED_STEP = WHOLE_STEP | {"step": 0, "batch": 1, "weights": 1, "none": 1, "gradient": 1, "update": 1}
# An epoch is one program, and an evaluation another for each number of batches.
ONE_PROGRAM = {"init": 1, "epochs": 1, "evaluate": 2}
LARGE = dataclasses.replace(
    CONFIG,
    network=NetworkConfig(blocks=1, width=32, hidden=5),
    training=TrainingConfig(epochs=3, batch_size=512),  # too much for a core's cache, so a step is divided
)


@contextlib.contextmanager
def programs():
    """Counts what is traced and what is compiled, by the name of the function."""
    seen = {TRACED: Counter(), COMPILED: Counter()}

    def listen(event, seconds, fun_name="", **rest):
        if event in seen:
            seen[event][fun_name.removeprefix("jit(").removesuffix(")")] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def assert_compiled(seen, expected):
    """Each of the fit's programs was traced and compiled so often; JAX's own small ones may be there already."""
    for counts in seen.values():
        assert {name: counts[name] for name in expected} == expected


def assert_nothing_compiled(seen):
    """Neither one of ours nor a small one of JAX's own."""
    assert seen == {TRACED: {}, COMPILED: {}}


class StopsAt(Progress):
    """Asks for a stop in the middle of an epoch: when it has been asked so often whether to save."""

    def __init__(self, asked):
        self.left = asked

    @property
    def checkpoint_seconds(self):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return 0.0


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(autouse=True)
def nothing_compiled_yet(monkeypatch):
    """Other tests have programs of their own."""
    monkeypatch.setattr(replicas, "strategy", strategies.functools.lru_cache(strategies.strategy.__wrapped__))
    jax.clear_caches()


def use(monkeypatch, kind):
    monkeypatch.setattr(replicas, "strategy", strategies.functools.lru_cache(kind))


def seeds(config, *numbers):
    return [dataclasses.replace(config, seed=seed, learning_rate=1e-3 * (1 + seed)) for seed in numbers]


@pytest.mark.parametrize(
    "kind, config, expected",
    [
        (strategies.PythonLoop, CONFIG, WHOLE_STEP),
        (strategies.PythonLoop, LARGE, DIVIDED_STEP),
        (strategies.OneProgram, CONFIG, ONE_PROGRAM),
    ],
)
def test_a_training_compiles_each_program_once_for_all_seeds_and_rates(digits, monkeypatch, kind, config, expected):
    use(monkeypatch, kind)
    with programs() as first:
        trial.run_together(seeds(config, 0, 1), digits)
    assert_compiled(first, expected)
    with programs() as again:
        trial.run_together(seeds(config, 2, 3), digits)
    assert_nothing_compiled(again)


def test_one_replica_and_several_share_their_programs(digits):
    trial.run(CONFIG, digits)
    with programs() as seen:
        trial.run_together(seeds(CONFIG, 1, 2, 3), digits)
    assert_nothing_compiled(seen)


def test_a_continued_training_compiles_nothing(digits, tmp_path):
    trial.run(CONFIG, digits, tmp_path / "whole", keep=True)
    with programs() as seen:
        with pytest.raises(KeyboardInterrupt):
            trial.run(CONFIG, digits, tmp_path / "cut", keep=True, progress=StopsAt(7))
        assert TrialFolder(tmp_path / "cut").checkpoints().steps()[-1] % 5  # in the middle of an epoch
        trial.run(CONFIG, digits, tmp_path / "cut", keep=True)
    assert_nothing_compiled(seen)


SWEEP = SweepConfig(
    "digits",
    blocks=(0, 1),
    learning_rates=(1e-3, 3e-3),
    seeds=2,
    tuning_seeds=1,
    network=BlockConfig(width=3, hidden=5),
    training=TrainingConfig(epochs=1, batch_size=256),
)


def test_a_sweep_compiles_each_depth_once_and_a_grown_one_only_the_new_depth(digits, tmp_path):
    def sweep(config):
        grid.run(sweep_blocks.study(config, digits), digits, tmp_path)

    with programs() as seen:
        sweep(SWEEP)
    each = {name: 2 for name in ("init", "step", "evaluate", "shuffle")}  # a program for each of two depths
    assert_compiled(seen, each | {"take": 2})  # of the images, which have one shape at all depths
    with programs() as grown:
        larger = dataclasses.replace(SWEEP, seeds=3, learning_rates=(1e-3, 3e-3, 1e-2))
        sweep(larger)
    assert_nothing_compiled(grown)
    with programs() as deeper:
        sweep(dataclasses.replace(larger, blocks=(0, 1, 2)))
    assert_compiled(deeper, {"init": 1, "step": 1, "evaluate": 1, "shuffle": 1, "take": 0})


def number_is_static(monkeypatch):
    """The number of an epoch is part of the program."""

    class Careless(strategies.PythonLoop):
        def __init__(self, program):
            super().__init__(program)
            self.shuffle = jax.jit(program.shuffle, static_argnums=1)

    use(monkeypatch, Careless)


def last_batch_is_short(monkeypatch):
    """The last batch of an evaluation is not filled up."""
    real = strategies.padded

    def ragged(indices, size):
        batches, masks = real(indices, size)
        return [batch[mask] for batch, mask in zip(batches, masks)], [mask[mask] for mask in masks]

    monkeypatch.setattr(strategies, "padded", ragged)


def rate_is_a_python_number(monkeypatch):
    """The second replica's learning rate has JAX's weak type, the first one's not."""
    real = replicas._replica

    def weak(config, *rest):
        own = real(config, *rest)
        return own.replace(learning_rate=jnp.asarray(config.learning_rate)) if config.seed else own

    monkeypatch.setattr(replicas, "_replica", weak)


@pytest.mark.parametrize("provoke", [number_is_static, last_batch_is_short, rate_is_a_python_number])
def test_a_recompilation_would_be_seen(digits, monkeypatch, provoke):
    provoke(monkeypatch)
    with programs() as seen:
        trial.run_together(seeds(CONFIG, 0, 1), digits)
    with pytest.raises(AssertionError):
        assert_compiled(seen, WHOLE_STEP)
