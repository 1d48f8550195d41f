"""A finished sweep, read from its work folder: its settings and its answer.

Example:
    >>> import tempfile
    >>> swept_in(Path("runs/nowhere"))
    Traceback (most recent call last):
    cnn.errors.RequestError: folder='runs/nowhere': must be a finished folder of sweep_blocks
    >>> kept_answer(Path(tempfile.mkdtemp())) is None
    True
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn import config, files
from cnn.config import NetworkConfig, SweepConfig
from cnn.errors import RequestError
from cnn.study.answer import Answer
from cnn.training.folder import kept_settings

FINGERPRINT = "dataset_fingerprint"
_OTHERS = ("experiment", "variants", FINGERPRINT)  # what a sweep's settings hold beside those of its command


@dataclass(frozen=True)
class Swept:
    """A finished sweep."""

    folder: Path
    config: SweepConfig
    fingerprint: str  # of the images that it learnt from
    answer: Answer


def kept_answer(workdir: Path) -> Answer | None:
    """The answer in a sweep's folder; None where there is none, or that of another experiment.

    Raises:
        RequestError: the file was edited, or is damaged.
    """
    path = workdir / "answer.json"
    values = files.read_json(path)
    if values is None:
        return None
    unsealed = files.unseal(values)
    if unsealed is None:
        raise RequestError(f"{path}: was edited, or is damaged; the same sweep writes it anew")
    try:
        answer = Answer.from_json(unsealed)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return answer if answer.recommended is None or answer.best is not None else None


def swept_in(folder: Path) -> Swept:
    """The finished sweep in a work folder of `sweep_blocks`.

    Raises:
        RequestError: the folder holds something else, or a sweep of another version, or one that has not finished, or a
            damaged one.
    """
    path = folder / "config.json"
    settings = kept_settings(path, "folder")
    if settings is None or settings.get("experiment") != "sweep_blocks":
        held = "" if settings is None else f", not of {settings.get('experiment', 'train')}"
        raise RequestError(f"folder={str(folder)!r}: must be a finished folder of sweep_blocks{held}")
    own = _config(settings, path)
    answer = kept_answer(folder)
    if answer is None or not _finished(answer, own):
        raise RequestError(f"folder={str(folder)!r}: its sweep has not finished; the same sweep continues there")
    if (answer.dataset, answer.match, answer.margin) != (own.dataset, own.match, own.margin):
        raise RequestError(f"{folder / 'answer.json'}: is the answer of another sweep; the same sweep writes it anew")
    return Swept(folder, own, str(settings.get(FINGERPRINT)), answer)


def _config(settings: Mapping[str, Any], path: Path) -> SweepConfig:
    """The settings of the sweep's command; the number of blocks of its network means nothing."""
    own = {name: value for name, value in settings.items() if name not in _OTHERS}
    try:
        own["network"] = {**own["network"], "blocks": NetworkConfig().blocks}
        return config.from_json(SweepConfig, own)
    except (KeyError, TypeError, RequestError):
        raise RequestError(f"{path}: is damaged; must hold the settings of a sweep") from None


def _finished(answer: Answer, own: SweepConfig) -> bool:
    """Whether the answer rests on every trial that the settings ask for; an old folder may have grown since."""
    depths = tuple(depth.blocks for depth in answer.depths)
    tried = {depth.summary.tried for depth in answer.depths}
    rates = own.learning_rates if len(own.learning_rates) > 1 else ()
    tuned = not own.learning_rates or tuple(sorted(rates)) == answer.learning_rates
    return depths == tuple(sorted(own.blocks)) and tried == {own.seeds} and tuned
