"""The flags of a command, made from the fields of its settings.

A flag that is not given takes the value of the recipe (`cnn.recipes`), or else the default of its field; `--help` shows
both. A setting that the command fixes has no flag. A flag that the chosen model or scene does not use is refused: the
registry `cnn.network.models.MODELS` says which settings a model uses.
"""

import contextlib
import dataclasses
import difflib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from cnn import recipes
from cnn.config import StudyConfig
from cnn.data import datasets
from cnn.errors import RequestError, require
from cnn.network import models
from cnn.places import nearest, user_path
from cnn.study import shards
from cnn.training.trial import CHECKPOINT_SECONDS
from experiments.command.experiment import Command, Config, Options, Tool
from experiments.command.shared import AUTO

HELP = ("--help", "-help", "-h", "--helpshort", "-helpshort")
FULL_HELP = ("--helpfull", "-helpfull")
FOLDERS = {
    "workdir": "folder for everything the run writes (default: runs/EXPERIMENT/DATASET-HASH)",
    "data_dir": "where TensorFlow Datasets keeps its data (default: TFDS_DATA_DIR, or its own)",
    "cache_dir": "where decoded images are kept (default: the user's cache folder)",
    "profile": "folder for a trace of each network's training steps, in a folder of its name (default: no trace)",
    "compiled_dir": "where compiled programs are kept (default: the user's cache folder; '': nowhere)",
}
LAUNCHERS = ("local", "ray")
OF_RAY = {  # flags that need --launcher=ray
    "ray_address": (
        str,
        "HOST:PORT of a Ray cluster's head (default: a cluster of this machine, which ends with the run)",
    ),
    "trial_cpus": (int, "cores of a worker, which on a CPU trains so many trials at once (default: 1)"),
    "trial_gpus": (int, "GPUs of a worker (default: 1 where the cluster has any, else 0)"),
}
DEEPEST = 100  # missing folders above a work folder: Python makes them one within another
_KINDS = {int: "an integer", float: "a number"}


class Setting(NamedTuple):
    """A setting that has a flag."""

    kind: Any  # of its value, as the field's annotation says
    default: Any
    help: str


class _Parser(flags.ArgumentParser):
    """Parses text into a value of a field's type; the message of an error says what is accepted."""

    def __init__(self, kind: type, many: bool) -> None:
        self.kind = kind
        self.many = many
        self.syntactic_help = f"{'comma-separated list, each ' if many else ''}{_KINDS.get(kind, 'text')}"

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument
        parts = argument.split(",") if self.many else [argument]
        try:
            values = tuple(self.kind(part) for part in parts)
        except ValueError:
            raise ValueError(f"must be {self.syntactic_help}") from None
        return values if self.many else values[0]


class _Switch(flags.BooleanParser):
    """Parses text into true or false; the message of an error says that these are accepted."""

    def parse(self, argument: Any) -> bool:
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError("must be true or false") from None


def define(command: Command) -> flags.FlagValues:
    """The flags of a command, not yet parsed."""
    values = flags.FlagValues()
    for name, setting in settings(command.config(), command.fixed).items():
        _define(values, f"settings of {command.name}", name, setting.kind, None, _help(command.name, name, setting))
    run = "this run"
    for name, help in FOLDERS.items():
        flags.DEFINE_string(name, None, help, values, module_name=run)
    seconds = "seconds between two checkpoints of a trial; a shorter trial writes none (`train` leaves its last state)"
    _define(values, run, "checkpoint_seconds", float, CHECKPOINT_SECONDS, seconds)
    events = "write what TensorBoard shows of each trial that runs (pip install '.[tensorboard]'; --logdir=WORKDIR)"
    _define(values, run, "tensorboard", bool, False, events)
    host = "leave the images on the host, as where they would take more than half of a device's memory"
    _define(values, run, "stream", bool, False, f"{host} (pip install '.[stream]')")
    many = f"HOST:PORT of process 0 where several processes run one program, each with all flags; or {AUTO}: as Slurm "
    many += "(srun), Open MPI, Cloud TPU or Kubernetes say (default: one process, also there)"
    flags.DEFINE_string("coordinator_address", None, many, values, module_name=run)
    _define(values, run, "num_processes", int, None, "of the program, with coordinator_address=HOST:PORT")
    _define(values, run, "process_id", int, None, "which of the processes this is, from 0: that one writes and prints")
    if issubclass(command.config, StudyConfig):
        kept = "whose trained networks stay, of each variant's comparison trials: first (seed), all or none"
        flags.DEFINE_string("keep", "first", kept, values, module_name=run)
        part = "i/n: run the i-th of n parts of the trials; other processes run the others in the same work folder"
        flags.DEFINE_string("shard", None, part, values, module_name=run)
        wait = "seconds for which a shard waits for the tuning results of the others, before it leaves "
        _define(values, run, "shard_wait", float, None, f"{wait}(0: none; default: {shards.WAIT:g})")
        where = "where trials run: local (in this process), or ray (pip install '.[ray]'; in workers of a Ray cluster)"
        flags.DEFINE_string("launcher", LAUNCHERS[0], where, values, module_name=run)
        for name, (kind, help) in OF_RAY.items():
            _define(values, run, name, kind, None, help)
    named = [
        f"{dataset}: {', '.join(own)}" for (owner, dataset), own in recipes.RECIPES.items() if owner == command.name
    ]
    if named:
        which = f"settings that a search found, for a convnet; the first is the default ({'; '.join(named)}); "
        which += "the defaults of the other flags name data set and recipe"
        flags.DEFINE_string("recipe", None, which, values, module_name=f"settings of {command.name}")
    _define(values, run, "dry_run", bool, False, "print the plan, and write nothing")
    return values


def define_tool(tool: Tool[Options]) -> flags.FlagValues:
    """The flags of a command that trains nothing, not yet parsed."""
    values = flags.FlagValues()
    values.set_gnu_getopt(bool(tool.arguments))  # flags may follow arguments
    for name, setting in settings(tool.options, (tool.arguments,)).items():
        _define(values, f"flags of {tool.name}", name, setting.kind, setting.default, setting.help)
    flags.DEFINE_string("compiled_dir", None, FOLDERS["compiled_dir"], values, module_name="this run")
    return values


def _define(values: flags.FlagValues, group: str, name: str, kind: Any, default: Any, help: str) -> None:
    if kind is bool:
        switch = flags.BooleanFlag(name, default, help)
        switch.parser = _Switch()
        flags.DEFINE_flag(switch, values, module_name=group)
        return
    many = hasattr(kind, "__args__")
    parser = _Parser(kind.__args__[0] if many else kind, many)
    flags.DEFINE(parser, name, default, help, values, module_name=group)


def settings(config: Any, fixed: tuple[str, ...]) -> dict[str, Setting]:
    """The settings that have a flag, by name: the fields of a settings object or class, and of the settings in it.

    A name that the outer object has hides that name inside: `blocks` of a sweep is the list of depths.

    Example:
        >>> from cnn.config import SweepConfig
        >>> found = settings(SweepConfig(), fixed=("model", "scene"))
        >>> found["blocks"].default, "model" in found, "objects" in found
        ((0, 1, 2, 3), False, False)
    """
    found: dict[str, Setting] = {}
    groups = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in fixed:
            continue
        if dataclasses.is_dataclass(value):
            groups.append(value)
        else:
            found[field.name] = Setting(field.type, value, field.metadata["help"])
    hidden = (*fixed, *found)
    for group in groups:
        found |= settings(group, hidden)
    return found


def _help(experiment: str, name: str, setting: Setting) -> str:
    known = {**models.choices(), "dataset": (datasets.ACCEPTED,)}.get(name)
    general = recipes.defaults(experiment, "").get(name, setting.default)
    own = {dataset: recipes.defaults(experiment, dataset).get(name, general) for dataset in recipes.DATASETS}
    parts = [f"default: {_text(general)}"] if general != () else []
    parts += [f"{dataset}: {_text(value)}" for dataset, value in own.items() if value != general]
    for (owner, dataset), named in recipes.RECIPES.items():
        for title, recipe in named.items() if owner == experiment else ():
            if recipe.settings.get(name, own[dataset]) != own[dataset]:
                parts.append(f"{dataset} {title}: {_text(recipe.settings[name])}")
    defaults = f" ({'; '.join(parts)})" if parts else ""
    return f"{setting.help}{': ' + ', '.join(known) if known else ''}{defaults}"


def _text(value: Any) -> str:
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)


def parse(values: flags.FlagValues, arguments: list[str]) -> None:
    """Parse a command line of flags alone, the program's name first.

    Raises:
        RequestError: there is an argument that is no flag, or see `parse_mixed`.
        absl.flags.Error: see `parse_mixed`.
    """
    others = parse_mixed(values, arguments)
    if others:
        raise RequestError(f"{others[0]!r} is not a flag: must be written as --name=value")


def parse_mixed(values: flags.FlagValues, arguments: list[str]) -> tuple[str, ...]:
    """Parse a command line, the program's name first, and return the arguments that are no flags.

    Raises:
        RequestError: a flag is unknown, or a flag file cannot be read or names itself.
        absl.flags.Error: a flag has a wrong value; the message says so in one line.
    """
    warned = io.StringIO()
    try:
        with contextlib.redirect_stderr(warned):  # where absl says that it ignores a flag file that names itself
            others = values(arguments)[1:]
    except flags.UnrecognizedFlagError as error:
        (nearest,) = difflib.get_close_matches(error.flagname, list(values), n=1, cutoff=0.0)
        known = "must be a flag of this command (--help lists them)"
        raise RequestError(f"flag={error.flagname!r}: {known}; nearest: {nearest}") from None
    except (ValueError, OSError) as error:  # `--noflip=1`, or a --flagfile that is no text
        raise RequestError(str(error)) from error
    if warned.getvalue():
        name = warned.getvalue().rpartition("flagfile: ")[2].strip()
        raise RequestError(f"flagfile={name!r}: must not name itself")
    return tuple(others)


def fill(values: flags.FlagValues, tool: Tool[Options], arguments: list[str]) -> Options:
    """Parse the command line of a command that trains nothing, and return the values of its flags, checked.

    Raises:
        RequestError: a value is refused, or see `parse` and `parse_mixed`.
        absl.flags.Error: see `parse_mixed`.
    """
    given: dict[str, Any] = {}
    if tool.arguments:
        given[tool.arguments] = parse_mixed(values, arguments)
    else:
        parse(values, arguments)
    given |= {name: values[name].value for name in settings(tool.options, (tool.arguments,))}
    return tool.options(**given)


def configure(values: flags.FlagValues, command: Command[Config]) -> Config:
    """The settings that the parsed flags ask for.

    Raises:
        RequestError: the settings refuse a value, a name is unknown, or the model or scene does not use a flag.
    """
    default = command.config()
    names = settings(default, command.fixed)
    given = {name: values[name].value for name in names if values[name].value is not None}
    dataset = str(given.get("dataset", default.dataset))
    model = str(given.get("model", default.network.model))
    recipe = values.recipe or "" if "recipe" in values else ""
    usual = recipes.defaults(command.name, datasets.base_name(dataset), model, recipe, given.get("objects"))
    config = _filled(default, {**usual, **given})
    models.check_names(config.network)
    _refuse_unused(config, given)
    return config


def _filled(config: Any, values: Mapping[str, Any]) -> Any:
    """The settings object with other values, by name. A name of the outer object does not change inner objects."""
    old = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    inner = {name: value for name, value in values.items() if name not in old}
    new = {
        name: _filled(value, inner) if dataclasses.is_dataclass(value) else values.get(name, value)
        for name, value in old.items()
    }
    return type(config)(**new)


_CHOOSE = ("model", "head", "normalization")  # the settings on which it depends whether another one is used


def _refuse_unused(config: Any, given: Mapping[str, Any]) -> None:
    """Refuse flags that have no effect: `config.json` would keep their values as if they had one."""
    used = models.used(config.network)
    listed = f"these are used: {', '.join(used)}" if used else "none of a network's settings is used"
    network = (field.name for field in dataclasses.fields(config.network) if field.name not in (*used, "model"))
    chosen = [f"{name}={getattr(config.network, name)!r}" for name in _CHOOSE if name in ("model", *used)]
    unused = {name: f"with {' and '.join(chosen)} {listed}" for name in network}
    objects = config.scene.objects
    if objects:
        why = f"with objects={objects} objects are placed at random, and no more; it is used with objects=0"
        unused |= dict.fromkeys(recipes.NOT_OF_SCENES, why)
    else:
        unused["canvas"] = "with objects=0 there is no scene; it is used with objects=1 or objects=2"
    for name, why in unused.items():
        if name in given:
            raise RequestError(f"{name}={given[name]!r}: {why}")


def folder(values: flags.FlagValues, name: str) -> Path | None:
    """The folder that a flag names, which exists or can be created; None where the flag names none.

    Raises:
        RequestError: the folder cannot be created. One that exists need not be writable: a run may only read it.
    """
    value = values[name].value
    if not value:
        return None
    found = user_path(name, value)
    there = nearest(found)
    missing = 0 if there is None else len(found.absolute().parts) - len(there.parts)
    usable = there is not None and there.is_dir() and (not missing or os.access(there, os.W_OK | os.X_OK))
    accepted = "a folder, or a place where one can be made, of printable name"
    require(usable and value.isprintable(), name, value, accepted)
    require(missing <= DEEPEST, name, value, f"at most {DEEPEST} folders below one that exists, not {missing}")
    require_utf8(name, found)
    return found


def require_utf8(name: str, path: Path) -> None:
    """Refuse a path that is not UTF-8, taken from the root on: Orbax and JAX cannot write there.

    Raises:
        RequestError: the path is another, as that of a work folder can be inside an old folder.
    """
    whole = str(path.absolute())
    require(whole == whole.encode(errors="replace").decode(), name, whole, "in UTF-8, from the root on")


def help_text(values: flags.FlagValues, command: Command | Tool, full: bool) -> str:
    """What `--help` prints: the docstring, what was measured, and every flag; `--helpfull` adds absl's own flags."""
    recorded = recipes.recorded(command.name)
    doc = command.doc or ""  # `python -OO` drops docstrings
    parts = [doc.strip(), *([f"Measured:\n{recorded}"] if recorded else [])]
    return "\n\n".join([*parts, values.get_help(include_special_flags=full).strip()])
