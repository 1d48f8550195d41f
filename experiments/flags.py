"""Flags that experiments share, defined once from the settings' fields, and the way from an error to one line.

A flag that is not given takes the data set's default, or else its field's; `--help` shows both.
"""

import dataclasses
import errno
import glob
import logging
import os
import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from absl import flags

from cnn.config import DATASET_DEFAULTS, RequestError, StudyConfig, TrialConfig, require, user_path
from cnn.data import cache, datasets
from cnn.data.datasets import Dataset
from cnn.progress import Progress, automatic

if TYPE_CHECKING:
    from cnn.study.comparison import Report

FLAGS = flags.FLAGS
Config = TypeVar("Config", bound=StudyConfig | TrialConfig)
Defaults = Mapping[str, Mapping[str, Any]]
NONE: Defaults = {}
_BROKEN_ENTRY = re.compile(r"Error (?:reading|writing) persistent compilation cache entry for '(.*?)'")
_NO_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|[Oo]ut of memory|Unable to allocate")
_MENDED = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT),
}  # by the machine's owner

flags.DEFINE_string("workdir", None, "folder for everything the run writes (default: runs/EXPERIMENT/DATASET-HASH)")
flags.DEFINE_string("data_dir", None, "where TensorFlow Datasets keeps its data (default: TFDS_DATA_DIR, or its own)")
flags.DEFINE_string("cache_dir", None, "where decoded images are kept (default: the user's cache folder)")
flags.DEFINE_string(
    "compiled_dir", None, "where compiled programs are kept (default: the user's cache folder; '': nowhere)"
)

_KINDS = {int: "an integer", float: "a number"}


class _Parser(flags.ArgumentParser):
    """Text to a value of a field's type; the message says what would be accepted."""

    def __init__(self, kind: type, many: bool) -> None:
        self.kind, self.many = kind, many
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
    """Text to true or false; the message says that these are accepted."""

    def parse(self, argument: Any) -> bool:
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError("must be true or false") from None


flags.DEFINE(
    _Parser(float, many=False),
    "checkpoint_seconds",
    Progress.checkpoint_seconds,
    "seconds between two checkpoints of a trial; one that takes less writes none (`train` leaves its last state)",
)


def define(config: Any, without: tuple[str, ...] = (), defaults: Defaults = NONE) -> None:
    """Define a flag for each field of a settings class, nested ones included.

    Args:
        config: the settings class.
        without: fields that have no flag: those that an experiment varies.
        defaults: an experiment's own, by the name of a data set, or under `""` for all; they come before the others.
    """
    for field in dataclasses.fields(config):
        if field.name in without:
            continue
        kind: Any = field.type  # never text: the settings' annotations are evaluated
        if dataclasses.is_dataclass(kind):
            define(kind, without, {**defaults, "": {**_changed(field), **defaults.get("", {})}})
        elif kind is bool:
            switch = flags.BooleanFlag(field.name, None, _help(field, defaults))
            switch.parser = _Switch()
            flags.DEFINE_flag(switch)
        else:
            many = hasattr(kind, "__args__")
            parser = _Parser(kind.__args__[0] if many else kind, many)
            flags.DEFINE(parser, field.name, None, _help(field, defaults))


def _help(field: dataclasses.Field, defaults: Defaults) -> str:
    own = {name: _own(name, defaults)[field.name] for name in DATASET_DEFAULTS if field.name in _own(name, defaults)}
    general = defaults.get("", {}).get(field.name, field.default)
    parts = [f"{name}: {_text(value)}" for name, value in own.items() if value != general]
    return f"{field.metadata['help']} ({'; '.join([f'default: {_text(general)}', *parts])})"


def _own(dataset: str, defaults: Defaults) -> dict[str, Any]:
    """What a data set's trials default to, where it is not what the fields say."""
    return {**DATASET_DEFAULTS.get(dataset, {}), **defaults.get("", {}), **defaults.get(dataset, {})}


def _text(value: Any) -> str:
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)


def configure(config: type[Config], defaults: Defaults = NONE) -> Config:
    """The settings that the flags ask for; `defaults` as in `define`.

    Raises:
        RequestError: a value that the settings refuse.
    """
    dataset = FLAGS.dataset or config.dataset
    return _configure(config, _own(dataset.split(":")[0], defaults))


def _configure(config: Any, defaults: dict[str, Any]) -> Any:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(field.type):
            values[field.name] = _configure(field.type, {**_changed(field), **defaults})
        elif field.name in FLAGS and FLAGS[field.name].value is not None:
            values[field.name] = FLAGS[field.name].value
        elif field.name in defaults:
            values[field.name] = defaults[field.name]
    return config(**values)


def _changed(field: dataclasses.Field) -> dict[str, Any]:
    """The values in which a nested field's default is not that of its class: `SceneConfig(objects=1)` has one."""
    kind: Any = field.type
    inner = {part.name: getattr(field.default, part.name) for part in dataclasses.fields(kind)}
    return {part.name: inner[part.name] for part in dataclasses.fields(kind) if inner[part.name] != part.default}


def progress() -> Progress:
    """Bars or lines on standard error, and how often the flags want a checkpoint.

    Raises:
        RequestError: a number of seconds that is none.
    """
    shown, seconds = automatic(), FLAGS.checkpoint_seconds
    require(seconds >= 0, "checkpoint_seconds", seconds, "a number of at least 0")
    shown.checkpoint_seconds = seconds
    return shown


def load(name: str, progress: Progress) -> Dataset:
    """The data set of that name, found and cached where the flags say."""
    return datasets.load(name, data_dir=folder("data_dir"), cache_dir=folder("cache_dir"), progress=progress)


def folder(name: str) -> Path | None:
    """The folder that a flag names, there or yet to be made; None where it names none.

    Raises:
        RequestError: it cannot be made. One that is there and cannot be written may still be read.
    """
    value = FLAGS[name].value
    if not value:
        return None
    found = user_path(name, value)
    try:
        there = next(path for path in (found, *found.absolute().parents) if path.exists())
        usable = there.is_dir() and (there == found or os.access(there, os.W_OK | os.X_OK))
    except OSError:  # a name too long, or a folder that may not be searched
        usable = False
    require(
        usable and value.isprintable(), name, value, "a folder, or a place where one can be made, of printable name"
    )
    return found


def run_experiment(
    config: type[Config],
    experiment: Callable[..., "Report"],
    without: tuple[str, ...] = (),
    defaults: Defaults = NONE,
) -> None:
    """Run an experiment as the flags say, print its table, its sentence and its picture, and leave; see `define`."""

    def main() -> int:
        settings, shown = configure(config, defaults), progress()
        found = experiment(settings, load(settings.dataset, shown), folder("workdir"), shown)
        word = "Picture" if len(found.pictures) == 1 else "Pictures"
        print(f"{found.table}\n\n{found.sentence}\n{word}: {', '.join(map(str, found.pictures))}")
        return 1 if found.failed else 0

    define(config, without, defaults)
    run(main)


def run(main: Callable[[], int | None]) -> None:
    """Parse the flags, run `main`, and leave with the contract's exit status.

    0 done, 1 something failed while running, 2 the request cannot be met, 130 or 143 interrupted; an error that has a
    message of its own is one line on standard error. An interrupted run says how to continue.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        if {"--help", "-help", "-h"} & set(sys.argv[1:]):
            own = (module for module in (sys.argv[0], __name__) if module in FLAGS.flags_by_module_dict())
            print(sys.modules["__main__"].__doc__, *map(FLAGS.module_help, own))
            sys.exit(0)
        _parse(sys.argv)
        _quieten()
        _keep_compiled()
        sys.exit(main() or 0)
    except (flags.Error, RequestError) as error:
        _leave(2, str(error))
    except OSError as error:
        known = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else str(error)
        _leave(1, known, f"; when that is mended, this continues: {_command()}" if error.errno in _MENDED else "")
    except KeyboardInterrupt as error:
        print(f"interrupted; this continues: {_command()}", file=sys.stderr)
        sys.exit(error.args[0] if error.args else 130)
    except Exception as error:
        if _NO_MEMORY.search(str(error)):
            _leave(1, f"the memory is not enough: {error}; a smaller network or batch may fit")
        traceback.print_exc()  # a defect of ours: the trace is what a report of it needs
        sys.exit(1)


def _parse(arguments: list[str]) -> None:
    try:
        stray = FLAGS(arguments)[1:]
    except (ValueError, OSError) as error:  # `--noflip=1`, or a --flagfile that is no text
        raise RequestError(str(error)) from error
    if stray:
        raise RequestError(f"{stray[0]!r} is a stray argument: accepted are flags alone, as --name=value")


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(128 + number)


def _command() -> str:
    return shlex.join(sys.orig_argv)


def _quieten() -> None:
    """A checkpoint that cannot be written is one line: Orbax also logs the trace of what it raises, and leaves writes
    that come back to a loop it has closed."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)

    def show(error: Any) -> None:
        if str(error.exc_value) != "Event loop is closed":
            sys.__unraisablehook__(error)

    sys.unraisablehook = show


def _keep_compiled() -> None:
    """Have XLA keep what it compiles: the same network compiles once for all runs on this machine.

    JAX writes an entry in place, so a process that is killed, or a full disk, can leave half of one. JAX notices,
    compiles anew and warns, in every run, since it replaces no entry; here that warning makes room for a whole one.
    """
    if FLAGS.compiled_dir == "":
        return
    import jax

    kept = folder("compiled_dir") or cache.default_folder() / "compiled"
    if kept.exists() and not os.access(kept, os.W_OK | os.X_OK):
        print(f"the folder {kept} cannot be written: what is compiled now is not kept", file=sys.stderr)
    jax.config.update("jax_compilation_cache_dir", str(kept))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)  # less takes as long to read
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    warnings.filterwarnings("always", message=_BROKEN_ENTRY.pattern)
    show = warnings.showwarning

    def mend(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        found = _BROKEN_ENTRY.match(str(message))
        if not found:
            show(message, category, filename, lineno, file, line)
            return
        for entry in kept.glob(f"{glob.escape(found[1])}-*-cache"):
            entry.unlink(missing_ok=True)

    warnings.showwarning = mend


def _leave(status: int, message: str, again: str = "") -> None:
    line = " ".join(part.strip() for part in message.strip().splitlines())
    # A name may hold what moves a terminal's cursor; it is shown, not obeyed.
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    print(f"error: {shown}{again}", file=sys.stderr)  # the command as it is: two blanks in a name stay two
    sys.exit(status)
