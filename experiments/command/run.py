"""From a command line to an exit status: parse the flags, load the data set, run, print."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from absl import flags as absl_flags

import experiments
from cnn.config import StudyConfig, TrialConfig
from cnn.data import cache, datasets, stream
from cnn.data.content import Dataset
from cnn.errors import RequestError, require, require_known
from cnn.places import refuse_object_store
from cnn.progress import Progress, automatic
from cnn.study import advice, run, tables
from cnn.study.beside import UnfinishedError
from cnn.study.forecast import forecast
from cnn.study.on_ray import OnRay
from cnn.study.plan import Plan
from cnn.study.ray_cluster import Cluster
from cnn.study.shards import WAIT, Shard
from cnn.training import following, tensorboard
from cnn.training.profile import require_writable
from experiments.command import flags, leave, process, quiet, shared
from experiments.command.experiment import Command, Config, Experiment, Options, Tool


@dataclass(frozen=True)
class Asked:
    """The values of the flags that are no settings."""

    workdir: Path | None
    data_dir: Path | None
    cache_dir: Path | None
    keep: str  # which trained networks stay, of a command that runs a study
    checkpoint_seconds: float
    tensorboard: bool
    stream: bool
    profile: Path | None
    dry_run: bool
    progress: Progress
    compiled_dir: Path | None = None  # where compiled programs are kept; None: nowhere
    shard: Shard | None = None  # the part of a study that runs here
    cluster: Cluster | None = None  # where the trials of a study run, if not here

    def executor(self) -> AbstractContextManager[OnRay | None]:
        """Where the trials of a study run; None: in this process."""
        if self.cluster is None:
            return contextlib.nullcontext()
        around = functools.partial(process.prepared, self.compiled_dir)
        return OnRay(self.cluster, self.stream, around, self.progress)

    def load(self, config: TrialConfig | StudyConfig) -> Dataset:
        """The data set that the settings name, found and cached where the flags say."""
        return datasets.load(
            config.dataset,
            image_size=config.image_size,
            data_dir=self.data_dir,
            cache_dir=self.cache_dir,
            progress=self.progress,
        )


Main = Callable[[Config, Asked], int]


def run_experiment(experiment: Experiment) -> NoReturn:
    """Run an experiment as the flags say, print its report, and end the process with its exit status."""

    def main(config: Config, asked: Asked) -> int:
        dataset = asked.load(config)
        if asked.dry_run:
            study = experiment.study(config, dataset)
            planned = run.overview(study, asked.workdir, asked.shard)
            rest = "All trials are done."
            if planned.missing:
                known = forecast(planned.plan, planned.missing, planned.finished, asked.progress, asked.stream)
                rest = f"{known.words()}{_not_counted(planned.plan)}"
            part = [f"This is the part of shard {asked.shard} alone."] if asked.shard else []
            part += (
                ["Ray shares this among its workers; the time is that of this process alone."] if asked.cluster else []
            )
            folder = f"Folder: {asked.workdir or run.default_workdir(study)}"
            return leave.say("\n\n".join([tables.overview_table(planned), *part, rest, folder]))
        try:
            with asked.executor() as executor:
                finished = experiment.run(
                    config,
                    dataset,
                    asked.workdir,
                    keep=asked.keep,
                    checkpoint_seconds=asked.checkpoint_seconds,
                    tensorboard=asked.tensorboard,
                    stream=asked.stream,
                    profile=asked.profile,
                    progress=asked.progress,
                    executor=executor,
                    shard=asked.shard,
                )
        except UnfinishedError as left:
            printed = leave.say(f"{left}; this continues: {experiments.again()}" if left.continues else str(left))
            return leave.FAILED if left.failed else printed
        whole = advice.without(advice.without(sys.orig_argv, "shard"), "shard_wait")
        printed = leave.say(finished.text(whole))
        return leave.FAILED if finished.results.failed else printed

    run_command(experiment, main)


def _not_counted(plan: Plan) -> str:
    """What a forecast leaves out, in a sentence."""
    more = ["learning rates that the grid may add"] if plan.extends else []
    more += ["what is measured after training"] if plan.study.measure else []
    return f" Not counted: {', and '.join(more)}." if more else ""


def run_command(command: Command[Config], main: Main) -> NoReturn:
    """Parse the flags of a command, call `main` with their values, and end the process with the status that it returns.

    Args:
        command: the command and its settings.
        main: does the work; an error that it raises becomes a line and an exit status, see `leave.status`.
    """
    os.environ.pop("MPLBACKEND", None)  # no picture needs a display, and a wrong name forbids to import matplotlib
    with quiet.orbax():
        status = leave.status(lambda: _called(command, main))
    experiments.end(status)


def run_tool(tool: Tool[Options], main: Callable[[Options], int]) -> NoReturn:
    """Parse the flags of a command that trains nothing, call `main` with their values, and end the process.

    Args:
        tool: the command and its flags.
        main: does the work, and returns the exit status; an error that it raises becomes a line, see `leave.status`.
    """
    with quiet.orbax():
        status = leave.status(lambda: _tool_called(tool, main))
    experiments.end(status)


def _called(command: Command[Config], main: Main) -> int:
    _require_folder()
    values = flags.define(command)
    if _help_asked():
        return _help(values, command)
    flags.parse(values, sys.argv)
    config = flags.configure(values, command)
    cluster = _cluster(values) if "launcher" in values else None
    place = shared.place(values.coordinator_address, values.num_processes, values.process_id)
    asked = _asked(values, cluster, leads=place is None or place.number == 0)
    crew = None if place is None else shared.join(place)
    if crew is None:
        return _with_programs_kept(values, lambda: main(config, asked))
    if crew.leads:
        return _with_programs_kept(values, lambda: main(config, replace(asked, progress=automatic())))
    silent = replace(asked, progress=Progress())
    return _with_programs_kept(values, lambda: following.follow(crew, silent.load(config)))


def _tool_called(tool: Tool[Options], main: Callable[[Options], int]) -> int:
    _require_folder()
    values = flags.define_tool(tool)
    if _help_asked():
        return _help(values, tool)
    options = flags.fill(values, tool, sys.argv)
    return _with_programs_kept(values, lambda: main(options))


def _require_folder() -> None:
    """Refuse a current folder that was removed: every path of the command line begins there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise RequestError("the current folder is gone; must be started in one that is there") from None


def _help_asked() -> bool:
    return bool(set(sys.argv[1:]) & {*flags.HELP, *flags.FULL_HELP})


def _help(values: absl_flags.FlagValues, command: Command | Tool) -> int:
    return leave.say(flags.help_text(values, command, full=bool(set(sys.argv[1:]) & set(flags.FULL_HELP))))


def _with_programs_kept(values: absl_flags.FlagValues, main: Callable[[], int]) -> int:
    """Call `main` with JAX's settings fixed; what it compiles is kept where the flag says."""
    if "launcher" in values and values.launcher == "ray" and not values.dry_run:
        _leave_devices_to_workers()
    with process.prepared(_compiled_dir(values)):
        return main()


def _leave_devices_to_workers() -> None:
    """Compute on the CPU in this process: JAX would take most of a GPU's memory."""
    import jax

    jax.config.update("jax_platforms", "cpu")


def _compiled_dir(values: absl_flags.FlagValues) -> Path | None:
    """The folder of compiled programs; None: they are not kept."""
    if values.compiled_dir == "":
        return None
    folder = flags.folder(values, "compiled_dir") or cache.default_folder() / "compiled"
    flags.require_utf8("compiled_dir", folder)
    return folder.absolute()


def _asked(values: absl_flags.FlagValues, cluster: Cluster | None, leads: bool) -> Asked:
    """The values of the flags that are no settings, checked; those of folders that are written where it leads."""
    seconds = values.checkpoint_seconds
    require(seconds >= 0, "checkpoint_seconds", seconds, "a number of at least 0")
    if "keep" in values:
        require_known("keep", values.keep, run.KEEPS)
    if values.tensorboard:
        tensorboard.require_installed()
    if values.stream:
        stream.require_installed()
        accepted = "false with coordinator_address: the devices of several processes hold the whole data set"
        require(values.coordinator_address is None, "stream", True, accepted)
    profile = flags.folder(values, "profile") if leads else None
    if profile is not None and not values.dry_run:
        require_writable(profile)
    if values.workdir:
        refuse_object_store("workdir", values.workdir)
    workdir = flags.folder(values, "workdir") if leads else None
    if workdir is None and leads:
        flags.require_utf8("workdir", Path())  # in whose `runs` it will be
    return Asked(
        workdir=workdir,
        data_dir=flags.folder(values, "data_dir"),
        cache_dir=flags.folder(values, "cache_dir"),
        keep=values.keep if "keep" in values else "all",
        checkpoint_seconds=seconds,
        tensorboard=values.tensorboard,
        stream=values.stream,
        profile=profile,
        dry_run=values.dry_run,
        progress=automatic(),
        compiled_dir=_compiled_dir(values),
        shard=_shard(values) if "shard" in values else None,
        cluster=cluster,
    )


def _shard(values: absl_flags.FlagValues) -> Shard | None:
    """The part of the study that this process runs; None: all of it."""
    wait = values.shard_wait
    if wait is not None:
        require(wait >= 0, "shard_wait", wait, "a number of at least 0")
        require(values.shard is not None, "shard_wait", wait, "given with shard=i/n alone")
    return None if values.shard is None else Shard.parse(values.shard, WAIT if wait is None else wait)


def _cluster(values: absl_flags.FlagValues) -> Cluster | None:
    """The Ray cluster on which the trials run; None: they run in this process.

    Raises:
        RequestError: a value is refused, or does not go with the launcher; or Ray is not installed.
    """
    require_known("launcher", values.launcher, flags.LAUNCHERS)
    given: dict[str, Any] = {name: values[name].value for name in flags.OF_RAY if values[name].value is not None}
    if values.launcher != "ray":
        for name, value in given.items():
            raise RequestError(
                f"{name}={value!r}: with launcher={values.launcher!r} there is no cluster; needs launcher='ray'"
            )
        return None
    others = {
        "shard": "Ray divides the trials",
        "profile": "a trace is of one process",
        "coordinator_address": "Ray starts the processes",
    }
    for name, why in others.items():
        value = values[name].value
        require(value is None, name, value, f"given without launcher='ray': {why}")
    fields = {name.rpartition("_")[2]: value for name, value in given.items()}
    return Cluster(**fields)
