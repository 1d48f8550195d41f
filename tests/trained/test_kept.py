"""The files of a trained network: what was written is read again, and nothing else is."""

import json

import numpy as np
import pytest
import safetensors.numpy

from cnn.errors import RequestError
from cnn.trained.kept import METADATA, Kept

TENSORS = {
    "params/a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "mean": np.ones(2, np.float32),
    "none": np.zeros((0, 2), np.float32),
}
DESCRIBED = {"class_names": ["ü", "b"], "test_accuracy": 0.1 + 0.2, "output_size": None}
WAYS = ("folder", "file")


def write(tmp_path, way, kept):
    """What to read: a folder, or a file of a name that is no work folder's."""
    if way == "folder":
        for name, content in kept.two_files().items():
            (tmp_path / name).write_bytes(content)
        return tmp_path
    path = tmp_path / "it's mine.safetensors"
    path.write_bytes(kept.one_file())
    return path


@pytest.mark.parametrize("way", WAYS)
def test_what_was_written_is_read(tmp_path, way):
    found = Kept.read(write(tmp_path, way, Kept(TENSORS, DESCRIBED)))
    assert found.described == DESCRIBED and found.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype


def test_a_folder_may_have_the_name_of_a_file(tmp_path):
    folder = tmp_path / "x.safetensors"
    folder.mkdir()
    assert Kept.read(write(folder, "folder", Kept(TENSORS, DESCRIBED))).described == DESCRIBED


def test_one_file_whatever_the_library_writes_first(tmp_path):
    """The digest is that of the arrays, not of the bytes around them."""
    path = write(tmp_path, "file", Kept(TENSORS, DESCRIBED))
    with safetensors.safe_open(path, "numpy") as file:
        metadata = {"other": "x", **file.metadata()}
    path.write_bytes(safetensors.numpy.save(dict(reversed(TENSORS.items())), metadata=metadata))
    assert Kept.read(path).described == DESCRIBED


def described_as(path, change):
    """The file with another description."""
    with safetensors.safe_open(path, "numpy") as file:
        metadata = {METADATA: change(file.metadata()[METADATA])}
    path.write_bytes(safetensors.numpy.save(TENSORS, metadata=metadata))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.unlink(), path.mkdir()), "holds no trained network (trained.json is missing)"),
        (lambda path: path.write_bytes(b""), "is damaged, or belongs to another network"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "is damaged, or belongs to another network"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "is damaged, or belongs to another network"),
        (lambda path: path.write_bytes(safetensors.numpy.save(TENSORS)), "does not say what its weights belong to"),
        (lambda path: described_as(path, lambda text: text.replace("b", "z")), "is damaged"),
        (lambda path: described_as(path, lambda text: text[:-1]), "is damaged, or belongs to another network"),
        (lambda path: described_as(path, lambda text: "[3]"), "is damaged, or belongs to another network"),
        (
            lambda path: described_as(path, lambda text: json.dumps({**json.loads(text), "format": 1})),
            "was made by another version",
        ),
        (
            lambda path: path.write_bytes(Kept({"mean": np.ones(2)}, {}).one_file()[:-1] + b"\0"),
            "is damaged, or belongs to another network",
        ),
    ],
)
def test_a_file_that_is_not_what_was_written_is_named(tmp_path, damage, said):
    path = write(tmp_path, "file", Kept(TENSORS, DESCRIBED))
    damage(path)
    with pytest.raises(RequestError) as caught:
        Kept.read(path)
    assert str(caught.value).startswith(f"{path}") and said in str(caught.value) and "\n" not in str(caught.value)


def test_every_bit_counts(tmp_path):
    """A bit turned anywhere is noticed, or changes nothing that is read."""
    path = write(tmp_path, "file", Kept(TENSORS, DESCRIBED))
    whole = path.read_bytes()
    expected = {name: tensor.tobytes() for name, tensor in TENSORS.items()}
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found = Kept.read(path)
        except RequestError:
            continue
        assert found.described == DESCRIBED
        assert {name: tensor.tobytes() for name, tensor in found.tensors.items()} == expected
