"""Lists the experiments with their questions: `python -m experiments`, or the command `conv-relu-pool`.

`conv-relu-pool NAME FLAGS...` runs an experiment as `python -m experiments.NAME FLAGS...` does.
"""

import ast
import pkgutil
import runpy
import sys
from importlib.util import find_spec
from typing import NoReturn

import experiments

HELP = ("--help", "-help", "-h", "--helpshort", "-helpshort", "--helpfull", "-helpfull")  # as `command.flags` has them


def questions() -> dict[str, str]:
    """The first line of each experiment's docstring, by the experiment's name. No experiment is imported.

    Example:
        >>> questions()["sweep_blocks"]
        'How many CONV-RELU-POOL blocks should we use?'
    """
    modules = pkgutil.iter_modules(experiments.__path__)
    return {module.name: _question(module.name) for module in modules if not module.ispkg and module.name != "__main__"}


def _question(name: str) -> str:
    spec = find_spec(f"experiments.{name}")
    assert spec is not None and spec.origin is not None, name
    with open(spec.origin, encoding="utf-8") as file:
        doc = ast.get_docstring(ast.parse(file.read())) or ""
    return doc.partition("\n")[0]


def listing() -> str:
    """Every experiment with its question, and how to run one."""
    known = questions()
    widest = max(map(len, known))
    lines = [f"  {name:{widest}}  {question}" for name, question in known.items()]
    return "\n".join(
        ["The experiments:", "", *lines, "", "python -m experiments.NAME runs one; with --help it shows its flags."]
    )


def main() -> NoReturn:
    """List the experiments, or run the one that is named first; ends the process with its exit status."""
    experiments.own_process()
    from experiments.command import leave  # after the line above, since imports take a moment

    arguments = sys.argv[1:]
    if not arguments or arguments[0] in HELP:
        experiments.end(leave.say(listing()))
    name = arguments[0]
    refused = leave.status(lambda: _check(name))
    if refused:
        experiments.end(refused)
    sys.argv = [sys.argv[0], *arguments[1:]]
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
    raise AssertionError(f"experiments.{name} has not ended the process")


def _check(name: str) -> int:
    from cnn.errors import require_known

    require_known("experiment", name, questions())
    return 0


if __name__ == "__main__":
    main()
