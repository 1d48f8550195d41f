"""The house: imports go one way, and what is imported is declared."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "": ["config", "progress"],
    "network.": ["geometry", "ops", "trace", "layers", "lenet1998", "models", "summary"],
    "data.": ["cache", "download", "npz", "prepared", "datasets", "preprocess", "scenes"],
    "training.": [
        "tasks",
        "step",
        "strategies",
        "replicas",
        "provenance",
        "checkpoints",
        "runs",
        "lock",
        "interrupt",
        "trial",
    ],
    "study.": [
        "statistics",
        "tuning",
        "grid",
        "analysis",
        "comparison",
        "detection",
        "features",
        "figures",
        "comparison_figures",
        "pictures",
    ],
}
FLOORS = [room + file for room, files in ROOMS.items() for file in files]
FILES = sorted(path for room in ("cnn", "experiments") for path in (ROOT / room).rglob("*.py") if path.stat().st_size)


def imported(path):
    """The modules that a file imports, with the names it takes from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(name):
    """The place of a module of the library in the order of imports, or None."""
    known = [place for place, module in enumerate(FLOORS) if f"{name}.".startswith(f"cnn.{module}.")]
    return known[0] if known else None


@pytest.mark.parametrize("path", [path for path in FILES if "cnn" in path.parts], ids=lambda path: path.stem)
def test_a_file_imports_only_from_above(path):
    own = floor(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert own is not None, f"{path} has no place in the order"
    assert all(floor(name) < own for name in imported(path) if name.startswith("cnn.")), sorted(imported(path))
    assert not any(name.startswith(("experiments", "absl.flags")) for name in imported(path))


def test_every_import_is_declared():
    setup = (ROOT / "setup.py").read_text()
    required = setup[setup.index("install_requires") : setup.index("extras_require")]
    declared = {name.lower().replace("_", "-") for name in re.findall(r'"([A-Za-z_-]+)>=', required)}
    owners = packages_distributions()
    used = {name.split(".")[0] for path in FILES for name in imported(path)}
    foreign = used - set(sys.stdlib_module_names) - {"cnn", "experiments"}
    missing = {name for name in foreign if not {owner.lower().replace("_", "-") for owner in owners[name]} & declared}
    assert not missing
