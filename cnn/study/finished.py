"""The results of a study's trials: their rows, their answers to the images, their networks, their metrics.

Results are passed in memory, keyed by the trial. Networks and metrics are read from the folders of the trials.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnn import files
from cnn.study.folder import StudyFolder, settings_of
from cnn.study.plan import Plan, Trial
from cnn.study.results import Row
from cnn.trained.network import Trained
from cnn.training.answers import Predictions
from cnn.training.folder import NOTHING, Outcome, Result
from cnn.training.metrics import Epoch


@dataclass(frozen=True, eq=False)
class Results:
    """The results of a study's trials."""

    plan: Plan
    folder: StudyFolder
    results: Mapping[Trial, Result]  # in the order of results.csv
    outcomes: Mapping[Trial, Outcome]  # of the comparison trials that finished and learnt something

    @property
    def workdir(self) -> Path:
        """The work folder."""
        return self.folder.path

    @property
    def rows(self) -> tuple[Row, ...]:
        """A row for each trial."""
        return tuple(trial.row(result) for trial, result in self.results.items())

    @property
    def failed(self) -> int:
        """How many trials failed."""
        return sum(result.status == "failed" for result in self.results.values())

    def correct(self, variant: Any) -> np.ndarray | None:
        """Which test images each finished comparison trial of a variant has right: bool [seeds, images], or None."""
        return _stacked([outcome.correct for outcome in self._outcomes(variant)])

    def val_correct(self, variant: Any) -> np.ndarray | None:
        """Which of its validation images each of these trials has right: bool [seeds, images], or None."""
        return _stacked([outcome.val_correct for outcome in self._outcomes(variant)])

    def trained(self, variant: Any, seed: int | None = None) -> Trained | None:
        """The trained network of a comparison trial, by default of the first seed that left one; None without one.

        Raises:
            RequestError: a file of the network is damaged or missing.
        """
        trials = [each for each in self.outcomes if each.variant == variant and seed in (None, each.config.seed)]
        networks = (self.folder.trial(each).trained(settings_of(self.plan, each)) for each in trials)
        return next(filter(None, networks), None)

    def arrays(self, variant: Any, seed: int) -> Mapping[str, np.ndarray]:
        """The arrays that the experiment measured on one trained network; empty where that trial has not finished."""
        trial = self._trial(variant, seed)
        return NOTHING if trial is None else self.outcomes[trial].arrays

    def predictions(self, variant: Any) -> list[Predictions]:
        """What each finished comparison trial of a variant takes the test images for; none of networks that locate."""
        known = [outcome.predictions for outcome in self._outcomes(variant)]
        return [predictions for predictions in known if predictions is not None]

    def epochs(self, variant: Any) -> dict[int, list[Epoch]]:
        """The metrics of each finished comparison trial of a variant, by its seed; the folders alone keep them."""
        trials = [trial for trial in self.outcomes if trial.variant == variant]
        return {trial.config.seed: self.folder.trial(trial).metrics() for trial in trials}

    def write_answer(self, values: Mapping[str, Any]) -> None:
        """Write `answer.json` into the work folder."""
        files.write_json(self.workdir / "answer.json", files.seal(dict(values)))

    def _trial(self, variant: Any, seed: int) -> Trial | None:
        """The comparison trial of a variant and a seed, if it has finished and learnt something."""
        return next((each for each in self.outcomes if (each.variant, each.config.seed) == (variant, seed)), None)

    def _outcomes(self, variant: Any) -> list[Outcome]:
        return [outcome for trial, outcome in self.outcomes.items() if trial.variant == variant]


def _stacked(right: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [images for images in right if images is not None]
    return np.stack(known) if known else None
