"""What benchmarks share: the command line, a Markdown table, and a JSON file with machine, settings and numbers."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging

from benchmarks.describe import describe
from benchmarks.turns import Unavailable
from cnn.errors import RequestError
from cnn.files import write_json
from experiments.command import leave


def run(main: Callable[[flags.FlagValues], None], define_flags: Callable[[flags.FlagValues], None]) -> None:
    """Parse the benchmark's flags, refuse arguments that are no flags, and run the benchmark.

    What the benchmark refuses is said in one line, as a command says it, with a command's status.
    """

    def checked(arguments: Sequence[str]) -> None:
        if len(arguments) > 1:
            raise app.UsageError(f"stray arguments: {' '.join(arguments[1:])}")
        logging.set_verbosity(logging.WARNING)  # jax names every backend that it does not find
        try:
            main(flags.FLAGS)
        except (RequestError, Unavailable) as error:
            leave.tell_error(str(error))
            sys.exit(leave.REFUSED)

    define_flags(flags.FLAGS)
    app.run(checked)


def table(rows: Sequence[dict[str, str]]) -> str:
    """Rows as a Markdown table, cells unchanged; columns of numbers are aligned to the right.

    Example:
        >>> print(table([{"side": "one", "ms": "1.0"}, {"side": "other", "ms": "-"}]))
        | side   |   ms |
        |--------|------|
        | one    |  1.0 |
        | other  |    - |
    """
    from tabulate import tabulate

    numbers = {key for key in rows[0] if all(row[key][:1].isdigit() or row[key] == "-" for row in rows)}
    align = ["right" if key in numbers else "left" for key in rows[0]]
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, colalign=align)


def write(output: str | None, settings: dict[str, Any], measured: dict[str, Any]) -> None:
    """Write the machine, the settings and what was measured, if `output` names a file."""
    if output:
        write_json(Path(output), {"machine": describe(), "settings": settings, **measured})


def spread(values: Sequence[float], digits: int) -> str:
    """The median with the lowest and the highest value.

    Example:
        >>> spread([0.5, 0.25, 0.75], 2)
        '0.50 (0.25 to 0.75)'
    """
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
