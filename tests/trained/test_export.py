"""Exported files, each read by another library alone in a process of its own, against the network itself."""

import dataclasses
import json
import subprocess
import sys

import jax.export
import numpy as np
import pytest

from cnn import machine
from cnn.errors import RequestError
from cnn.network.forms import PLAIN, fast
from cnn.trained import export
from cnn.trained.network import Trained
from tests.trained import exported
from tests.trained.exported import BATCHES, KINDS, make
from tests.trained.untrained import DEVIATION, MEAN, SHAPE

pytestmark = pytest.mark.thorough
RUN_PROGRAMS = f"""
import pathlib, jax.export, numpy as np
for path in pathlib.Path(".").glob("*.stablehlo"):
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    for n in {BATCHES}:
        np.savez(f"{{path.stem}}.{{n}}.npz", **program.call(np.load(f"images{{n}}.npy")))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder where every network's program has answered, in a process that knows JAX and NumPy."""
    folder = tmp_path_factory.mktemp("programs")
    exported.images_as_files(folder)
    for kind, settings in KINDS.items():
        (folder / f"{kind}.stablehlo").write_bytes(export.stablehlo(make(**settings)))
    exported.run(RUN_PROGRAMS, folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", BATCHES)
def test_a_program_gives_the_network_s_logits_and_probabilities(ran, kind, n):
    exported.close(exported.answers_in(ran, kind, n), make(**KINDS[kind]), exported.IMAGES[n])


def called(trained, n=7):
    program = jax.export.deserialize(bytearray(export.stablehlo(trained)))
    return {name: np.asarray(value) for name, value in program.call(exported.IMAGES[n]).items()}


def test_one_program_is_for_every_platform():
    program = jax.export.deserialize(bytearray(export.stablehlo(make())))
    assert program.platforms == ("cpu", "cuda", "tpu")
    (images,) = program.in_avals
    assert images.dtype == np.uint8 and images.shape[1:] == SHAPE and not isinstance(images.shape[0], int)


def test_the_forms_of_this_machine_are_not_in_a_program():
    trained = make()
    there = export.stablehlo(dataclasses.replace(trained, forms=fast("cpu")))
    assert there == export.stablehlo(dataclasses.replace(trained, forms=PLAIN))


def test_a_network_that_locates_objects_gives_its_outputs_alone():
    trained = make(objects=1)
    answers = called(trained)
    assert answers.keys() == {"outputs"} and export.output_names(trained) == ("outputs",)
    np.testing.assert_allclose(answers["outputs"], trained.outputs(exported.IMAGES[7]), rtol=1e-4, atol=1e-4)


def test_bfloat16_stays_what_it_is_in_a_program():
    trained = make(precision="bfloat16")
    logits = called(trained)["logits"]
    expected = trained.outputs(exported.IMAGES[7])
    exact = make().outputs(exported.IMAGES[7])
    scale = np.abs(expected).max()
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() < 0.02 * scale  # fused differently
    assert np.abs(logits - exact).max() > 1e-4 * scale


def test_weights_are_one_file_that_says_what_they_are(tmp_path):
    trained = dataclasses.replace(make(normalization="batch"), test_accuracy=0.5, dataset_fingerprint="f")
    (tmp_path / "x.safetensors").write_bytes(export.safetensors(trained))
    said = exported.run(
        """
import json, safetensors.numpy
tensors = safetensors.numpy.load_file("x.safetensors")
metadata = safetensors.safe_open("x.safetensors", "numpy").metadata()
shapes = {name: [*tensor.shape] for name, tensor in tensors.items()}
print(json.dumps([shapes, float(tensors["params/block1/conv1/kernel"].sum()), metadata]))
""",
        tmp_path,
    )
    shapes, total, metadata = json.loads(said)
    described = json.loads(metadata["trained"])
    assert metadata.keys() == {"trained"}
    assert shapes["mean"] == [2] and shapes["params/logits/kernel"] == [5, 3]
    assert any(name.startswith("batch_stats/block1/") for name in shapes)
    assert total == pytest.approx(float(trained.variables["params"]["block1"]["conv1"]["kernel"].sum()), abs=1e-5)
    assert described["mean"] == MEAN.tolist() and described["deviation"] == DEVIATION.tolist()
    assert described["class_names"] == ["a", "b", "c"] and described["image_shape"] == [*SHAPE]
    assert described["config"]["network"]["normalization"] == "batch"
    assert (described["output_size"], described["test_accuracy"], described["dataset_fingerprint"]) == (3, 0.5, "f")


READ_BACK = """
import pathlib, sys
import numpy as np
from cnn.trained.network import Trained
folder = pathlib.Path(sys.argv[1])
for path in folder.glob("*.safetensors"):
    trained = Trained.load(path)
    np.save(path.with_suffix(".npy"), trained.outputs(np.load(folder / "images7.npy")))
"""


@pytest.fixture(scope="module")
def read_back(tmp_path_factory):
    """The folder where every network has answered from its file of weights, in a fresh process."""
    folder = tmp_path_factory.mktemp("weights")
    exported.images_as_files(folder)
    for kind, settings in KINDS.items():
        (folder / f"{kind}.safetensors").write_bytes(export.safetensors(make(**settings)))
    arguments = [sys.executable, "-W", "error", "-c", READ_BACK, str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_weights_is_the_network_again(read_back, kind):
    """To the bit, in the forms that this machine's backend has."""
    trained = make(**KINDS[kind])
    own = dataclasses.replace(trained, forms=fast(machine.here().backend)).outputs(exported.IMAGES[7])
    np.testing.assert_array_equal(np.load(read_back / f"{kind}.npy"), own)
    loaded = Trained.load(read_back / f"{kind}.safetensors")
    for field in dataclasses.fields(trained):
        if field.name not in ("variables", "mean", "deviation", "forms"):
            assert getattr(loaded, field.name) == getattr(trained, field.name)


def test_a_program_names_no_folder_of_this_machine():
    before = jax.config.jax_traceback_in_locations_limit
    content = export.stablehlo(make())
    assert b".py" not in content and b"params" not in content
    assert jax.config.jax_traceback_in_locations_limit == before != 0


def test_equal_networks_give_equal_bytes():
    again = dataclasses.replace(make())
    for write in (export.stablehlo, export.safetensors):
        assert write(make()) == write(again)


def test_onnx_without_its_extra_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(RequestError, match=r"^to='onnx': needs jax2onnx.*pip install '\.\[onnx\]'"):
        export.onnx(make())
