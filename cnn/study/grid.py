"""Variants x learning rates x seeds: which trials are missing, and running them. The harness of every experiment.

A study has two phases, each with seeds of its own. `tune` tries every learning rate on a few seeds and reads validation
data alone; `compare` runs each variant at its best rate on fresh seeds and reads the test set once for each trial. A
trial is one folder under `trials/`; what is finished is kept, so that the same command again does only what is missing.
"""

import contextlib
import dataclasses
import itertools
import re
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.config import FIRST_TUNING_SEED, NetworkConfig, RequestError, SceneConfig, StudyConfig, TrialConfig, to_json
from cnn.data.datasets import Dataset, split
from cnn.network import models, summary
from cnn.progress import Progress
from cnn.study.tuning import best_learning_rates
from cnn.training import replicas, trial
from cnn.training.lock import writer
from cnn.training.provenance import digest, machine, provenance
from cnn.training.runs import (
    PROVENANCE,
    TrialFolder,
    default_workdir,
    differences,
    read_json,
    settings_of,
    write,
    write_json,
)
from cnn.training.strategies import largest_group

if TYPE_CHECKING:
    import pandas as pd

GROWABLE = ("learning_rates", "seeds", "variants")  # what may grow in an old folder, beside `Study.grows`
IMAGES = SceneConfig()  # the images as they are
RESULTS = "results.csv"
SIZES = ("width", "hidden")  # empty where the model has no such setting
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
        used = models.SETTINGS[self.config.network.model]
        network = {name: getattr(self.config.network, name) if name in used else "" for name in SIZES}
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


def check_folder(study: Study, dataset: Dataset, workdir: Path) -> None:
    """Refuse a work folder of other settings or data; what may grow in an old folder may.

    Raises:
        RequestError: the message names what differs, with both values.
    """
    new, old = _settings(study, dataset), read_json(workdir / "config.json")
    if old is None:
        return
    old = settings_of(old)
    fixed = {name: value for name, value in new.items() if name not in (*GROWABLE, *study.grows)}
    changed = differences({name: old.get(name) for name in fixed}, fixed)
    try:
        if old.keys() == new.keys():
            changed += _shrunk(old, new, ("learning_rates", *(study.grows or ("variants",)))) + _reshaped(old, new)
    except (AttributeError, TypeError) as error:  # not what this project writes
        raise RequestError(f"{workdir / 'config.json'}: is damaged; remove it, or choose another workdir") from error
    if changed:
        raise RequestError(f"workdir={str(workdir)!r} holds other settings ({'; '.join(changed)}): choose another")


def open_folder(study: Study, dataset: Dataset, workdir: Path) -> dict[str, Any]:
    """Write the study's settings into its work folder, or check them against those already there.

    Returns:
        The machine on which the study was begun.

    Raises:
        RequestError: see `check_folder`.
    """
    check_folder(study, dataset, workdir)
    new, old = _settings(study, dataset), read_json(workdir / "config.json") or {}
    made_by = old.get(PROVENANCE)
    if not isinstance(made_by, dict) or not isinstance(made_by.get("machine"), dict):
        made_by = provenance()
    if old != {**new, PROVENANCE: made_by}:
        write_json(workdir / "config.json", {**new, PROVENANCE: made_by})
    return made_by["machine"]


def _settings(study: Study, dataset: Dataset) -> dict[str, Any]:
    return {**study.settings(), "dataset_fingerprint": dataset.fingerprint}


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
    """Run the trials that are missing, tuning first; returns what `running` gives."""
    with running(study, dataset, workdir, progress) as results:
        return results


@contextlib.contextmanager
def running(study: Study, dataset: Dataset, workdir: Path, progress: Progress = Progress()) -> Iterator["pd.DataFrame"]:
    """Run the trials that are missing, tuning first; writes and gives `results.csv`, a row for each trial.

    Nobody else writes into the work folder before the block ends, so an answer written inside goes with the results.
    A diverged trial is a result. A trial that fails while it runs is recorded with its reason, and the study goes on;
    it is tried again by the next run.

    Raises:
        RequestError: the request cannot be met; nothing has been written then.
    """
    check(study, dataset)
    check_folder(study, dataset, workdir)
    with writer(workdir):
        _Running(study, dataset, workdir, open_folder(study, dataset, workdir), progress).run()
        yield read_results(workdir)


def _given(rates: tuple[float, ...], read: float) -> float:
    """The rate that was asked for; what a table gives back may differ in the last digit."""
    return min(rates, key=lambda rate: abs(rate - read))


class _Running:
    """A study on its way: what its phases share, and the rows of those that have run."""

    def __init__(
        self, study: Study, dataset: Dataset, workdir: Path, begun_on: dict[str, Any], progress: Progress
    ) -> None:
        self.study, self.dataset, self.workdir, self.progress = study, dataset, workdir, progress
        self.elsewhere, self.begun_on = differences(begun_on, machine()), digest(begun_on)
        self.rows: list[dict[str, Any]] = []
        self.failed: list[str] = []

    def run(self) -> None:
        """Both phases, or what is missing of them."""
        study, config = self.study, self.study.config
        rates = {value: config.learning_rates for value in study.variants}
        if len(config.learning_rates) > 1:
            seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + config.tuning_seeds)
            compared = study.cells("compare", rates, range(config.seeds))
            self.run_cells(study.cells("tune", rates, seeds), after=self._known(compared))
            best = best_learning_rates(read_results(self.workdir), study.column)
            rates = {value: (_given(config.learning_rates, best[value].learning_rate),) for value in study.variants}
        self.run_cells(study.cells("compare", rates, range(config.seeds)))
        if self.failed:
            self.progress.line(f"failed: {', '.join(self.failed)}; the same command tries again")

    def run_cells(self, cells: list[Cell], after: Iterable[dict[str, Any]] = ()) -> None:
        """Run what is missing of a phase and append a row for each cell, in their order.

        Until then the table also has the rows `after`: trials that an earlier run has finished stay in it.
        """
        results = {cell: self._folder(cell).result() for cell in cells}
        missing = [cell for cell in cells if results[cell] is None]
        for cell in set(cells) - set(missing):
            self._folder(cell).remove_leftovers()
        if missing and self.elsewhere:
            changed, self.elsewhere = "; ".join(self.elsewhere), []
            self.progress.line(f"{self.workdir}: continued on another machine, to other bits ({changed})")
        with self.progress.task(f"{cells[0].phase}: trials", len(cells), len(cells) - len(missing)) as task:
            for group in self._groups(missing):
                results.update(zip(group, self._run_group(group)))
                _write_results(self.workdir, [*self.rows, *self._rows(results), *after])
                task.advance(len(group), note=group[-1].name)
        self.rows += self._rows(results)
        _write_results(self.workdir, [*self.rows, *after])

    def _folder(self, cell: Cell) -> TrialFolder:
        return TrialFolder(self.workdir / "trials" / cell.name)

    def _known(self, cells: list[Cell]) -> list[dict[str, Any]]:
        return self._rows({cell: self._folder(cell).result() for cell in cells})

    def _rows(self, results: dict[Cell, dict[str, Any] | None]) -> list[dict[str, Any]]:
        """The rows of what has run; `same_machine` is said of the whole study."""
        rows = []
        for cell, result in results.items():
            if result is not None and "same_machine" in result:
                here = result["same_machine"] and result["machine"] == self.begun_on
                result = result | {"same_machine": here}
            rows += [cell.row(result)] if result is not None else []
        return rows

    def _groups(self, cells: list[Cell]) -> Iterator[list[Cell]]:
        """Cells that share a program and have come equally far, as many together as the device does best."""
        size = largest_group()  # once: the cores that a process may use can change
        steps = {cell: max(self._folder(cell).checkpoints().steps(), default=0) for cell in cells}
        for _, same in itertools.groupby(cells, key=lambda cell: cell.config.network):
            for _, level in itertools.groupby(sorted(same, key=steps.__getitem__, reverse=True), key=steps.__getitem__):
                waiting = list(level)
                while waiting:
                    yield waiting[:size]
                    del waiting[:size]

    def _run_group(self, group: list[Cell]) -> list[dict[str, Any]]:
        """The results of cells that run together; one that fails leaves its reason, and the others run without it."""
        folders, test = [self._folder(cell) for cell in group], group[0].phase == "compare"
        options: dict[str, Any] = {"test": test, "measure": self.study.measure, "progress": self.progress}
        try:
            return trial.run_together([cell.config for cell in group], self.dataset, folders, **options)
        except (RequestError, OSError):  # the request, the disk: no trial can go on
            raise
        except Exception as error:
            if len(group) > 1:
                return [result for cell in group for result in self._run_group([cell])]
            return [self._record_failure(group[0], folders[0], error)]

    def _record_failure(self, cell: Cell, folder: TrialFolder, error: Exception) -> dict[str, Any]:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        program = replicas.program(cell.config, self.dataset, len(self.dataset.train_labels))
        cost = summary.cost(program.network, program.task.image_shape)
        failed = {"status": "failed", **cost._asdict(), "reason": reason}
        folder.fail(failed, "".join(traceback.format_exception(error)))
        self.failed.append(cell.name)
        self.progress.line(f"{cell.name} failed: {reason}")
        return failed


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
    rates: dict[Any, tuple[float, ...]] = {
        value: (float(trials["learning_rate"].iloc[0]),) for value, trials in done.groupby(study.column)
    }
    found: dict[Any, list[np.ndarray]] = {}
    for cell in study.cells("compare", rates, range(study.config.seeds)):
        right = TrialFolder(workdir / "trials" / cell.name).correct_images()
        if right is not None:
            found.setdefault(cell.value, []).append(right)
    return {value: np.stack(flags) for value, flags in found.items()}
