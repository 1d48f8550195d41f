"""A trace of training steps, read as Perfetto reads it: gzip-compressed JSON of events."""

import dataclasses
import gzip
import json
import subprocess
import sys
from collections import Counter

import pytest

from cnn.config import NetworkConfig
from cnn.errors import RequestError
from cnn.training import profile
from cnn.training.fit import Session
from cnn.training.loops.loop import STEP, Pace
from cnn.training.loops.threads import ThreadsLoop
from cnn.training.profile import PERFETTO, require_writable
from cnn.training.trial import Options
from tests.training.test_trial import CONFIG, SAVE, Said, StopsAfter, alone, assert_ends_alike, timeless, together

pytestmark = pytest.mark.thorough

DENSE = dataclasses.replace(
    CONFIG, network=NetworkConfig(blocks=0, hidden=8)
)  # its loop runs many steps in one program


@pytest.fixture(autouse=True)
def settled_soon(monkeypatch):
    monkeypatch.setattr(profile, "SETTLING", 0.1)


def traces(folder):
    return list(folder.glob(PERFETTO))


def events(folder):
    """What has a place in time in the one trace of a folder."""
    (path,) = traces(folder)
    with gzip.open(path, "rt") as file:
        return [event for event in json.load(file)["traceEvents"] if event.get("ph") == "X"]


def steps(folder):
    """The training steps of the one trace of a folder, in the order in which they began."""
    return sorted((event for event in events(folder) if event["name"] == STEP), key=lambda event: event["ts"])


def numbers(folder):
    return [int(event["args"]["step_num"]) for event in steps(folder)]


def test_a_trace_has_the_steps_and_nothing_of_compilation(digits, tmp_path):
    said = Said()
    with Session(digits) as session:
        alone(session, CONFIG, options=Options(profile=tmp_path / "convnet"), progress=said)
    (path,) = traces(tmp_path / "convnet")
    seen = numbers(tmp_path / "convnet")
    assert said.lines == [
        f"a trace of {len(seen)} training steps: open {path} in https://ui.perfetto.dev, "
        f"or run tensorboard --logdir={tmp_path / 'convnet'}"
    ]
    assert 2 < len(seen) <= profile.MOST  # a busy machine does fewer in the time of a trace
    assert sorted(seen) == list(range(min(seen), min(seen) + len(seen))) and min(seen) > 0
    shown = steps(tmp_path / "convnet")
    begin = min(event["ts"] for event in shown)
    end = max(event["ts"] + event["dur"] for event in shown)
    assert len(seen) == profile.MOST or end - begin > 0.5e6 * profile.SECONDS  # what ended it
    assert all(event["dur"] > 0 for event in shown) and end - begin < 10e6 * profile.SECONDS  # microseconds
    names = {event["name"] for event in events(tmp_path / "convnet")}
    assert len(names) > 20 and not [name for name in names if "compil" in name.lower()]
    assert list((tmp_path / "convnet").glob("plugins/profile/*/*.xplane.pb"))  # which TensorBoard opens


def assert_several_pieces(folder):
    seen = numbers(folder)
    assert len(seen) > 2 and seen == sorted(set(seen))


def test_a_program_of_many_steps_shows_several_pieces(digits, tmp_path):
    with Session(digits) as session:
        alone(session, DENSE, options=Options(profile=tmp_path))
        assert [type(loop) for loop in session.traced] == [ThreadsLoop]
    assert_several_pieces(tmp_path)


AS_ON_AN_ACCELERATOR = """
import dataclasses, sys
from pathlib import Path
from cnn import machine
from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.training import trial
from cnn.training.fit import Session
from cnn.training.prepared import prepare_trials
digits = datasets.load("digits")
config = TrialConfig("digits", network=NetworkConfig(blocks=1, width=2), training=TrainingConfig(epochs=1))
with Session(digits, dataclasses.replace(machine.here(), backend="gpu")) as session:
    options = trial.Options(profile=Path(sys.argv[1]))
    trial.run_together(session, prepare_trials(config, digits), [config], options=options)
    print(*(type(loop).__name__ for loop in session.traced))
"""


def test_the_loop_for_accelerators_shows_several_pieces(tmp_path):
    arguments = [sys.executable, "-W", "error", "-c", AS_ON_AN_ACCELERATOR, str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ScanLoop\n", "")
    assert_several_pieces(tmp_path)


def test_replicas_are_traced_together(digits, tmp_path):
    with Session(digits) as session:
        together(session, [CONFIG, dataclasses.replace(CONFIG, seed=1)], options=Options(profile=tmp_path))
    assert set(Counter(numbers(tmp_path)).values()) == {2}  # each step of both replicas
    assert len({event["tid"] for event in steps(tmp_path)}) >= 2


def test_a_network_is_traced_once_and_the_next_one_too(digits, tmp_path):
    said = Said()
    with Session(digits) as session:
        for seed in (0, 1):
            alone(session, dataclasses.replace(CONFIG, seed=seed), None, Options(profile=tmp_path / "one"), said)
        alone(session, DENSE, None, Options(profile=tmp_path / "other"), said)
    assert len(traces(tmp_path / "one")) == len(traces(tmp_path / "other")) == 1 and len(said.lines) == 2


@pytest.mark.parametrize("rate", [3e-3, 1e30])
def test_results_are_those_without_a_trace(digits, tmp_path, rate):
    config = dataclasses.replace(CONFIG, learning_rate=rate)
    outcomes = []
    for folder, given in (("plain", None), ("traced", tmp_path / "trace")):
        with Session(digits) as session:
            outcomes.append(alone(session, config, tmp_path / folder, Options(keep=True, profile=given)))
    plain, traced = outcomes
    assert timeless(plain) == timeless(traced)
    assert 10 < len(numbers(tmp_path / "trace")) <= 100  # also of a training that diverges
    if plain.result.status == "done":
        assert_ends_alike(tmp_path / "traced", tmp_path / "plain")


def test_where_nothing_is_left_to_train_nothing_is_traced(digits, tmp_path):
    with Session(digits) as session:
        with pytest.raises(KeyboardInterrupt):
            alone(session, CONFIG, tmp_path / "w", SAVE, StopsAfter(CONFIG.training.epochs))
        result = alone(session, CONFIG, tmp_path / "w", Options(profile=tmp_path / "trace")).result
        assert alone(session, CONFIG, tmp_path / "w", Options(profile=tmp_path / "trace")).result == result
    assert result.status == "done" and not (tmp_path / "trace").exists()


def test_a_stop_ends_the_trace(digits, tmp_path, monkeypatch):
    real = profile._Spare.run

    def stops(self, seconds, **rest):
        if seconds == profile.SECONDS:
            raise KeyboardInterrupt
        return real(self, seconds, **rest)

    with Session(digits) as session:
        monkeypatch.setattr(profile._Spare, "run", stops)
        with pytest.raises(KeyboardInterrupt):
            alone(session, CONFIG, options=Options(profile=tmp_path / "stopped"))
        monkeypatch.setattr(profile._Spare, "run", real)
        alone(session, DENSE, options=Options(profile=tmp_path / "next"))
    assert len(numbers(tmp_path / "next")) > 1


@pytest.mark.parametrize("name", ["/proc/none", "/proc", "/etc/hostname/x", f"/tmp/{'x' * 300}"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path, name):
    with pytest.raises(RequestError, match=rf"^profile='{name}': must be a folder that can be written \("):
        Options(profile=tmp_path / name)


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path):
    for folder in (tmp_path, tmp_path / "a" / "b"):
        require_writable(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_pace_limits_the_steps_that_begin_together():
    pace = Pace(0, 10, lambda: False, together=4)
    assert [pace.begins(0, 3), pace.begins(3, 100), pace.begins(7, 100), pace.begins(10, 100)] == [3, 4, 3, 0]
