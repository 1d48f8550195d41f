"""The house: imports go one way, what is imported is declared, and files stay small."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {  # from the ground up; a file imports only from those before it
    "cnn": [
        "errors",
        "processes",
        "meeting",
        "bars",
        "progress",
        "places",
        "files",
        "backends",
        "machine",
        "config",
        "recipes",
    ],
    "cnn.data": [
        *("records", "content", "cache", "pictures"),
        *("sources.fifth", "sources.digits", "sources.npz", "sources.listing", "sources.folder"),
        *("sources.published", "sources.prepared", "sources.tfds"),
        *("datasets", "splits", "drawings", "preprocess", "scenes", "batches", "stream"),
    ],
    "cnn.network": [
        *("geometry", "ops", "spread", "winograd", "folding", "forms", "trace", "layers", "pooling", "normalization"),
        *("blocks", "heads"),
        *("lenet1998", "models", "summary", "matching"),
    ],
    "cnn.trained": ["kept", "network", "features", "patches", "detection", "predict", "export", "live"],
    "cnn.training": [
        *("tasks", "optimizer", "step", "loops.loop", "loops.pieces"),
        *("loops.stages", "loops.threads", "loops.mesh", "loops.scan", "loops.choice", "loops.leading"),
        *(
            "metrics",
            "prepared",
            "fit",
            "following",
            "speed",
            "profile",
            "shown",
            "checkpoints",
            "answers",
            "folder",
            "tensorboard",
            "interrupt",
        ),
        *("record", "rate", "result", "trial"),
    ],
    "cnn.study": [
        *("statistics", "tuning", "results", "plan", "shards", "folder", "finished", "ahead"),
        *("forecast", "outlook", "executors", "ray_cluster", "ray_worker", "on_ray", "beside", "run"),
        *("rule", "stability", "answer", "comparison", "words", "advice", "claims", "tables"),
        *("swept", "chosen", "across", "across_words"),
    ],
    "cnn.show": [
        *("style", "canvas", "panels", "answer", "comparison", "network", "trace", "try_it", "moving"),
        *("parts", "charts", "learning", "network_parts", "scene_parts", "study_parts"),
        *("sweep_charts", "comparison_charts", "across_charts"),
        *("sweep_page", "comparison_page", "across_page", "training_page", "page"),
    ],
    "experiments": [
        *(
            "command.again",
            "command.experiment",
            "command.comparing",
            "command.leave",
            "command.quiet",
            "command.numerics",
            "command.compiled",
            "command.memory",
            "command.process",
            "command.shared",
        ),
        *("command.flags", "command.run"),
        *("sweep_blocks", "train", "why_convnets", "localize", "features"),
        *("downsampling", "convolutions", "one_by_one", "lenet5", "predict", "export", "compare", "__main__"),
    ],
    "benchmarks": [
        *("processes", "describe", "turns", "report", "problems", "peer_networks", "peers", "peers_mnist", "ours"),
        "peers_recipe",
        *("sweep_torch", "sweep_flax", "peers_sweep"),
        *(
            "machine",
            "exported",
            "pages",
            "import_time",
            "folder_of_pictures",
            "convolutions",
            "lowerings",
            "normalizations",
            "forecast",
            "streaming",
            "scaling",
        ),
        *("hlo", "compiled"),
        "found_records",
        "found_pages",
        "found",
        *("answer_simulation", "sweep_cost", "sweep_beside", "time_to_accuracy", "train_step"),
    ],
}
FLOORS = [f"{room}.{file}" for room, files in ROOMS.items() for file in files]
FILES = sorted(
    path for room in ("cnn", "experiments", "benchmarks") for path in (ROOT / room).rglob("*.py") if path.stat().st_size
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def module(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imported(path):
    """The modules that a file imports, with the names it takes from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(name):
    """The place of a module in the order of imports, or None."""
    known = [place for place, own in enumerate(FLOORS) if f"{name}.".startswith(f"{own}.")]
    return known[0] if known else None


def test_every_file_has_a_floor_and_every_floor_a_file():
    assert {module(path) for path in FILES} - {"experiments", "experiments.command"} == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=module)
def test_a_file_imports_only_from_above(path):
    own = floor(module(path))
    names = [name for name in imported(path) if name.split(".")[0] in ("cnn", "experiments", "benchmarks")]
    if own is None:  # a package comes before everything inside it
        assert path.name == "__init__.py" and names == []
        return
    above = {name: floor(name) for name in names if name != "experiments"}  # its __init__ comes before everything
    assert all(place is not None and place < own for place in above.values()), above


@pytest.mark.parametrize("path", [path for path in FILES if "cnn" in path.parts], ids=module)
def test_the_library_reads_no_flags_and_prints_nothing(path):
    assert not any(name.startswith("absl") for name in imported(path))
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    printing = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    assert printing == [] or path.name == "progress.py"  # which prints to the stream that it was given


def test_one_file_asks_for_the_backend():
    asks = re.compile(r"default_backend\(|jax\.(local_)?devices\(")
    asking = [module(path) for path in FILES if asks.search(path.read_text())]
    assert asking == ["cnn.machine"]


def test_every_import_is_declared():
    setup = (ROOT / "setup.py").read_text()
    required = setup[setup.index("install_requires") : setup.index("extras_require")]
    declared = {name.lower().replace("_", "-") for name in re.findall(r'"([A-Za-z0-9_-]+)>=', required)}
    owners = packages_distributions()
    installed = [path for path in FILES if "benchmarks" not in path.parts]
    used = {name.split(".")[0] for path in installed for name in imported(path)}
    # Of the extras [onnx], [ray], [stream] and [tensorboard], where they are installed.
    extras = {"jax2onnx", "onnx", "ray", "grain", "tensorboardX"}
    foreign = used - set(sys.stdlib_module_names) - {"cnn", "experiments"} - extras
    missing = {name for name in foreign if not {owner.lower().replace("_", "-") for owner in owners[name]} & declared}
    assert not missing
    distributions = {owner.lower().replace("_", "-") for name in foreign for owner in owners[name]}
    # TensorFlow Datasets imports these, and the last one JAX.
    through_others = {"importlib-resources", "array-record", "flatbuffers"}
    assert declared - distributions <= through_others


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=module)
def test_a_file_is_small_enough_to_read(path):
    most = 450 if "tests" in path.parts else 350
    assert len(path.read_text().splitlines()) <= most


def parallel(path):
    """The lines that assign several values written one after another: `a, b = x, y`."""
    for node in ast.walk(ast.parse(path.read_text())):
        several = isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
        if several and isinstance(node.targets[0], ast.Tuple) and not _swaps(node):
            yield f"{path.relative_to(ROOT)}:{node.lineno}"


def _swaps(node):
    """Whether the new values come from the old ones, so that one after another would be wrong."""
    targets = {ast.unparse(target) for target in node.targets[0].elts}
    return any(ast.unparse(part) in targets for value in node.value.elts for part in ast.walk(value))


@pytest.mark.parametrize("path", FILES, ids=module)
def test_one_assignment_a_line(path):
    assert list(parallel(path)) == []
