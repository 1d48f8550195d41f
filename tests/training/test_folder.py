import json

import numpy as np
import pytest

from cnn.errors import RequestError
from cnn.training.answers import Predictions
from cnn.training.folder import FORMAT, Outcome, Result, TrialFolder, default_workdir
from cnn.training.metrics import Epoch


@pytest.mark.parametrize("slug", ["digits", "emnist/letters", "../../etc/x", "a b;c", "", ".npz"])
def test_the_default_folder_stays_under_runs(slug):
    path = default_workdir("train", slug, {"dataset": slug})
    assert path.parts[:2] == ("runs", "train") and len(path.parts) == 3 and ".." not in path.parts
    assert path == default_workdir("train", slug, {"dataset": slug})
    assert path != default_workdir("train", slug, {"dataset": slug, "seed": 1})


def test_a_trial_folder_keeps_what_it_is_given(tmp_path):
    folder = TrialFolder(tmp_path / "trial")
    settings = {"seed": 0}
    assert folder.result(settings) is None and folder.metrics() == [] and not folder.path.exists()
    folder.begin({"seed": 0}, {"host": "a"})
    folder.begin({"seed": 0}, {"host": "b"})
    assert json.loads((folder.path / "config.json").read_text()) == {
        "format": FORMAT,
        "seed": 0,
        "provenance": {"host": "b"},
    }
    with pytest.raises(RequestError, match="seed: 0, now 1"):
        folder.begin({"seed": 1}, {})
    epochs = [Epoch(1, seconds=0.5), Epoch(2, 0.25, 0.75, None, None, 0.5)]
    folder.write_metrics(epochs)
    assert folder.metrics() == epochs
    right = np.array([True, False, True] * 5)
    result = Result("done", test_examples=15, test_accuracy=10 / 15, measured={"moved_1": 0.5, "moved_2": None})
    predictions = Predictions(np.arange(15, dtype=np.int32), np.linspace(0.1, 1, 15, dtype=np.float32))
    folder.finish(Outcome(result, right, ~right, predictions, {"maps": np.arange(3)}), settings)
    found = folder.outcome(settings)
    assert found.result == result and found.result.value("moved_1") == 0.5 and found.result.value("moved_2") is None
    np.testing.assert_array_equal(found.correct, right)
    np.testing.assert_array_equal(found.val_correct, ~right)
    np.testing.assert_array_equal(found.predictions, predictions)
    read = np.load(folder.path / "test_answers.npy")  # as anyone reads it
    assert read.shape == (15,) and read.dtype.names == ("right", "classes", "probabilities")
    np.testing.assert_array_equal(read["classes"], predictions.classes)
    np.testing.assert_array_equal(found.arrays["maps"], np.arange(3))
    assert folder.trained(settings) is None
    assert json.loads((folder.path / "result.json").read_text())["moved_1"] == 0.5


@pytest.mark.parametrize("config", [{"seed": 0}, {"format": FORMAT - 1, "seed": 0}, {}])
def test_a_folder_of_an_older_version_is_refused(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RequestError, match=r"^workdir='.*' was made by another version: choose another workdir$"):
        TrialFolder(tmp_path).check({"seed": 0})


def test_a_failed_trial_is_not_finished(tmp_path):
    folder = TrialFolder(tmp_path)
    folder.fail(Result("failed", parameters=10, reason="out of memory"), {"seed": 0}, "Trace")
    assert folder.result({"seed": 0}) is None and folder.outcome({"seed": 0}) is None
    written = {"status": "failed", "parameters": 10, "reason": "out of memory"}
    assert written.items() <= json.loads((tmp_path / "result.json").read_text()).items()


def test_a_number_is_found_among_fields_and_measurements():
    result = Result("done", test_accuracy=0.5, measured={"mean_iou": 0.25})
    assert (result.value("test_accuracy"), result.value("mean_iou"), result.value("other")) == (0.5, 0.25, None)
