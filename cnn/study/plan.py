"""A study and its trials, checked once: which networks are compared, at which learning rates, on which seeds.

A study has two phases, each with seeds of its own. `tune` tries every learning rate on a few seeds and reads validation
data alone; `compare` runs each variant at its best rate on fresh seeds and reads the test set once for each trial.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnn.config import FIRST_TUNING_SEED, NetworkConfig, StudyConfig, TrialConfig, to_json
from cnn.data.content import Dataset
from cnn.errors import RequestError
from cnn.network import models
from cnn.study import tuning
from cnn.study.results import Row, variant_name
from cnn.training.folder import Result
from cnn.training.prepared import Prepared, prepare_trials
from cnn.training.trial import Measure

TUNE = "tune"
COMPARE = "compare"


@dataclass(frozen=True, eq=False)
class Study:
    """What is compared: a network for each value of a column, under settings that all share.

    Args:
        experiment: its name.
        column: what the variants are values of, such as `blocks`.
        variants: the network of each variant, matched widths included.
        config: the settings that all share.
        dataset: the images that the networks learn from.
        measure: what a comparison trial measures beside accuracy.
        varies: settings of the network that tell the variants apart. Each variant has its own value, and the one in
            `config` means nothing.
        grows: settings that list the variants; they may grow in an old folder.
    """

    experiment: str
    column: str
    variants: Mapping[Any, NetworkConfig]
    config: StudyConfig
    dataset: Dataset
    measure: Measure | None = None
    varies: tuple[str, ...] = ()
    grows: tuple[str, ...] = ()

    def measured_by(self, phase: str) -> str:
        """The experiment that measures something of its own on the trials of a phase; "" where none does."""
        return self.experiment if self.measure is not None and phase == COMPARE else ""

    def settings(self) -> dict[str, Any]:
        """The settings and variants as plain values, equal to what a file of them gives when it is read."""
        networks = {str(variant): to_json(network) for variant, network in self.variants.items()}
        shared = to_json(self.config)
        shared["network"] = {name: value for name, value in shared["network"].items() if name not in self.varies}
        return json.loads(json.dumps({"experiment": self.experiment, **shared, "variants": networks}))

    def trial(self, phase: str, variant: Any, learning_rate: float, seed: int) -> "Trial":
        """One trial of the study."""
        config = TrialConfig(
            dataset=self.config.dataset,
            image_size=self.config.image_size,
            validation_fraction=self.config.validation_fraction,
            learning_rate=float(learning_rate),  # of a NumPy number, `Trial.name` would differ
            seed=seed,
            network=self.variants[variant],
            training=self.config.training,
            scene=self.config.scene,
        )
        return Trial(phase, self.column, variant, config)


@dataclass(frozen=True)
class Trial:
    """One trial of a study: its phase, the value of the study's column, and its settings."""

    phase: str
    column: str
    variant: Any
    config: TrialConfig

    @property
    def name(self) -> str:
        """The name of its folder."""
        return trial_name(self.phase, self.column, self.variant, self.config.learning_rate, self.config.seed)

    @property
    def words(self) -> str:
        """The trial in words, such as `3 blocks, learning rate 0.003, seed 1000001`."""
        variant = variant_name(self.column, self.variant)
        return f"{variant}, learning rate {self.config.learning_rate:g}, seed {self.config.seed}"

    @property
    def variant_slug(self) -> str:
        """The variant's name, fit for a file, such as `3_blocks`."""
        return _slug(variant_name(self.column, self.variant))

    @property
    def sizes(self) -> dict[str, float | None]:
        """Width and hidden units of its network; None where the network has no such setting."""
        used = models.used(self.config.network)
        plain = to_json(self.config.network)
        return {name: plain[name] if name in used else None for name in ("width", "hidden")}

    def row(self, result: Result) -> Row:
        """The trial and its result as a row for the statistics."""
        return Row(self.phase, self.variant, self.config.learning_rate, self.config.seed, result)


def trial_name(phase: str, column: str, variant: Any, learning_rate: float, seed: int) -> str:
    """The name of a trial's folder.

    Example:
        >>> trial_name("compare", "blocks", 2, 0.003, seed=0)
        'compare-blocks2-rate0.003-seed0'
    """
    return f"{phase}-{column}{_slug(str(variant))}-rate{learning_rate!r}-seed{seed}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name)


@dataclass(frozen=True, eq=False)
class Plan:
    """A study that can run: its settings suit its data."""

    study: Study
    prepared: Mapping[Any, Prepared]  # what the trials of each variant have in common
    grid: tuple[float, ...]  # the learning rates to choose from, for every variant

    @property
    def tunes(self) -> bool:
        """Whether there is more than one learning rate to choose from."""
        return len(self.grid) > 1

    @property
    def extends(self) -> bool:
        """Whether the grid may extend itself; a grid that was asked for does not."""
        return not self.study.config.learning_rates

    def widest(self) -> "Plan":
        """The plan with every learning rate that the grid can come to hold."""
        return replace(self, grid=tuning.widest(self.grid)) if self.extends else self

    def tuning(self) -> list[Trial]:
        """The trials that choose the learning rates; none where one rate is given."""
        config = self.study.config
        seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + config.tuning_seeds)
        rates = self.grid if self.tunes else ()
        return self._trials(TUNE, dict.fromkeys(self.study.variants, rates), seeds)

    def comparing(self, rates: Mapping[Any, Sequence[float]] | None = None) -> list[Trial]:
        """The trials that compare.

        Args:
            rates: learning rates of each variant; without them, every rate of the grid.
        """
        config = self.study.config
        rates = dict.fromkeys(self.study.variants, self.grid) if rates is None else rates
        return self._trials(COMPARE, rates, range(config.seeds))

    def fits(self, network: NetworkConfig) -> bool:
        """Whether a network could be one more variant: whether it suits the images and the other settings."""
        try:
            plan_study(replace(self.study, variants={"": network}))
        except RequestError:
            return False
        return True

    def _trials(self, phase: str, rates: Mapping[Any, Sequence[float]], seeds: Iterable[int]) -> list[Trial]:
        """The trials of a phase, those of one variant together."""
        return [
            self.study.trial(phase, variant, rate, seed)
            for variant in self.study.variants
            for rate in rates.get(variant, ())
            for seed in seeds
        ]


def plan_study(study: Study) -> Plan:
    """Check a study, once; nothing is written and nothing is computed on a device.

    Raises:
        RequestError: a name is unknown, a network does not fit the images, a batch is larger than the training part, or
            another setting does not suit the data.
    """
    rate = study.config.grid[0]
    trials = {variant: study.trial(COMPARE, variant, rate, seed=0) for variant in study.variants}
    prepared = {variant: prepare_trials(trial.config, study.dataset) for variant, trial in trials.items()}
    return Plan(study, prepared, study.config.grid)
