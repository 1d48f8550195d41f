"""ONNX graphs, made in an environment with the extra [onnx], and run by ONNX Runtime without this package or JAX."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.trained import exported
from tests.trained.exported import BATCHES, make

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
KINDS = exported.KINDS
OTHERS = {"objects": {"objects": 1}, "bfloat16": {"precision": "bfloat16"}}
MAKE = """
import json, pathlib, sys, onnx
from cnn.trained import export
from cnn.trained.network import Trained
seen = {}
for path in pathlib.Path(sys.argv[1]).iterdir():
    if path.is_dir():
        content = export.onnx(Trained.load(path))
        assert content == export.onnx(Trained.load(path)), path
        path.with_name(f"{path.name}.onnx").write_bytes(content)
        model = onnx.load_from_string(content)
        (images,) = model.graph.input
        shape = [size.dim_param or size.dim_value for size in images.type.tensor_type.shape.dim]
        kind = onnx.TensorProto.DataType.Name(images.type.tensor_type.elem_type)
        outputs = [output.name for output in model.graph.output]
        properties = {property.key: property.value for property in model.metadata_props}
        seen[path.name] = [[node.op_type for node in model.graph.node], images.name, kind, shape, outputs, properties]
print(json.dumps(seen))
"""
RUN = f"""
sys.modules["jax"] = None
import pathlib, numpy as np, onnxruntime
for path in pathlib.Path(".").glob("*.onnx"):
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    for n in {BATCHES}:
        answers = session.run(None, {{"images": np.load(f"images{{n}}.npy")}})
        assert "largest_pixel" in session.get_modelmeta().custom_metadata_map
        np.savez(f"{{path.stem}}.{{n}}.npz", **dict(zip(names, answers)))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter with the extra: this one, or that of an environment of its own."""
    if importlib.util.find_spec("jax2onnx"):
        return sys.executable
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    made = str(folder / "bin" / "python")
    done = subprocess.run([made, "-m", "pip", "install", "--quiet", f"{ROOT}[onnx]"], capture_output=True, text=True)
    if done.returncode:  # as where no package index has them
        pytest.skip(f"the extra [onnx] cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the trained networks, their graphs, and what these answer."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def graphs(python, folder):
    """Of each network's graph the kinds of nodes, the input and the outputs; each has answered in a fresh process."""
    exported.images_as_files(folder)
    for kind, settings in {**KINDS, **OTHERS}.items():
        make(**settings).save(folder / kind)
    dataclasses.replace(make(blocks=1), largest_pixel=16, test_accuracy=0.975).save(folder / "told")
    arguments = [python, "-W", "error", "-c", MAKE, str(folder)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    exported.run(RUN, folder, python)
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", BATCHES)
def test_a_graph_gives_the_network_s_logits_and_probabilities(graphs, folder, kind, n):
    exported.close(exported.answers_in(folder, kind, n), make(**KINDS[kind]), exported.IMAGES[n])


@pytest.mark.parametrize("kind", KINDS)
def test_its_input_and_outputs(graphs, kind):
    assert graphs[kind][1:5] == ["images", "UINT8", ["batch", 8, 6, 2], ["logits", "probabilities"]]


def test_it_says_what_its_outputs_mean(graphs):
    assert graphs["blocks=1"][5] == {"class_names": '["a", "b", "c"]', "largest_pixel": "255"}
    told = graphs["told"][5]
    assert told == {"class_names": '["a", "b", "c"]', "largest_pixel": "16", "test_accuracy": "0.975"}


NODES = {
    "model=convnet": {"Conv": 2, "MaxPool": 2, "Gemm": 2, "Relu": 3, "Softmax": 1},
    "pooling=average": {"Conv": 2, "AveragePool": 2, "Gemm": 2},
    "pooling=stride": {"Conv": 2, "MaxPool": 0, "Gemm": 2},
    "normalization=batch": {"Conv": 2, "MaxPool": 2, "Gemm": 2},  # its running statistics are a product and a sum
    "head=average": {"Conv": 2, "MaxPool": 2, "AveragePool": 1, "Gemm": 1},
    "model=lenet5": {"Conv": 2, "MaxPool": 2, "Gemm": 3},
    "model=mlp": {"Conv": 0, "Gemm": 3},
    "model=resnet": {"Conv": 6, "AveragePool": 1, "Gemm": 1},
}


@pytest.mark.parametrize("kind", NODES)
def test_a_layer_is_a_node(graphs, kind):
    nodes = graphs[kind][0]
    assert {name: nodes.count(name) for name in NODES[kind]} == NODES[kind]
    assert not {"Einsum", "MatMul", "Loop", "Scan", "If"} & set(nodes)


def test_a_network_that_locates_objects_gives_its_outputs_alone(graphs, folder):
    assert graphs["objects"][4] == ["outputs"]
    answers = exported.answers_in(folder, "objects", 7)
    outputs = make(objects=1).outputs(exported.IMAGES[7])
    np.testing.assert_allclose(answers["outputs"], outputs, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_computed_in_float32(graphs, folder):
    answers = exported.answers_in(folder, "bfloat16", 7)
    exported.close(answers, make(), exported.IMAGES[7])


def test_the_command_writes_what_is_read_as_it_says(python, tmp_path):
    make().save(tmp_path / "kept")
    command = ["-m", "experiments.export", f"--workdir={tmp_path / 'kept'}", "--to=onnx", "--compiled_dir="]
    environment = {**os.environ, "JAX_NUMPY_RANK_PROMOTION": "raise"}
    arguments = [python, "-W", "error", *command]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.partition("\n\n")[2]
    exported.images_as_files(tmp_path)
    code = f"import numpy as np; images = np.load('images7.npy')\n{lines}"
    code += "\nassert class_names == ['a', 'b', 'c']"
    exported.run(f"{code}\nnp.savez('a.7.npz', logits=logits, probabilities=probabilities)", tmp_path, python)
    exported.close(exported.answers_in(tmp_path, "a", 7), make(), exported.IMAGES[7])
