"""How many programs a training, a sweep and a continued run trace and compile: each once, whatever the seeds."""

import contextlib
import dataclasses
from collections import Counter

import jax
import jax.numpy as jnp
import pytest

from cnn import machine
from cnn.config import NetworkConfig, SweepConfig, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.study import run
from cnn.study.executors import Here
from cnn.training import fit, trial
from cnn.training.fit import Session
from cnn.training.folder import TrialFolder
from cnn.training.loops import choice, threads
from cnn.training.prepared import prepare_trials
from cnn.training.trial import Options
from experiments import sweep_blocks

pytestmark = pytest.mark.thorough

TRACED = "/jax/core/compile/jaxpr_trace_duration"
COMPILED = "/jax/core/compile/backend_compile_duration"
# 1293 images train, in 5 steps and a rest; 144 validate and 360 test, in batches of 128 of which the last is partial.
CONFIG = TrialConfig(
    "digits",
    validation_fraction=0.1,
    network=NetworkConfig(blocks=1, width=2, hidden=5),
    training=TrainingConfig(epochs=3, batch_size=256),
)
NO_CONVOLUTION = dataclasses.replace(CONFIG, network=NetworkConfig(blocks=0, hidden=5))
# The images of training and of test lie in arrays of two shapes, so `take` is two programs.
WHOLE_STEP = {"init": 1, "order": 1, "step": 1, "take": 2, "evaluate": 1}
IN_PIECES = WHOLE_STEP | {"step": 0, "_piece": 1}
DIVIDED_STEP = WHOLE_STEP | {"step": 0, "batch": 1, "weights": 1, "none": 1, "stage_of_gradient": 1, "update": 1}
# Many steps are one program; the evaluations of training and of test images are two, since all images are arguments.
ONE_PROGRAM = {"init": 1, "_steps": 1, "_evaluate": 2}
LARGE = dataclasses.replace(
    CONFIG,
    network=NetworkConfig(blocks=1, width=32, hidden=5),
    training=TrainingConfig(epochs=3, batch_size=512),  # too much for a core's cache, so a step is divided
)


counting = []  # the counts of each block of `programs` that runs


def listen(event, seconds, fun_name="", **rest):
    for seen in counting:
        if event in seen:
            seen[event][fun_name.removeprefix("jit(").removesuffix(")")] += 1


jax.monitoring.register_event_duration_secs_listener(listen)  # once: jax 0.7 has no way to take a listener away


@contextlib.contextmanager
def programs():
    """Counts what is traced and what is compiled, by the name of the function."""
    counting.append({TRACED: Counter(), COMPILED: Counter()})
    try:
        yield counting[-1]
    finally:
        counting.pop()


def assert_compiled(seen, expected):
    """Each of the fit's programs was traced and compiled so often; JAX's own small ones may be there already."""
    for counts in seen.values():
        assert {name: counts[name] for name in expected} == expected


def assert_nothing_compiled(seen):
    """Neither one of ours nor a small one of JAX's own."""
    assert seen == {TRACED: {}, COMPILED: {}}


@pytest.fixture
def stop_when_asked(monkeypatch):
    """Asks for a stop in the middle of an epoch: when it has been asked so often whether to save."""

    def arm(asked):
        left = [asked + 1]  # the first look at the clock is that of the start

        def monotonic():
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return 0.0

        monkeypatch.setattr(trial, "monotonic", monotonic)

    return arm


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(autouse=True)
def nothing_compiled_yet():
    """Other tests have programs of their own."""
    jax.clear_caches()


@pytest.fixture
def session(digits):
    with Session(digits) as session:
        yield session


def seeds(config, *numbers):
    return [dataclasses.replace(config, seed=seed, learning_rate=1e-3 * (1 + seed)) for seed in numbers]


def together(session, configs, folders=None, options=Options()):
    trial.run_together(session, prepare_trials(configs[0], session.dataset), configs, folders, options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend, config, expected",
    [
        ("cpu", CONFIG, WHOLE_STEP),
        ("cpu", NO_CONVOLUTION, IN_PIECES),
        ("cpu", LARGE, DIVIDED_STEP),
        ("gpu", CONFIG, ONE_PROGRAM),
    ],
)
def test_a_training_compiles_each_program_once_for_all_seeds_and_rates(digits, backend, config, expected):
    with Session(digits, dataclasses.replace(machine.here(), backend=backend)) as session:
        with programs() as first:
            together(session, seeds(config, 0, 1))
        assert_compiled(first, expected)
        with programs() as again:
            together(session, seeds(config, 2, 3))
        assert_nothing_compiled(again)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend, config", [("cpu", CONFIG), ("cpu", NO_CONVOLUTION), ("cpu", LARGE), ("gpu", CONFIG), ("tpu", CONFIG)]
)
def test_no_second_of_a_training_is_one_of_compilation(digits, backend, config):
    with Session(digits, dataclasses.replace(machine.here(), backend=backend)) as session:
        own = fit.Fit(session, prepare_trials(config, digits), seeds(config, 0, 1), test=True)
        with programs() as seen:
            for _ in own.epochs():
                pass
            own.answers()
        assert_nothing_compiled(seen)


def test_one_replica_and_several_share_their_programs(session):
    together(session, [CONFIG])
    with programs() as seen:
        together(session, seeds(CONFIG, 1, 2, 3))
    assert_nothing_compiled(seen)


def test_a_continued_training_compiles_nothing(session, tmp_path, stop_when_asked):
    save = Options(keep=True, checkpoint_seconds=0.0)
    together(session, [CONFIG], [TrialFolder(tmp_path / "whole")], save)
    cut = TrialFolder(tmp_path / "cut")
    with programs() as seen:
        stop_when_asked(13)  # each step asks, and then looks at the clock again when it has saved
        with pytest.raises(KeyboardInterrupt):
            together(session, [CONFIG], [cut], save)
        assert cut.checkpoints().steps()[-1] % 5  # in the middle of an epoch
        stop_when_asked(10**9)
        together(session, [CONFIG], [cut], save)
    assert_nothing_compiled(seen)


SWEEP = SweepConfig(
    "digits",
    blocks=(0, 1),
    learning_rates=(1e-3, 3e-3),
    seeds=2,
    tuning_seeds=1,
    network=NetworkConfig(width=3, hidden=5),
    training=TrainingConfig(epochs=1, batch_size=256),
)


@pytest.mark.slow
def test_a_sweep_compiles_each_depth_once_and_a_grown_one_only_the_new_depth(digits, session, tmp_path):
    def sweep(config):
        with run.running(sweep_blocks.study(config, digits), tmp_path, executor=Here(session)):
            pass

    with programs() as seen:
        sweep(SWEEP)
    each = {name: 2 for name in ("init", "evaluate", "order")}  # a program for each of two depths
    steps = {"_piece": 1, "step": 1}
    assert_compiled(seen, each | steps | {"take": 2})  # of the images, which have one shape at all depths
    with programs() as grown:
        larger = dataclasses.replace(SWEEP, seeds=3, learning_rates=(1e-3, 3e-3, 1e-2))
        sweep(larger)
    assert_nothing_compiled(grown)
    with programs() as deeper:
        sweep(dataclasses.replace(larger, blocks=(0, 1, 2)))
    assert_compiled(deeper, {"init": 1, "step": 1, "evaluate": 1, "order": 1, "take": 0})


def number_is_static(monkeypatch):
    """The number of an epoch is part of the program."""

    class Careless(threads.ThreadsLoop):
        def __init__(self, program, *rest, **more):
            super().__init__(program, *rest, **more)
            self.order = jax.jit(program.order, static_argnums=1)

    monkeypatch.setattr(choice, "ThreadsLoop", Careless)


def last_batch_is_short(monkeypatch):
    """The last batch of an evaluation is not filled up."""
    real = threads.padded

    def ragged(indices, size):
        batches, masks = real(indices, size)
        pairs = zip(batches, masks, strict=True)
        return [batch[mask] for batch, mask in pairs], [mask[mask] for mask in masks]

    monkeypatch.setattr(threads, "padded", ragged)


def rate_is_a_python_number(monkeypatch):
    """The second replica's learning rate has JAX's weak type, the first one's not."""
    real = fit._replica

    def weak(config, *rest):
        own = real(config, *rest)
        return own.replace(learning_rate=jnp.asarray(config.learning_rate)) if config.seed else own

    monkeypatch.setattr(fit, "_replica", weak)


@pytest.mark.slow
@pytest.mark.parametrize("provoke", [number_is_static, last_batch_is_short, rate_is_a_python_number])
def test_a_recompilation_would_be_seen(digits, monkeypatch, provoke):
    provoke(monkeypatch)
    with Session(digits) as session, programs() as seen:
        together(session, seeds(CONFIG, 0, 1))
    with pytest.raises(AssertionError):
        assert_compiled(seen, WHOLE_STEP)
