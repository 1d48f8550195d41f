"""Which trained network a work folder stands for: the one of a training, or that of a sweep's recommended depth."""

from pathlib import Path

from cnn import files
from cnn.errors import RequestError
from cnn.study.answer import Answer
from cnn.study.plan import COMPARE
from cnn.trained import network
from cnn.trained.network import Trained


def trained_in(workdir: Path) -> Trained:
    """The network that a folder of `train`, of a trial, or of `sweep_blocks` holds.

    A sweep's is the one of the recommended depth and its first seed; test accuracy chooses nothing.

    Raises:
        RequestError: the folder holds no such network, or a file is damaged; the message says how to get one.
    """
    if (workdir / network.JSON).exists():
        return Trained.load(workdir)
    values = files.read_json(workdir / "answer.json")
    if values is None:
        raise RequestError(f"workdir={str(workdir)!r}: must be a finished folder of train or of sweep_blocks")
    try:
        answer = Answer.from_json(values)
        rates = {depth.blocks: depth.summary.learning_rate for depth in answer.depths}
        if answer.recommended is not None:
            rate = rates[answer.recommended]
    except (KeyError, TypeError, ValueError):
        said = "must be a folder of train or of sweep_blocks; of another experiment, name a trial's folder in it"
        raise RequestError(f"workdir={str(workdir)!r}: {said}") from None
    if answer.recommended is None:
        raise RequestError(f"workdir={str(workdir)!r}: its answer recommends no number of blocks")
    trial = f"{COMPARE}-blocks{answer.recommended}-rate{rate!r}-seed0"
    folder = workdir / "trials" / trial
    if not (folder / network.JSON).exists():
        raise RequestError(f"{folder}: holds no trained network; a sweep with --keep=first in a new workdir leaves it")
    return Trained.load(folder)
