"""How long a plan will take: by hand from finished trials, and beside a real run where steps are measured."""

import dataclasses
import time

import numpy as np
import pytest

from cnn.study.forecast import Forecast, forecast, forecast_trial
from cnn.study.run import overview
from cnn.training import speed
from cnn.training.folder import Result, TrialFolder
from cnn.training.speed import Speed
from tests.study.small import CONFIG, run, study


def test_finished_trials_say_it(digits, tmp_path):
    """80 steps take 8 s; 144 validation images a third of 9 steps' time; 360 test images of 22.5."""
    config = dataclasses.replace(CONFIG, blocks=(0,), learning_rates=(1e-3,), seeds=3)
    planned = overview(study(digits, config), tmp_path)
    first, *others = planned.missing
    assert len(others) == 2
    done = {first: Result("done", train_seconds=8.0)}
    said = forecast(planned.plan, dict.fromkeys(others, 0), done)
    step = 8.0 / 80
    assert said.seconds == pytest.approx(2 * step * (80 + 144 / 16 / 3 + 360 / 16 / 3), rel=0.01)
    assert said == Forecast(said.seconds, measured=0, known=1)


def test_a_trial_that_tunes_reads_no_test_image(digits, tmp_path):
    config = dataclasses.replace(CONFIG, blocks=(0,), learning_rates=(1e-3, 3e-3), seeds=1)
    planned = overview(study(digits, config), tmp_path)
    tune, _, compare = planned.missing
    assert (tune.phase, compare.phase) == ("tune", "compare")
    done = {tune: Result("done", train_seconds=8.0)}
    times = [forecast(planned.plan, {trial: 0}, done).seconds for trial in (tune, compare)]
    assert times[1] - times[0] == pytest.approx(0.1 * 360 / 16 / 3)


def test_steps_are_timed_where_the_images_will_lie(digits, tmp_path, monkeypatch):
    streams = []

    def measured(session, prepared, configs):
        streams.append(session.streams)
        return Speed(1.0, 0.01)

    monkeypatch.setattr(speed, "measured", measured)
    planned = overview(study(digits, dataclasses.replace(CONFIG, blocks=(1,))), tmp_path)
    config = next(iter(planned.missing)).config
    for stream in (False, True):
        forecast(planned.plan, planned.missing, planned.finished, stream=stream)
        forecast_trial(config, digits, 0, stream=stream)
    assert streams == [False, False, True, True]


@pytest.mark.slow
@pytest.mark.thorough
def test_measured_steps_tell_what_a_run_takes(digits, tmp_path):
    """Within a factor of 4, since a test has no quiet machine; benchmarks/forecast.py measures it on MNIST."""
    config = dataclasses.replace(CONFIG, blocks=(1,), learning_rates=(1e-3,), seeds=2)
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=40))
    planned = overview(study(digits, config), tmp_path)
    said = forecast(planned.plan, planned.missing, planned.finished)
    assert said.measured == 1 and list(tmp_path.iterdir()) == []
    started = time.perf_counter()
    run(study(digits, config), tmp_path)
    took = time.perf_counter() - started
    assert took / 4 < said.seconds < 4 * took


def test_of_a_trial_that_was_stopped_the_rest_counts(digits, tmp_path, monkeypatch):
    """A step takes a second. Two trials run together, if they have done equally many steps."""
    monkeypatch.setattr(speed, "measured", lambda session, prepared, configs: Speed(1.0, 0.01, together=2))
    config = dataclasses.replace(CONFIG, blocks=(1,), learning_rates=(1e-3,), seeds=4)
    own = study(digits, config)
    first, second, *others = overview(own, tmp_path).missing
    for trial, steps in ((first, 20), (first, 60), (second, 40)):  # the newest checkpoint counts
        checkpoints = TrialFolder(tmp_path / "trials" / trial.name).checkpoints()
        checkpoints.save(steps, {"kernel": np.ones(1)}, {})
    planned = overview(own, tmp_path)
    assert planned.missing == {first: 60, second: 40, **dict.fromkeys(others, 0)}
    evaluations = 1.44 * (1 + 1 / 2 + 1 / 4) + 3 * 3.6
    said = forecast(planned.plan, planned.missing, planned.finished)
    assert said.seconds == pytest.approx(80 + 40 + 20 + evaluations)


def test_half_of_a_trial_takes_half_as_long(digits, monkeypatch):
    """But the test images, which are read once: a hundredth of a second each here, and a step takes a second."""
    config = study(digits).trial("compare", 1, 1e-3, seed=0).config  # 80 steps, 144 validation images
    monkeypatch.setattr(speed, "measured", lambda session, prepared, configs: Speed(1.0, 0.01))
    said = [forecast_trial(config, digits, done) for done in (0, 40, 80)]
    assert [each.seconds for each in said] == pytest.approx([80 + 1.44 + 3.6, 40 + 0.72 + 3.6, 3.6])
    assert said[0].words() == "The rest takes about 85 seconds here: measured steps of 1 network."
