import errno
import json
import os

import numpy as np
import pytest

from cnn.errors import RequestError
from cnn.training.checkpoints import Checkpoints, DamagedError

pytestmark = pytest.mark.thorough

STATES = [{"params": {"kernel": np.random.default_rng(n).normal(size=(3, 2)).astype(np.float32)}} for n in range(3)]


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def save(checkpoints):
    for steps, state in enumerate(STATES, start=10):
        checkpoints.save(steps, state, {"epochs": [{"loss": 0.1, "accuracy": None}] * steps})


def test_the_last_two_are_kept_to_the_bit(checkpoints):
    assert checkpoints.steps() == []
    checkpoints.remove()
    save(checkpoints)
    assert checkpoints.steps() == [11, 12]
    state, trial = checkpoints.load(12, STATES[0])
    np.testing.assert_array_equal(state["params"]["kernel"], STATES[2]["params"]["kernel"])
    assert trial == {"epochs": [{"loss": 0.1, "accuracy": None}] * 12}
    checkpoints.remove(after=11)
    assert checkpoints.steps() == [11]
    checkpoints.remove()
    assert checkpoints.steps() == [] and not checkpoints.path.exists()


def test_a_checkpoint_is_replaced_once_the_new_one_is_written(checkpoints, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    checkpoints.save(12, STATES[0], {"epochs": []})
    with monkeypatch.context() as patched:
        patched.setattr("orbax.checkpoint.CheckpointManager.save", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save(12, STATES[1], {"epochs": [1]})
    assert checkpoints.load(12, STATES[0])[1] == {"epochs": []}
    checkpoints.save(12, STATES[1], {"epochs": [1]})
    state, trial = checkpoints.load(12, STATES[0])
    np.testing.assert_array_equal(state["params"]["kernel"], STATES[1]["params"]["kernel"])
    assert trial == {"epochs": [1]}
    assert [path.name for path in checkpoints.path.iterdir()] == ["12"]


def files(checkpoints, steps):
    return sorted(path for path in (checkpoints.path / str(steps)).rglob("*") if path.is_file())


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.write_bytes(b""), lambda path: path.unlink()])
def test_damage_to_any_file_is_noticed_or_harmless(checkpoints, damage):
    save(checkpoints)
    noticed = 0
    for number in range(len(files(checkpoints, 12))):
        checkpoints.remove()
        save(checkpoints)
        damage(files(checkpoints, 12)[number])
        try:
            state, trial = checkpoints.load(12, STATES[0])
        except DamagedError as error:
            assert "checkpoints/12: the checkpoint is damaged (" in str(error) and "\n" not in str(error)
            noticed += 1
        else:
            np.testing.assert_array_equal(state["params"]["kernel"], STATES[2]["params"]["kernel"])
            assert trial == {"epochs": [{"loss": 0.1, "accuracy": None}] * 12}
        state, _ = checkpoints.load(11, STATES[0])
        np.testing.assert_array_equal(state["params"]["kernel"], STATES[1]["params"]["kernel"])
    assert noticed >= 3


@pytest.mark.parametrize("change", [{"epochs": []}, {"state_digest": "0"}, {"kinds": {}}, {"more": 1}])
def test_an_altered_checkpoint_is_damaged(checkpoints, change):
    save(checkpoints)
    beside = checkpoints.path / "12" / "trial" / "metadata"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | change))
    with pytest.raises(DamagedError, match="altered"):
        checkpoints.load(12, STATES[0])


@pytest.mark.parametrize(
    "kernel, said",
    [
        (np.zeros((4, 2), np.float32), r"float32\[3, 2\]', now 'float32\[4, 2\]'"),
        (np.zeros((3, 2), np.float64), r"float32\[3, 2\]', now 'float64\[3, 2\]'"),
    ],
)
def test_a_sound_checkpoint_of_another_kind_is_refused_and_left(checkpoints, kernel, said):
    save(checkpoints)
    with pytest.raises(RequestError, match=rf"checkpoints/12 is a checkpoint of another kind \(.*{said}\): choose"):
        checkpoints.load(12, {"params": {"kernel": kernel}})
    assert checkpoints.steps() == [11, 12]
    checkpoints.load(12, STATES[0])


def test_a_link_holds_no_checkpoints(checkpoints, tmp_path):
    save(checkpoints)
    checkpoints.path.rename(tmp_path / "elsewhere")
    checkpoints.path.symlink_to(tmp_path / "elsewhere")
    assert checkpoints.steps() == []
    checkpoints.remove()
    assert not checkpoints.path.is_symlink() and Checkpoints(tmp_path / "elsewhere").steps() == [11, 12]


def device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [os.mkfifo, device], ids=["a pipe", "an endless device"])
def test_what_never_ends_is_damage_and_is_not_read(checkpoints, make):
    save(checkpoints)
    for path in files(checkpoints, 12):
        content = path.read_bytes()
        path.unlink()
        make(path)
        with pytest.raises(DamagedError, match=f"{path.name} is not a regular file"):
            checkpoints.load(12, STATES[0])
        path.unlink()
        path.write_bytes(content)
    checkpoints.load(12, STATES[0])


def test_what_an_interrupted_save_has_left_is_removed(checkpoints):
    save(checkpoints)
    half = checkpoints.path / "13.orbax-checkpoint-tmp"
    (checkpoints.path / "12").rename(half)
    assert checkpoints.steps() == [11]
    checkpoints.remove(after=11)
    assert [path.name for path in checkpoints.path.iterdir()] == ["11"]


def test_a_file_that_cannot_be_read_is_no_damage(checkpoints):
    save(checkpoints)
    noticed = 0
    for path in files(checkpoints, 12):
        content = path.read_bytes()
        path.unlink()
        path.symlink_to("/proc/self/mem")  # there, but at byte 0 lies no memory of the process
        with pytest.raises(OSError, match="Input/output error"):
            path.read_bytes()
        try:
            checkpoints.load(12, STATES[0])
        except OSError as error:
            assert (error.errno, error.filename) == (errno.EIO, str(checkpoints.path / "12"))
            noticed += 1
        path.unlink()
        path.write_bytes(content)
    assert noticed >= 3
    checkpoints.load(12, STATES[0])
