"""How long imports take: the modules of this project that a training needs, compared with the libraries alone.

    python -m benchmarks.import_time

Each import is a whole process; the imports take turns. The table has the median seconds, and the median ratio to the
libraries alone in the same round, the lowest and highest in brackets. A first turn does not count: after it, every
module is compiled and in the file cache.
"""

from typing import Any

import numpy as np
from absl import flags

from benchmarks import processes, report

LIBRARIES = "import jax, flax.linen, optax"
STATEMENTS = {
    "libraries": LIBRARIES,
    "training": "from cnn.network import models; from cnn.training import trial",
    "main job": "import experiments.sweep_blocks",
}


def measure(rounds: int) -> list[dict[str, Any]]:
    """A row for each statement: the seconds of its process in each round, and the ratios to the libraries' seconds."""
    seconds = [
        {name: processes.python("-c", statement).seconds for name, statement in STATEMENTS.items()}
        for _ in range(rounds + 1)
    ][1:]
    return [
        {
            "name": name,
            "statement": statement,
            "seconds": [turn[name] for turn in seconds],
            "ratios": [turn[name] / turn["libraries"] for turn in seconds],
        }
        for name, statement in STATEMENTS.items()
    ]


def main(options: flags.FlagValues) -> None:
    """Measure, print the table, and write it where asked."""
    rows = measure(options.rounds)
    shown = [
        {
            "process": f"`{row['statement']}`",
            "seconds": f"{np.median(row['seconds']):.2f}",
            "ratio": report.spread(row["ratios"], 2),
        }
        for row in rows
    ]
    print(f"{report.table(shown)}\n\n{options.rounds} rounds")
    report.write(options.output, {"rounds": options.rounds}, {"rows": rows})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_integer("rounds", 9, "turns of each statement", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
