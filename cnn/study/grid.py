"""Variants x learning rates x seeds: which trials are missing, and running them. The harness of every experiment.

A study has two phases, each with seeds of its own. `tune` tries every learning rate on a few seeds and reads validation
data alone; `compare` runs each variant at its best rate on fresh seeds and reads the test set once for each trial. A
trial is one folder under `trials/`; what is finished is kept, so that the same command again does only what is missing.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from cnn.config import FIRST_TUNING_SEED, NetworkConfig, RequestError, SceneConfig, StudyConfig, TrialConfig, to_json
from cnn.data.datasets import Dataset, split
from cnn.network import summary
from cnn.progress import Progress
from cnn.study.tuning import best_learning_rates
from cnn.training import replicas, trial
from cnn.training.runs import TrialFolder, default_workdir, differences, read_json, write, write_config
from cnn.training.strategies import largest_group

if TYPE_CHECKING:
    import pandas as pd

GROWABLE = ("learning_rates", "seeds", "variants")  # what may grow in an old folder, beside `Study.grows`
IMAGES = SceneConfig()  # the images as they are
RESULTS = "results.csv"
FIRST_COLUMNS = ("status", "parameters", "macs", "val_accuracy", "test_accuracy", "train_seconds")


@dataclasses.dataclass(frozen=True)
class Study:
    """What is compared: a network for each value of a column (`blocks`), under settings that all share."""

    experiment: str
    column: str
    variants: dict[Any, NetworkConfig]
    config: StudyConfig
    scene: SceneConfig = IMAGES
    measure: trial.Measure | None = None  # what a comparison trial measures beside accuracy
    grows: tuple[str, ...] = ()  # settings that list the variants, which may grow in an old folder

    def settings(self) -> dict[str, Any]:
        """What `config.json` holds; the variants are there as they will be built, matched widths included."""
        networks = {str(value): to_json(network) for value, network in self.variants.items()}
        fixed = {"experiment": self.experiment, **to_json(self.config), "scene": to_json(self.scene)}
        return {**fixed, "variants": networks}

    def default_workdir(self) -> Path:
        """`runs/EXPERIMENT/DATASET-HASH`; what may grow is not in the hash."""
        fixed = {name: value for name, value in self.settings().items() if name not in (*GROWABLE, *self.grows)}
        return default_workdir(self.experiment, self.config.dataset, fixed)

    def cells(self, phase: str, rates: dict[Any, tuple[float, ...]], seeds: range) -> list["Cell"]:
        """The trials of a phase, those of one variant together."""
        shared = {name: getattr(self.config, name) for name in ("dataset", "validation_fraction", "training")}
        return [
            Cell(
                phase,
                self.column,
                value,
                TrialConfig(**shared, learning_rate=rate, seed=seed, network=network, scene=self.scene),
            )
            for value, network in self.variants.items()
            for rate in rates.get(value, ())
            for seed in seeds
        ]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One trial of a study: its phase, the value of the study's column, and its settings."""

    phase: str
    column: str
    value: Any
    config: TrialConfig

    @property
    def name(self) -> str:
        """The name of its folder."""
        value = re.sub(r"[^A-Za-z0-9_.]+", "_", str(self.value))
        return f"{self.phase}-{self.column}{value}-rate{self.config.learning_rate!r}-seed{self.config.seed}"

    def row(self, result: dict[str, Any]) -> dict[str, Any]:
        """Its line of `results.csv`."""
        trial_columns = {"learning_rate": self.config.learning_rate, "seed": self.config.seed}
        network = {"width": self.config.network.width, "hidden": self.config.network.hidden}
        first = {name: result.get(name) for name in FIRST_COLUMNS}
        rest = {name: value for name, value in result.items() if name not in FIRST_COLUMNS}
        return {"phase": self.phase, self.column: self.value, **trial_columns, **first, **network, **rest}


def check(study: Study, dataset: Dataset) -> None:
    """Refuse what could not run: a network that does not fit, a batch larger than the data, an empty validation part.

    Raises:
        RequestError: before anything is written.
    """
    train, _ = split(dataset.train_labels, study.config.validation_fraction, seed=0)
    for cell in study.cells("compare", {value: study.config.learning_rates[:1] for value in study.variants}, range(1)):
        replicas.program(cell.config, dataset, len(train))


def open_folder(study: Study, dataset: Dataset, workdir: Path) -> None:
    """Write the study's settings into its work folder, or check them against those already there.

    Raises:
        RequestError: settings or data that differ in more than growth, or a folder that cannot be written.
    """
    new = {**study.settings(), "dataset_fingerprint": dataset.fingerprint}
    old = read_json(workdir / "config.json")
    if old is not None:
        fixed = {name: value for name, value in new.items() if name not in (*GROWABLE, *study.grows)}
        changed = differences({name: old.get(name) for name in fixed}, fixed)
        if old.keys() == new.keys():
            listed = study.grows or ("variants",)
            changed += _shrunk(old, new, ("learning_rates", *listed)) + _reshaped(old, new)
        if changed:
            raise RequestError(f"workdir={str(workdir)!r} holds other settings ({'; '.join(changed)}): choose another")
    if old != new:
        write_config(workdir, new)


def _shrunk(old: dict[str, Any], new: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    lost = [
        f"{name}: {list(old[name])}, now {list(new[name])}" for name in names if not set(old[name]) <= set(new[name])
    ]
    return lost + ([f"seeds: {old['seeds']}, now {new['seeds']}"] if old["seeds"] > new["seeds"] else [])


def _reshaped(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Variants that changed though no setting did: a deeper reference gives the others another matched width."""
    common = {value: network for value, network in old["variants"].items() if value in new["variants"]}
    return differences(common, {value: new["variants"][value] for value in common}, "variants.")


def run(study: Study, dataset: Dataset, workdir: Path, progress: Progress = Progress()) -> "pd.DataFrame":
    """Run the trials that are missing, tuning first; returns and writes `results.csv`, a row for each trial.

    A diverged trial is a result. A trial that fails while it runs is recorded with its reason, and the study goes on;
    it is tried again by the next run.

    Raises:
        RequestError: the request cannot be met; nothing has been written then.
    """
    check(study, dataset)
    open_folder(study, dataset, workdir)
    config, rows = study.config, []
    rates = {value: config.learning_rates for value in study.variants}
    if len(config.learning_rates) > 1:
        seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + config.tuning_seeds)
        _run_cells(study, study.cells("tune", rates, seeds), dataset, workdir, rows, progress)
        best = best_learning_rates(read_results(workdir), study.column)
        rates = {value: (_given(config.learning_rates, best[value].learning_rate),) for value in study.variants}
    _run_cells(study, study.cells("compare", rates, range(config.seeds)), dataset, workdir, rows, progress)
    return read_results(workdir)


def _given(rates: tuple[float, ...], read: float) -> float:
    """The rate that was asked for; what a table gives back may differ in the last digit."""
    return min(rates, key=lambda rate: abs(rate - read))


def _run_cells(
    study: Study, cells: list[Cell], dataset: Dataset, workdir: Path, rows: list[dict], progress: Progress
) -> None:
    """Run what is missing of a phase and append a row for each cell, in the order of the cells."""
    folders = {cell: TrialFolder(workdir / "trials" / cell.name) for cell in cells}
    results = {cell: folders[cell].result() for cell in cells}
    missing = [cell for cell in cells if results[cell] is None]
    with progress.task(f"{cells[0].phase}: trials", len(cells), len(cells) - len(missing)) as task:
        for group in _groups(missing):
            results.update(zip(group, _run_group(study, group, dataset, [folders[cell] for cell in group], progress)))
            known = [cell.row(results[cell]) for cell in cells if results[cell] is not None]
            _write_results(workdir, rows + known)
            task.advance(len(group), note=group[-1].name)
    rows += [cell.row(results[cell]) for cell in cells]
    _write_results(workdir, rows)


def _groups(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Cells that share a program, as many together as the device does best."""
    size = largest_group()  # once: the cores that a process may use can change
    for _, same in itertools.groupby(cells, key=lambda cell: cell.config.network):
        waiting = list(same)
        while waiting:
            yield waiting[:size]
            del waiting[:size]


def _run_group(
    study: Study, group: list[Cell], dataset: Dataset, folders: list[TrialFolder], progress: Progress
) -> list[dict[str, Any]]:
    configs, test = [cell.config for cell in group], group[0].phase == "compare"
    try:
        return trial.run_together(configs, dataset, folders, test=test, measure=study.measure, progress=progress)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        program = replicas.program(configs[0], dataset, len(dataset.train_labels))
        cost = summary.cost(program.network, program.task.image_shape)
        failed = {"status": "failed", **cost._asdict(), "reason": reason}
        for folder, cell in zip(folders, group):
            folder.finish(failed)
            progress.line(f"{cell.name} failed: {reason}")
        return [failed] * len(group)


def _write_results(workdir: Path, rows: list[dict[str, Any]]) -> None:
    import pandas as pd

    write(workdir / RESULTS, pd.DataFrame(rows).to_csv(index=False))


def read_results(workdir: Path) -> "pd.DataFrame":
    """The rows of a study's `results.csv`; what is unknown is NaN."""
    import pandas as pd

    return pd.read_csv(workdir / RESULTS, keep_default_na=False, na_values=[""])


def correct_images(study: Study, results: "pd.DataFrame", workdir: Path) -> dict[Any, np.ndarray]:
    """For each variant, which test images each finished comparison trial got right: booleans, [seeds, images]."""
    done = results[(results["phase"] == "compare") & (results["status"] == "done")]
    rates = {value: (float(trials["learning_rate"].iloc[0]),) for value, trials in done.groupby(study.column)}
    found: dict[Any, list[np.ndarray]] = {}
    for cell in study.cells("compare", rates, range(study.config.seeds)):
        right = TrialFolder(workdir / "trials" / cell.name).correct_images()
        if right is not None:
            found.setdefault(cell.value, []).append(right)
    return {value: np.stack(flags) for value, flags in found.items()}
