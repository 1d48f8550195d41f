"""Which trained network a work folder stands for: the one of a training, or that of a sweep's recommended depth."""

import itertools
from pathlib import Path

from cnn.errors import RequestError
from cnn.study.plan import COMPARE, trial_name
from cnn.study.swept import kept_answer
from cnn.trained.kept import JSON
from cnn.trained.network import Trained
from cnn.training.folder import Result, TrialFolder, kept_settings


def trained_in(workdir: Path) -> Trained:
    """The network that a folder of `train`, of a trial, or of `sweep_blocks` holds.

    A sweep's is the one of the recommended depth and of the first seed that left one; test accuracy chooses nothing.
    The network must be the one that the folder's result was written with. A folder that holds nothing but a network's
    two files is taken as it is.

    Raises:
        RequestError: the folder holds no such network, or a file is damaged, exchanged or edited; the message says how
            to get one.
    """
    settings = kept_settings(workdir / "config.json")
    if settings is None and (workdir / JSON).exists():
        return Trained.load(workdir)
    if settings is None or "experiment" in settings:
        return _recommended(workdir)
    folder = TrialFolder(workdir)
    trained = folder.trained(settings)
    if trained is None:
        raise RequestError(f"workdir={str(workdir)!r}: holds no trained network; {_why(folder.result(settings))}")
    return trained


def _why(result: Result | None) -> str:
    """Why a trial's folder holds no network."""
    if result is None:
        return "the training must be finished"
    if result.status == "diverged":
        return "the training diverged"
    return "the run that made it leaves one with --keep=all in a new workdir"


def _recommended(workdir: Path) -> Trained:
    answer = kept_answer(workdir)
    if answer is None:
        accepted = "a finished folder of train or of sweep_blocks; of another experiment, name a trial's folder in it"
        raise RequestError(f"workdir={str(workdir)!r}: must be {accepted}")
    rate = None if answer.best is None else answer.best.summary.learning_rate
    if rate is None:
        raise RequestError(f"workdir={str(workdir)!r}: its answer recommends no number of blocks")
    return _first_kept(workdir / "trials", answer.recommended, rate)


def _first_kept(trials: Path, blocks: int | None, rate: float) -> Trained:
    """The network of a depth's first seed that left one: a seed that diverged or failed left none."""
    for seed in itertools.count():
        folder = TrialFolder(trials / trial_name(COMPARE, "blocks", blocks, rate, seed))
        if not folder.path.is_dir():
            break
        settings = kept_settings(folder.path / "config.json")
        if settings is None and (folder.path / JSON).exists():
            raise RequestError(f"{folder.path / 'config.json'}: is missing; the same sweep writes it again")
        trained = folder.trained(settings or {})
        if trained is not None and (trained.config.network.blocks, trained.config.learning_rate) != (blocks, rate):
            raise RequestError(f"{folder.path}: is another trial than its name says; the same sweep says what to do")
        if trained is not None:
            return trained
    said = "holds no trained network of the recommended depth; a sweep with --keep=all in a new workdir leaves them"
    raise RequestError(f"{trials}: {said}")
