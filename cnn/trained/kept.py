"""The files that keep a trained network: arrays by name, and plain values that describe them.

A folder has two files, `trained.safetensors` and `trained.json`. A file that is handed on holds both: the description
is in its metadata. Either way the description names its arrays by a digest, and is sealed by another.

Example:
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> kept = Kept({"mean": np.zeros(2, np.float32)}, {"classes": 3})
    >>> for name, content in kept.two_files().items():
    ...     files.write(folder / name, content)
    >>> path = folder / "handed_on.safetensors"
    >>> files.write(path, kept.one_file())
    >>> Kept.read(folder).described, Kept.read(path).described
    ({'classes': 3}, {'classes': 3})
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn import files
from cnn.errors import RequestError

FORMAT = 4  # of the files; another version's are refused
JSON = "trained.json"
WEIGHTS = "trained.safetensors"
METADATA = "trained"  # the key of the description in the metadata of a file that holds both
_SUFFIX = ".safetensors"
_FORMAT = "format"  # in the description, as is the next one
_DIGEST = "weights"


class Kept(NamedTuple):
    """What the files hold."""

    tensors: Mapping[str, np.ndarray]
    described: dict[str, Any]  # plain values, as JSON has them

    def two_files(self) -> dict[str, bytes]:
        """The content of both files of a folder by name, the arrays first."""
        import safetensors.numpy

        described = json.dumps(self._sealed(), indent=2)
        return {WEIGHTS: safetensors.numpy.save(dict(self.tensors)), JSON: f"{described}\n".encode()}

    def one_file(self) -> bytes:
        """The content of one file that holds all."""
        import safetensors.numpy

        return safetensors.numpy.save(dict(self.tensors), metadata={METADATA: json.dumps(self._sealed())})

    def _sealed(self) -> dict[str, Any]:
        return files.seal({_FORMAT: FORMAT, **self.described, _DIGEST: _digest(self.tensors)})

    @classmethod
    def read(cls, path: Path) -> "Kept":
        """What a folder with both files holds, or one file, whose name ends with `.safetensors`.

        Raises:
            RequestError: a file is missing, damaged, another network's or another version's. The message names it.
        """
        in_one = path.suffix == _SUFFIX and not path.is_dir()
        described, tensors = _from_one_file(path) if in_one else _from_folder(path)
        if _digest(tensors) != described.pop(_DIGEST):
            raise _damaged(path if in_one else path / WEIGHTS)
        return cls(tensors, described)


def _from_folder(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        values = files.read_json(folder / JSON)
    except RequestError:  # whose advice is for the settings of a work folder
        raise RequestError(f"{folder / JSON}: is damaged, or cannot be read") from None
    if values is None:
        raise RequestError(f"{folder}: holds no trained network ({JSON} is missing)")
    known = _known(folder / JSON, values)  # first: another version's arrays may be other ones
    _, tensors = _opened(folder / WEIGHTS)
    return known, tensors


def _from_one_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    metadata, tensors = _opened(path)
    if METADATA not in metadata:
        raise RequestError(f"{path}: does not say what its weights belong to; must be a file of export, or a folder")
    try:
        values = dict(json.loads(metadata[METADATA]))
    except (TypeError, ValueError):
        raise _damaged(path) from None
    return _known(path, values), tensors


def _opened(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the arrays of a file of the library safetensors."""
    import safetensors

    if not path.is_file():
        raise RequestError(f"{path}: is missing")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            names = list(file.keys())
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError:
        raise _damaged(path) from None


def _known(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a description, if they are of this version and as they were written."""
    if values.get(_FORMAT) != FORMAT:
        raise RequestError(f"{path}: was made by another version")
    own = files.unseal(values)
    if own is None:
        raise RequestError(f"{path}: is damaged")
    del own[_FORMAT]
    return own


def _damaged(path: Path) -> RequestError:
    return RequestError(f"{path}: is damaged, or belongs to another network")


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of named arrays, whatever file holds them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape} ".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()
