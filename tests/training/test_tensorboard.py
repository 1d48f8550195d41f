"""What TensorBoard shows of a trial, read by TensorBoard's own reader: against the trial's other files."""

import dataclasses
import io
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.api_pb2 import Status

from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.trained.patches import first_kernel
from cnn.training.folder import TrialFolder
from cnn.training.metrics import Epoch
from cnn.training.record import settings
from cnn.training.tensorboard import FILTERS, NAME, TAGS, TEST_ACCURACY, Events, tiled
from cnn.training.trial import Options
from tests.training.test_trial import CONFIG, StopsAfter, alone, lines, timeless, together

pytestmark = pytest.mark.thorough

SHOWN = Options(tensorboard=True, checkpoint_seconds=0.0, keep_networks=(0,))
EPOCHS = CONFIG.training.epochs


@pytest.fixture(scope="module")
def whole(session, tmp_path_factory):
    """The folder of a trial that ran without a stop."""
    folder = tmp_path_factory.mktemp("whole") / "w"
    alone(session, CONFIG, folder, SHOWN)
    return folder


def event_files(folder):
    return sorted(folder.glob("events.out.tfevents.*"))


def opened(folder):
    reader = EventAccumulator(str(folder), size_guidance={"images": 0})  # all of them, not a few
    return reader.Reload()


def curves(reader):
    """The points of each curve, by its name: steps and values."""
    return {tag: [(point.step, point.value) for point in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def pictures(reader):
    """The pictures of the filters, by their steps; each step is there once."""
    shown = [(image.step, image.encoded_image_string) for image in reader.Images(FILTERS)]
    assert len(dict(shown)) == len(shown)
    return {step: np.asarray(Image.open(io.BytesIO(content)))[:, :, :1] for step, content in shown}


def ended(reader):
    """The status with which the plugin HParams shows the trial."""
    content = reader.summary_metadata[hparams.SESSION_END_INFO_TAG].plugin_data.content
    return Status.Name(hparams.parse_session_end_info_plugin_data(content).status)


def expected(folder, test_accuracy=None):
    """What the curves must be by `metrics.jsonl`, in the precision of an event file."""
    epochs = TrialFolder(folder).metrics()
    points = {
        tag: [(epoch.epoch, np.float32(getattr(epoch, name))) for epoch in epochs if getattr(epoch, name) is not None]
        for name, tag in TAGS.items()
    }
    known = {tag: values for tag, values in points.items() if values}
    return known | ({} if test_accuracy is None else {TEST_ACCURACY: [(len(epochs), np.float32(test_accuracy))]})


def test_the_curves_are_those_of_the_metrics(whole, digits):
    result = TrialFolder(whole).result(settings(CONFIG, digits))
    assert curves(opened(whole)) == expected(whole, result.test_accuracy)
    assert len(event_files(whole)) == 1
    assert len(expected(whole)) == 4 and all(len(points) == EPOCHS for points in expected(whole).values())


def test_the_settings_stand_beside_the_final_metrics(whole):
    reader = opened(whole)
    content = reader.summary_metadata
    begun = hparams.parse_session_start_info_plugin_data(content[hparams.SESSION_START_INFO_TAG].plugin_data.content)
    shown = {name: getattr(value, value.WhichOneof("kind")) for name, value in begun.hparams.items()}
    used = {"dataset": "digits", "model": "convnet", "blocks": 1, "width": 4, "learning_rate": 3e-3, "seed": 0}
    assert used.items() <= shown.items() and shown["flip"] is False
    assert not {"ghost_batch", "canvas", "image_size"} & shown.keys()  # no trial without them uses these
    assert ended(reader) == "STATUS_SUCCESS"


def test_the_filters_are_those_of_the_network_before_each_epoch_and_at_the_end(whole, digits):
    shown = pictures(opened(whole))
    trained = TrialFolder(whole).trained(settings(CONFIG, digits))
    kernel = first_kernel(trained)
    assert list(shown) == list(range(EPOCHS + 1)) and kernel.shape == (3, 3, 1, 4)
    np.testing.assert_array_equal(shown[EPOCHS], tiled(kernel))
    initial = tiled(first_kernel(trained.with_initial_weights()))
    assert np.abs(shown[0].astype(int) - initial).max() <= 1  # compiled in another way
    assert all((shown[step] != shown[step + 1]).any() for step in range(EPOCHS - 1))  # the last rates are tiny


@pytest.mark.parametrize("channels, count", [(1, 4), (1, 8), (3, 11)])
def test_tiles_against_loops(channels, count):
    kernel = np.random.default_rng(0).normal(size=(3, 2, channels, count)).astype(np.float32)
    picture = tiled(kernel)
    wanted = np.full((48 * (1 + (count - 1) // 8), 36 * min(8, count), channels), 255)
    largest = max(abs(float(weight)) for weight in kernel.flat)
    for (row, column, channel, number), weight in np.ndenumerate(kernel):
        top = 48 * (number // 8) + 6 + 12 * row
        left = 36 * (number % 8) + 6 + 12 * column
        wanted[top : top + 12, left : left + 12, channel] = round(127.5 * (1 + float(weight) / largest))
    assert picture.shape == wanted.shape and np.abs(picture.astype(int) - wanted).max() <= 1  # of a rounding
    assert tiled(np.zeros((1, 1, 1, 1), np.float32)).min() in (127, 128)


@pytest.mark.parametrize("torn", [0, 7])
def test_a_trial_that_was_stopped_shows_each_epoch_once(session, digits, whole, tmp_path, torn):
    """To a new reader, and to one that has looked on since before the stop."""
    with pytest.raises(KeyboardInterrupt):
        alone(session, CONFIG, tmp_path, SHOWN, progress=StopsAfter(3))
    reader = opened(tmp_path)
    assert curves(reader) == expected(tmp_path)
    assert len(reader.Scalars("loss/train")) == 3
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[: -torn or None])  # as a kill leaves it
    checkpoints = TrialFolder(tmp_path).checkpoints()
    checkpoints.remove(after=checkpoints.steps()[0])  # so that an epoch is done, and shown, again
    alone(session, CONFIG, tmp_path, SHOWN)
    assert event_files(tmp_path) == [path]
    result = TrialFolder(tmp_path).result(settings(CONFIG, digits))
    for seen in (opened(tmp_path), reader.Reload()):
        assert curves(seen) == expected(tmp_path, result.test_accuracy) == curves(opened(whole))
        assert pictures(seen).keys() == pictures(opened(whole)).keys()
    for step, picture in pictures(opened(whole)).items():
        np.testing.assert_array_equal(pictures(opened(tmp_path))[step], picture)


def times(reader):
    """When each point of the training loss and each picture was written, by steps."""
    points = [*reader.Scalars("loss/train"), *reader.Images(FILTERS)]
    return [(point.step, point.wall_time) for point in points]


def test_a_trial_that_goes_on_keeps_the_times_and_the_pictures_of_its_epochs(session, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        alone(session, CONFIG, tmp_path, SHOWN, progress=StopsAfter(3))
    checkpoints = TrialFolder(tmp_path).checkpoints()
    checkpoints.remove(after=checkpoints.steps()[0])
    before = times(opened(tmp_path))
    resumed = time.time()
    alone(session, CONFIG, tmp_path, SHOWN)
    after = times(opened(tmp_path))
    kept = [(step, when) for step, when in after if when < resumed]
    assert kept == [(step, when) for step, when in before if step < 3]
    assert {step for step, when in after if when >= resumed} == set(range(3, EPOCHS + 1))


def test_points_of_another_past_are_written_anew(tmp_path):
    """As after a start without TensorBoard that did an epoch again, on another machine."""
    picture = np.zeros((6, 6, 1), np.uint8)
    with Events(tmp_path, CONFIG, []) as events:
        events.begin(picture)
        for number in (1, 2, 3):
            events.add(Epoch(number, train_loss=1 / number), picture)
    epochs = [Epoch(1, train_loss=1.0), Epoch(2, train_loss=0.25), Epoch(3, train_loss=0.125)]
    with Events(tmp_path, CONFIG, epochs) as events:
        events.begin(picture)
    reader = opened(tmp_path)
    assert curves(reader) == {"loss/train": [(1, 1.0), (2, 0.25), (3, 0.125)]}
    assert [image.step for image in reader.Images(FILTERS)] == [0, 1]


@pytest.mark.slow
def test_it_changes_no_number_and_is_no_setting(session, whole, tmp_path):
    """A trial goes on with it, without it, and with it again; what it has shown before is there again."""
    plain = dataclasses.replace(SHOWN, tensorboard=False)
    alone(session, CONFIG, tmp_path / "plain", plain)
    for folder, first, then in (("a", SHOWN, plain), ("b", plain, SHOWN)):
        with pytest.raises(KeyboardInterrupt):
            alone(session, CONFIG, tmp_path / folder, first, progress=StopsAfter(2))
        alone(session, CONFIG, tmp_path / folder, then)
    results = [timeless(alone(session, CONFIG, place)) for place in (whole, *tmp_path.iterdir())]
    assert len(results) == 4 and all(result == results[0] for result in results)
    assert all(lines(folder) == lines(whole) for folder in tmp_path.iterdir())
    assert event_files(tmp_path / "plain") == []
    assert [point.step for point in opened(tmp_path / "a").Scalars("loss/train")] == [1, 2]
    assert curves(opened(tmp_path / "b")) == curves(opened(whole))


def test_a_trial_that_had_finished_keeps_what_it_has(session, whole, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    alone(session, CONFIG, whole, SHOWN)
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before


def test_trials_that_run_together_have_a_file_each(session, tmp_path):
    """One diverges in its first epoch: it has no accuracy to show, and no more epochs."""
    configs = [CONFIG, dataclasses.replace(CONFIG, learning_rate=1e30)]
    folders = [TrialFolder(tmp_path / name) for name in ("good", "bad")]
    good, bad = together(session, configs, folders, SHOWN)
    assert bad.result.status == "diverged" and bad.result.test_accuracy is None
    assert curves(opened(tmp_path / "good")) == expected(tmp_path / "good", good.result.test_accuracy)
    assert curves(opened(tmp_path / "bad")) == expected(tmp_path / "bad")
    assert [ended(opened(tmp_path / name)) for name in ("good", "bad")] == ["STATUS_SUCCESS", "STATUS_FAILURE"]
    assert list(pictures(opened(tmp_path / "bad"))) == [0]  # afterwards its weights are not finite
    assert len(lines(tmp_path / "bad")) == bad.result.epochs < EPOCHS


def test_a_network_without_filters_and_a_trial_without_validation(session, tmp_path):
    network = NetworkConfig(model="mlp", hidden=8)
    config = TrialConfig("digits", network=network, training=TrainingConfig(epochs=2, batch_size=512))
    result = alone(session, config, tmp_path, SHOWN).result
    reader = opened(tmp_path)
    assert curves(reader) == expected(tmp_path, result.test_accuracy)
    assert reader.Tags()["images"] == [] and "loss/validation" not in reader.Tags()["scalars"]


def test_files_of_others_stay(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("of someone")
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "events.out.tfevents.1.host").write_text("of another program")
    (folder / NAME).symlink_to(elsewhere)
    Events(folder, CONFIG, []).close()
    assert elsewhere.read_text() == "of someone" and not (folder / NAME).is_symlink()
    assert (folder / "events.out.tfevents.1.host").read_text() == "of another program"
    assert len(event_files(folder)) == 2


def test_what_add_wrote_is_in_the_file(tmp_path):
    with Events(tmp_path, CONFIG, [Epoch(1, train_loss=0.5)]) as events:
        events.add(Epoch(2, train_loss=0.25, val_accuracy=0.75))
        assert curves(opened(tmp_path)) == {"loss/train": [(1, 0.5), (2, 0.25)], "accuracy/validation": [(2, 0.75)]}


FULL = """
import pathlib, resource, sys
from cnn.config import TrialConfig
from cnn.training.metrics import Epoch
from cnn.training.tensorboard import Events
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
with Events(pathlib.Path(sys.argv[1]), TrialConfig("digits"), []) as events:
    for number in range(1000):
        events.add(Epoch(number, train_loss=1.0))
"""


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    arguments = [sys.executable, "-W", "error", "-c", FULL, str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    path = tmp_path / NAME
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and said.startswith("OSError") and said.endswith(f"{str(path)!r}"), done.stderr
    assert done.stderr.count("Traceback") == 2 and "ignored" not in done.stderr  # the error and its cause
