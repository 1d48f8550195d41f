"""That the tests are strict: in themselves, in doctests, and in the processes that they start.

>>> try:
...     jnp.ones(3) + jnp.ones((2, 3))
... except ValueError as error:
...     print("rank_promotion" in str(error))
True
>>> warnings.warn("no")
Traceback (most recent call last):
UserWarning: no
"""

import ast
import subprocess
import sys
import warnings
from pathlib import Path

import jax.numpy as jnp
import pytest

from benchmarks import report
from cnn.network import ops
from cnn.study import statistics
from cnn.training.tasks import Found
from experiments import sweep_blocks

ROOT = Path(__file__).parents[1]


def test_rank_promotion_is_an_error():
    with pytest.raises(ValueError, match="rank"):
        jnp.ones(3) + jnp.ones((2, 3))


def test_a_warning_is_an_error():
    with pytest.raises(UserWarning, match="no"):
        warnings.warn("no", stacklevel=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.flatten(jnp.ones((2, 3, 3, 1), bool).tolist()),
        lambda: statistics.moments("0.97"),
        lambda: sweep_blocks.study("digits", None),
        lambda: report.table({}),
    ],
    ids=["cnn.network", "cnn.study", "experiments", "benchmarks"],
)
def test_annotations_are_checked_in_every_room(call):
    with pytest.raises(TypeError, match="Type-check error"):
        call()


def test_shapes_are_checked():
    with pytest.raises(TypeError, match="Type-check error"):
        Found(jnp.ones((2, 1), int), jnp.ones((2, 1, 5)))  # a box has four numbers


def test_processes_that_tests_start_refuse_rank_promotion_too():
    code = "import jax.numpy as jnp; jnp.ones(3) + jnp.ones((2, 3))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "rank" in done.stderr


def started(path):
    """The beginnings of the commands that a file starts Python with."""
    text = path.read_text()
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        first = ast.unparse(node.elts[0]) if isinstance(node, ast.List) and node.elts else ""
        if first == "sys.executable" and "argv" not in lines[node.lineno - 1]:  # sys.argv is set, and nothing started
            yield [ast.unparse(element) for element in node.elts[1:]]


def test_processes_that_tests_start_make_warnings_errors():
    commands = [command for path in (ROOT / "tests").rglob("*.py") for command in started(path)]
    ours = [command for command in commands if command[1:2] not in (["'pip'"], ["'venv'"])]
    assert len(ours) > 8
    assert [command for command in ours if command[:2] != ["'-W'", "'error'"]] == []
