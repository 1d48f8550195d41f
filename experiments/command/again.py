"""The command line that asks for given settings: what a page names as the command that makes it again."""

import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnn import recipes
from cnn.config import StudyConfig, TrialConfig
from cnn.data import datasets


def command_line(name: str, config: TrialConfig | StudyConfig, workdir: Path | None = None) -> str:
    """The command of that name with a flag for each setting that is not the default for its data set and model.

    Args:
        name: the name of the command.
        config: its settings.
        workdir: the work folder, where it is not the default one.

    Example:
        >>> from cnn.config import SweepConfig
        >>> command_line("sweep_blocks", SweepConfig(dataset="my set", blocks=(1, 2), learning_rates=(1e-3,)))
        "python -m experiments.sweep_blocks '--dataset=my set' --learning_rates=0.001 --blocks=1,2"
    """
    default = type(config)()
    flags = [f"--dataset={config.dataset}"] if config.dataset != default.dataset else []
    data = datasets.base_name(config.dataset)
    usual = recipes.defaults(name, data, config.network.model, objects=config.scene.objects)
    flags += _flags(config, default, usual)
    if workdir is not None:
        flags.append(f"--workdir={workdir}")
    return shlex.join(["python", "-m", f"experiments.{name}", *flags])


def _flags(config: Any, default: Any, usual: dict[str, Any]) -> Iterator[str]:
    """A flag for each field that differs from the recipe or, where that says nothing, from the field's default."""
    own = [field.name for field in dataclasses.fields(config)]
    inner = {name: value for name, value in usual.items() if name not in own}
    for name in own:
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from _flags(value, getattr(default, name), inner)
        elif name != "dataset" and value != usual.get(name, getattr(default, name)):
            yield f"--{'no' if value is False else ''}{name}{'' if isinstance(value, bool) else f'={_text(value)}'}"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
