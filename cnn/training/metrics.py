"""The metrics of an epoch, and their file: one line of JSON for each epoch.

Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "metrics.jsonl"
    >>> write_epochs(path, [Epoch(epoch=1, train_loss=0.5, train_accuracy=0.9)])
    >>> read_epochs(path)[0].train_accuracy
    0.9
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn import files
from cnn.errors import RequestError
from cnn.training.step import Totals

COLLAPSE = 0.001  # p-value at which a network counts as better than chance, or as worse than one that has learnt


@dataclass(frozen=True)
class Epoch:
    """The metrics of one replica in one epoch: means over images, accuracies as fractions, None where unknown."""

    epoch: int  # from 1
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    seconds: float = 0.0  # of the training steps

    @classmethod
    def of(cls, epoch: int, train: Totals, validation: Totals, seconds: float) -> "Epoch":
        """The means of an epoch's sums."""
        return cls(epoch, *_means(train), *_means(validation), seconds)

    def to_json(self) -> dict[str, Any]:
        """The plain values of a line."""
        return dataclasses.asdict(self)


def _means(totals: Totals) -> tuple[float | None, float | None]:
    """Mean loss and accuracy; a loss that is not finite is None."""
    count = int(totals.count)
    if not count:
        return None, None
    loss = float(totals.loss) / count
    return loss if math.isfinite(loss) else None, int(totals.correct) / count


def read_epochs(path: Path) -> list[Epoch]:
    """The epochs in a file, none where there is no file.

    Raises:
        RequestError: the file is damaged.
    """
    if not path.exists():
        return []
    try:
        return [Epoch(**json.loads(line)) for line in path.read_text().splitlines()]
    except (ValueError, TypeError):
        again = f"remove {path.parent}, and the command that made it runs that trial again"
        raise RequestError(f"{path}: is damaged; {again}") from None


def write_epochs(path: Path, epochs: Sequence[Epoch]) -> None:
    """Write all epochs so far. The file is small, and rewriting it keeps it whole."""
    files.write(path, "".join(json.dumps(epoch.to_json(), allow_nan=False) + "\n" for epoch in epochs))


def at_chance(right: int, images: int, commonest: float) -> bool | None:
    """Whether a network is no better than always answering the commonest class: a training that has collapsed.

    Two one-sided binomial tests at 0.001 decide. The first asks whether the share of right images is above `commonest`:
    if so, the network has learnt. The second asks whether the network is worse than one that avoids half of the errors
    of always answering the commonest class: if so, and only then, it has collapsed. With few images, or with one very
    common class, neither test may reject; then the images do not tell. So no perfect network counts as collapsed.

    Args:
        right: how many images it has right.
        images: of how many.
        commonest: share of the commonest class.

    Returns:
        Whether it has collapsed; None where the images do not tell.

    Example:
        >>> at_chance(15, 144, commonest=0.1), at_chance(140, 144, commonest=0.1), at_chance(60, 60, commonest=0.9)
        (True, False, None)
    """
    from scipy import stats

    if stats.binom.sf(right - 1, images, commonest) < COLLAPSE:
        return False
    half_learnt = (1 + commonest) / 2
    return True if stats.binom.cdf(right, images, half_learnt) < COLLAPSE else None
