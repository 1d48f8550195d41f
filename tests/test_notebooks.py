"""The notebooks: executed from top to bottom in a fresh kernel; they import the package and define nothing."""

import ast
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

from cnn.config import NetworkConfig, SweepConfig, TrainingConfig
from cnn.data import datasets
from experiments import sweep_blocks

pytestmark = pytest.mark.thorough

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SAYS = {
    "01_convnets_by_hand": [
        "[[6, 8]",
        "\n0 parameters",
        "(1, 56, 56, 32)\n32 filters of 64 weights",
        "shows a 7",
        "60,000 parameters, 340,908 connections",
    ],
    "02_how_many_blocks": [
        " trials on digits",
        "| 1 ",
        "On digits, use",
        "within reach",
        "pick_share",
        "validation: the paired deviation is the smaller one for ",
        "95 % interval",
    ],
    "03_anywhere": ["JAX ", "Test accuracy 9", "on 360 images", "True", "On digits, use"],
    "04_your_own_pictures": [
        "1,437 pictures (1,437 grey) as images of 1 channel",
        "1,149 images to learn from, 288 to test on",
        "pictures, use ",
        "test accuracy: 0.9",
        "of 360 new pictures are right",
        "True",
    ],
}
PROGRESS = "application/vnd.jupyter.widget-view+json"  # a bar is a widget
# A warning is an error, as in every other test; those of the kernel itself are not ours.
STRICT = 'import warnings\nwarnings.simplefilter("error")\nwarnings.filterwarnings("ignore", module="ipykernel")'


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def execute(tmp_path, monkeypatch, shared_cache):
    """Runs a notebook in an empty folder, and gives the outputs of all its cells."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(shared_cache / "notebooks"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    work = tmp_path / "work"
    work.mkdir()  # nothing lands in the checkout

    def run(path):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
        resources = {"metadata": {"path": str(work)}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
        assert {file.name for file in work.iterdir()} <= {"runs"}
        return [output for cell in code(notebook) for output in cell.outputs]

    return run


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(outputs):
    """The types of what was displayed."""
    return {kind for output in outputs for kind in output.get("data", {})}


def said(outputs):
    """Everything that was printed or displayed as text; a busy kernel may print two lines as two outputs, or as one."""
    texts = [
        output.get("text") or output["data"].get("text/markdown") or output["data"]["text/plain"] for output in outputs
    ]
    return "\n".join(text.removesuffix("\n") for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, execute):
    outputs = execute(path)
    found = said(outputs)
    words = " ".join(found.split())  # where a line is wrapped depends on the name of the folder
    assert all(text in found or text in words for text in SAYS[path.stem]), found
    assert {"image/png", PROGRESS} <= kinds(outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rate",
    [
        pytest.param(3e-3, id="finished"),
        pytest.param(0.3, id="one trial collapsed"),
        pytest.param(1e30, id="every trial diverged"),
    ],
)
def test_a_finished_sweep_is_read_and_nothing_is_trained(execute, tmp_path, rate):
    config = SweepConfig(
        dataset="digits",
        blocks=(0, 1),
        learning_rates=(rate,),
        seeds=2,
        network=NetworkConfig(width=4),
        training=TrainingConfig(epochs=1),
    )
    folder = tmp_path / "work" / "runs" / "sweep_blocks" / "finished"
    sweep_blocks.EXPERIMENT.run(config, datasets.load("digits"), folder)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    results = pd.read_csv(folder / "results.csv")
    of_seeds = results.pivot(index="seed", columns="blocks", values="test_accuracy").diff(axis=1)[1]
    collapsed = results[results["collapsed"].eq(True)]["seed"].tolist()
    assert len(collapsed) == (rate == 0.3)
    outputs = execute(FOLDER / "02_how_many_blocks.ipynb")
    assert "runs/sweep_blocks/finished: 4 trials on digits" in said(outputs)
    assert PROGRESS not in kinds(outputs)
    if collapsed:  # of a seed that collapsed at one depth there is no difference
        shown = {seed: f"{abs(value):.6f}" in said(outputs) for seed, value in of_seeds.items()}
        assert shown == {seed: seed not in collapsed for seed in (0, 1)}
    assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("*")}


@each_notebook
def test_defines_nothing(path):
    transform = TransformerManager().transform_cell
    source = "\n".join(transform(cell.source) for cell in code(nbformat.read(path, as_version=4)))
    nodes = list(ast.walk(ast.parse(source)))
    assert not [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
    assert not [node for node in nodes if isinstance(node, ast.Lambda)]
    modules = [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    assert any(module.startswith("cnn.") for module in modules)
    assert not re.search(r"\babsl\b|\bflags\b", source, re.IGNORECASE)


@each_notebook
def test_is_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code(notebook))
    assert all(cell.metadata == {} for cell in notebook.cells) and "widgets" not in notebook.metadata


def test_all_begin_with_the_same_installation():
    first = {code(nbformat.read(path, as_version=4))[0].source for path in NOTEBOOKS}
    assert len(first) == 1 and 'find_spec("cnn") is None' in first.pop()
    assert {path.stem for path in NOTEBOOKS} == SAYS.keys()
