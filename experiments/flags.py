"""Flags that experiments share, defined once from the settings' fields, and the way from an error to one line.

A flag that is not given takes the data set's default, or else its field's; `--help` shows both.
"""

import dataclasses
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from absl import flags

from cnn.config import DATASET_DEFAULTS, RequestError
from cnn.data import datasets
from cnn.data.datasets import Dataset
from cnn.progress import Progress

FLAGS = flags.FLAGS
Config = TypeVar("Config")

flags.DEFINE_string("workdir", None, "folder for everything the run writes (default: runs/EXPERIMENT/DATASET-HASH)")
flags.DEFINE_string("data_dir", None, "where TensorFlow Datasets keeps its data (default: TFDS_DATA_DIR, or its own)")
flags.DEFINE_string("cache_dir", None, "where decoded images are kept (default: the user's cache folder)")

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


def define(config: type) -> None:
    """Define a flag for each field of a settings class, nested ones included."""
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(field.type):
            define(field.type)
        elif field.type is bool:
            flags.DEFINE_boolean(field.name, None, _help(field))
        else:
            many = hasattr(field.type, "__args__")
            parser = _Parser(field.type.__args__[0] if many else field.type, many)
            flags.DEFINE(parser, field.name, None, _help(field))


def _help(field: dataclasses.Field) -> str:
    own = {name: values[field.name] for name, values in DATASET_DEFAULTS.items() if field.name in values}
    defaults = [f"default: {_text(field.default)}"] + [f"{name}: {_text(value)}" for name, value in own.items()]
    return f"{field.metadata['help']} ({'; '.join(defaults)})"


def _text(value: Any) -> str:
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)


def configure(config: type[Config]) -> Config:
    """The settings that the flags ask for.

    Raises:
        RequestError: a value that the settings refuse.
    """
    dataset = FLAGS.dataset or next(field.default for field in dataclasses.fields(config) if field.name == "dataset")
    return _configure(config, DATASET_DEFAULTS.get(dataset.split(":")[0], {}))


def _configure(config: type[Config], defaults: dict[str, Any]) -> Config:
    values = {}
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(field.type):
            values[field.name] = _configure(field.type, defaults)
        elif FLAGS[field.name].value is not None:
            values[field.name] = FLAGS[field.name].value
        elif field.name in defaults:
            values[field.name] = defaults[field.name]
    return config(**values)


def load(name: str, progress: Progress) -> Dataset:
    """The data set of that name, found and cached where the flags say."""
    return datasets.load(name, data_dir=FLAGS.data_dir, cache_dir=FLAGS.cache_dir, progress=progress)


def run(main: Callable[[], int | None]) -> None:
    """Parse the flags, run `main`, and leave with the contract's exit status.

    0 done, 1 something failed while running, 2 the request cannot be met, 130 or 143 interrupted; an error that has a
    message of its own is one line on standard error.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        if {"--help", "-help", "-h"} & set(sys.argv[1:]):
            own = (module for module in (sys.argv[0], __name__) if module in FLAGS.flags_by_module_dict())
            print(sys.modules["__main__"].__doc__, *map(FLAGS.module_help, own))
            sys.exit(0)
        stray = FLAGS(sys.argv)[1:]
        if stray:
            raise RequestError(f"{stray[0]!r} is a stray argument: accepted are flags alone, as --name=value")
        sys.exit(main() or 0)
    except (flags.Error, RequestError) as error:
        _leave(2, str(error))
    except OSError as error:
        _leave(1, str(error))
    except KeyboardInterrupt:
        _leave(130, "interrupted: the same command continues")
    except Exception:  # a defect of ours: the trace is what a report of it needs
        traceback.print_exc()
        sys.exit(1)


def _leave(status: int, message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
