"""The recorded studies: what a finished study left, kept in `docs/results/STUDY/NAME`.

That is its settings, its answer, its trials and its pictures; the page of more than a megabyte is left out.
"""

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn import files
from cnn.config import MATCHES, NetworkConfig
from cnn.errors import RequestError, require
from cnn.study.advice import without
from cnn.study.swept import Swept, swept_in
from cnn.training.folder import kept_settings

RESULTS = Path(__file__).parents[1] / "docs" / "results"
TABLES = ("answer.json", "results.csv")
_SETTINGS = "config.json"
_SWEEP = "sweep_blocks"
_LOCAL = ("workdir", "data_dir", "cache_dir", "compiled_dir")  # flags that name a machine's folders


@dataclass(frozen=True)
class Compared:
    """A finished comparison of variants, from its `answer.json`."""

    folder: Path
    experiment: str
    dataset: str
    by: str  # what the variants are values of
    metric: str  # the number of a result that the differences and tests are about
    sentence: str
    variants: tuple[Mapping[str, Any], ...]  # as the file has them


def add(folder: Path, results: Path, to: str) -> None:
    """Keep a finished study, without what names this machine's folders and host.

    Args:
        folder: the study's work folder.
        results: the folder of all records.
        to: STUDY/NAME, under which it is kept there; a record of that name is replaced, once the new one is whole.

    Raises:
        RequestError: the folder does not hold a finished study, or `to` is no such name.
        OSError: a file cannot be copied; an older record is still there.
    """
    named = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", to) is not None
    require(named, "to", to, "STUDY/NAME, each of letters, digits, -, _ and .")
    read(folder)
    settings = json.loads((folder / _SETTINGS).read_text())
    provenance = settings["provenance"]
    provenance.pop("host", None)
    provenance["command"] = _portable(provenance["command"])
    place = results / to
    with files.whole_folder(place) as new:
        for path in [*(folder / name for name in TABLES), *folder.glob("*.png")]:
            shutil.copyfile(path, new / path.name)
        (new / _SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")
        if place.exists():
            files.remove(files.set_aside(place))


def _portable(command: str) -> str:
    """A command without the folders of the machine where it ran."""
    _, *arguments = shlex.split(command)
    for flag in _LOCAL:
        arguments = without(arguments, flag)
    return shlex.join(["python", *arguments])


def read(folder: Path) -> Swept | Compared:
    """The finished study in a folder.

    Raises:
        RequestError: there is none, or a file was edited.
    """
    settings = kept_settings(folder / _SETTINGS)
    if settings is None or settings.get("experiment") == _SWEEP:
        return swept_in(folder)
    values = files.unseal(files.read_json(folder / "answer.json") or {})
    if values is None or "sentence" not in values:
        raise RequestError(f"folder={str(folder)!r}: must be the folder of a finished study")
    names = ("experiment", "dataset", "by", "metric", "sentence")
    return Compared(folder, **{name: values[name] for name in names}, variants=tuple(values["variants"]))


def recorded(folder: Path) -> list[Swept | Compared]:
    """The studies in a folder of results: sweeps first, those of the usual head and of equal width before others.

    Raises:
        RequestError: a folder there does not hold a finished study.
    """
    return sorted((read(path.parent) for path in folder.glob(f"*/*/{_SETTINGS}")), key=_place)


def _place(record: Swept | Compared) -> tuple[Any, ...]:
    study = record.folder.parent.name
    if isinstance(record, Compared):
        return study, 1, record.dataset, record.folder.name
    own = record.config
    network = own.network
    usual = NetworkConfig()
    unusual = (network.normalization != usual.normalization, network.head != usual.head, MATCHES.index(own.match))
    return study, 0, own.dataset, *unusual, own.training.epochs, own.validation_fraction
