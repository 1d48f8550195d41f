"""The work folder of a study: its settings (some of which may grow), its trials, and the table of their results.

`config.json` holds the settings, `trials/` a folder for each trial, `results.csv` a line for each. The table is written
for people and other programs; this project never reads it back.
"""

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn import files
from cnn import machine as machines
from cnn.errors import RequestError
from cnn.machine import Machine
from cnn.places import refuse_object_store
from cnn.study.plan import Plan, Trial
from cnn.trained.kept import WEIGHTS
from cnn.training.folder import PROVENANCE, Result, TrialFolder, config_of, kept_settings
from cnn.training.record import settings

GROWABLE = ("learning_rates", "seeds", "variants")  # what may grow in an old folder, beside `Study.grows`
FIRST_COLUMNS = ("status", "parameters", "macs", "val_accuracy", "test_accuracy", "train_seconds")


class Opened(NamedTuple):
    """What a work folder holds when a run opens it."""

    begun_on: Machine  # the machine of the study's first start
    finished: dict[Trial, Result]  # see `StudyFolder.check`


class StudyFolder:
    """The work folder of one study; nothing is written before `open`."""

    def __init__(self, path: Path) -> None:
        refuse_object_store("workdir", path)
        self.path = Path(path)

    @property
    def config(self) -> Path:
        """The file of the settings."""
        return self.path / "config.json"

    @property
    def results(self) -> Path:
        """The table of results."""
        return self.path / "results.csv"

    def trial(self, trial: Trial) -> TrialFolder:
        """The folder of one trial."""
        return TrialFolder(self.path / "trials" / trial.name)

    @contextlib.contextmanager
    def held(self, trial: Trial, seconds: float = 0.0) -> Iterator[None]:
        """Keep others out of a trial's folder; wait so long for one who is in it.

        Raises:
            InUseError: somebody is still there.
            OSError: the folder cannot be locked.
        """
        import filelock

        path = self.trial(trial).path
        with contextlib.ExitStack() as stack:
            try:
                path.mkdir(parents=True, exist_ok=True)
                lock = filelock.FileLock(path / files.LOCK)
                stack.enter_context(lock.acquire(timeout=seconds, poll_interval=0.2))
            except filelock.Timeout:
                raise files.InUseError(f"{path}: in use by another process: wait, or choose another workdir") from None
            yield

    def begun(self, trials: Sequence[Trial]) -> dict[Trial, int]:
        """How many steps the newest checkpoint of each trial has done; 0 without one."""
        return {trial: self.trial(trial).checkpoints().newest() for trial in trials}

    def without_network(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those of the trials whose folder has no trained network."""
        return [trial for trial in trials if not (self.trial(trial).path / WEIGHTS).exists()]

    def check(self, plan: Plan) -> dict[Trial, Result]:
        """Refuse a work folder of other settings or data. Settings that may grow may have more values than before.

        The folders of the plan's trials are checked too, so that the study's `config.json` can be removed at no risk.

        Returns:
            The results of those trials, of the widest grid, that an earlier run has finished.

        Raises:
            RequestError: the message names what differs, with both values; or the folder has another format.
        """
        files.require_files(self.path)
        self._check_settings(plan)
        widest = plan.widest()
        trials = [*widest.tuning(), *widest.comparing()]
        folders = {trial: self.trial(trial).path for trial in trials}
        for path in dict.fromkeys([self.path / "trials", *folders.values()]):
            if path.is_symlink():  # what it leads to could be deleted
                raise RequestError(f"{path}: must be a folder, not a link: choose another workdir")
        return self.finished(plan)

    def finished(self, plan: Plan) -> dict[Trial, Result]:
        """The results of the plan's trials, of the widest grid, that have finished.

        Raises:
            RequestError: a trial's folder holds another trial, or a result is damaged.
        """
        widest = plan.widest()
        there = [trial for trial in (*widest.tuning(), *widest.comparing()) if self.trial(trial).path.exists()]
        results = {trial: self.trial(trial).result(settings_of(plan, trial)) for trial in there}
        return {trial: result for trial, result in results.items() if result is not None}

    def _check_settings(self, plan: Plan) -> None:
        old = kept_settings(self.config)
        if old is None:
            return
        new = _settings(plan)
        growable = (*GROWABLE, *plan.study.grows)
        fixed = {name: value for name, value in new.items() if name not in growable}
        changed = files.differences({name: old.get(name) for name in fixed}, fixed)
        try:
            if old.keys() == new.keys():
                changed += _shrunk(old, new, ("learning_rates", *(plan.study.grows or ("variants",))))
                changed += _reshaped(old, new)
        except (AttributeError, TypeError) as error:  # values of a type that this project does not write
            raise RequestError(f"{self.config}: is damaged; remove it, or choose another workdir") from error
        if changed:
            raise RequestError(
                f"workdir={str(self.path)!r} holds other settings ({'; '.join(changed)}): choose another workdir"
            )

    def open(self, plan: Plan, here: Machine) -> Opened:
        """Write the study's settings, or check them against those already there.

        Raises:
            RequestError: the folder holds other settings, see `check`.
        """
        finished = self.check(plan)
        old = files.read_json(self.config) or {}
        made_by: Any = old.get(PROVENANCE)
        try:
            begun_on = Machine.from_json(made_by["machine"])
        except (KeyError, TypeError, RequestError):  # no provenance, or damaged: it is written anew
            made_by = machines.provenance(here)
            begun_on = here
        new = config_of(_settings(plan), made_by)
        if old != new:
            files.write_json(self.config, new)
        return Opened(begun_on, finished)

    def write_results(self, results: Mapping[Trial, Result]) -> None:
        """Write the table: a line for each trial; what is unknown is empty."""
        lines = [_line(trial, result) for trial, result in results.items()]
        columns = list(dict.fromkeys(name for line in lines for name in line))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        files.write(self.results, text.getvalue())


def settings_of(plan: Plan, trial: Trial) -> dict[str, Any]:
    """The plain values that a trial's folder keeps of its settings and its data."""
    return settings(trial.config, plan.study.dataset, plan.study.measured_by(trial.phase))


def _settings(plan: Plan) -> dict[str, Any]:
    return {**plan.study.settings(), "dataset_fingerprint": plan.study.dataset.fingerprint}


def _shrunk(old: dict[str, Any], new: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """Settings that lost a value; the number of seeds may not fall either."""
    lost = [
        f"{name}: {list(old[name])}, now {list(new[name])}" for name in names if not set(old[name]) <= set(new[name])
    ]
    return lost + ([f"seeds: {old['seeds']}, now {new['seeds']}"] if old["seeds"] > new["seeds"] else [])


def _reshaped(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Variants that changed though no setting did; for example, a deeper reference changes the others' width."""
    common = {variant: network for variant, network in old["variants"].items() if variant in new["variants"]}
    return files.differences(common, {variant: new["variants"][variant] for variant in common}, "variants.")


def _line(trial: Trial, result: Result) -> dict[str, Any]:
    """A trial's line of the table."""
    values = result.to_json()
    return {
        "phase": trial.phase,
        trial.column: trial.variant,
        "learning_rate": trial.config.learning_rate,
        "seed": trial.config.seed,
        **{name: values.get(name) for name in FIRST_COLUMNS},
        **trial.sizes,
        **{name: value for name, value in values.items() if name not in FIRST_COLUMNS},
    }
