"""The command that hands a trained network on: what it writes, how that is read, and what it refuses in one line."""

import json

import numpy as np
import pytest

from cnn.trained import export
from cnn.trained.kept import JSON, WEIGHTS
from cnn.trained.network import Trained
from tests.experiments.test_errors import NO_FOLDERS
from tests.trained import exported

pytestmark = pytest.mark.thorough

READY = ("stablehlo", "safetensors")  # without an extra


@pytest.fixture
def kept(tmp_path):
    """A work folder with a trained network."""
    exported.make().save(tmp_path / "kept")
    return tmp_path / "kept"


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def printed_lines(done):
    """The lines that say how the file is read."""
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    first, empty, *lines = done.stdout.rstrip("\n").split("\n")
    assert first.startswith("Written: ") and first.endswith("It is read so:") and empty == "" and len(lines) in (3, 4)
    return first, "\n".join(lines)


@pytest.mark.parametrize("out", ["", "new folder/it's mine."])
@pytest.mark.parametrize("to", READY)
def test_the_file_is_read_as_it_says(ask, kept, tmp_path, to, out):
    path = tmp_path / f"{out}{to}" if out else kept / f"exported.{to}"
    flags = [f"--out={out}{to}"] if out else []
    before = files_in(kept)
    first, lines = printed_lines(ask("export", "--workdir=kept", f"--to={to}", *flags))
    assert f"({path.stat().st_size:,} bytes), convnet, trained on random with seed 0. It is" in first
    assert files_in(tmp_path).keys() - {path.relative_to(tmp_path)} == {kept.relative_to(tmp_path) / n for n in before}
    exported.images_as_files(tmp_path)
    images = "import numpy as np; images = np.load('images7.npy')\n"
    if to == "stablehlo":
        exported.run(f"{images}{lines}\nnp.savez('a.7.npz', logits=logits, probabilities=probabilities)", tmp_path)
        exported.close(exported.answers_in(tmp_path, "a", 7), exported.make(), exported.IMAGES[7])
        assert "uint8 [n, 8, 6, 2], from 0 to 255" in lines and "float32 [n, 3]" in lines
        assert lines.endswith("class_names = ('a', 'b', 'c')")
        return
    assert path.read_bytes() == export.safetensors(exported.make())
    said = exported.run(f"{lines}\nprint(json.dumps([sorted(tensors), described['class_names']]))", tmp_path)
    names, classes = json.loads(said)
    assert "params/block1/conv1/kernel" in names and classes == ["a", "b", "c"]


def test_a_network_that_locates_objects(ask, tmp_path):
    exported.make(objects=1).save(tmp_path / "kept")
    _, lines = printed_lines(ask("export", "--workdir=kept", "--to=stablehlo"))
    assert 'outputs = answer["outputs"]' in lines and "probabilities" not in lines


@pytest.mark.slow
@pytest.mark.thorough
def test_what_train_leaves_is_handed_on(ask, tmp_path):
    assert ask("train", "--dataset=digits", "--epochs=2", "--width=4", "--workdir=kept").returncode == 0
    first, lines = printed_lines(ask("export", "--workdir=kept", "--to=stablehlo"))
    trained = Trained.load(tmp_path / "kept")
    assert (
        f"convnet, trained on digits with seed 0, test accuracy {100 * trained.test_accuracy:.2f} %. It is read so:"
        in first
    )
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), np.uint8)
    np.save(tmp_path / "images.npy", images)
    code = f"import numpy as np; images = np.load('images.npy')\n{lines}"
    exported.run(f"{code}\nnp.savez('a.7.npz', logits=logits, probabilities=probabilities)", tmp_path)
    exported.close(exported.answers_in(tmp_path, "a", 7), trained, images)
    assert "from 0 to 16" in lines  # the pixels of digits
    again = ask("train", "--dataset=digits", "--epochs=2", "--width=4", "--workdir=kept")  # the folder is as it was
    assert (again.returncode, again.stderr) == (0, "")


WRONG = [
    ((), "workdir='': must be a folder with a trained network"),
    (("--workdir=kept",), "to='': must be one of stablehlo, safetensors, onnx"),
    (("--workdir=kept", "--to=onxn"), "nearest: onnx"),
    (("--workdir=none", "--to=stablehlo"), "workdir='none': must be a finished folder"),
    (("--workdir=images.npz", "--to=stablehlo"), "images.npz"),
    (("--workdir=~nobody-of-this-name", "--to=stablehlo"), "must name a user"),
    (("--workdir=kept", "--to=stablehlo", "--out=x.onnx"), "out='x.onnx': must be a file of printable name"),
    (("--workdir=kept", "--to=safetensors", "--out=kept/trained.safetensors"), "and not trained.safetensors"),
    (("--workdir=kept", "--to=stablehlo", "--out=kept/trained.json"), "ends with .stablehlo"),
    (("--workdir=kept", "--to=stablehlo", "--out=~nobody-of-this-name/x.stablehlo"), "must name a user"),
    (("--workdir=kept", "--to=stablehlo", "--out=a\nb.stablehlo"), "printable"),
    (("--workdir=kept", "--to=stablehlo", f"--out={'x' * 300}.stablehlo"), "must be a file that can be written"),
    (("--workdir=kept", "--to=stablehlo", "--out=folder.stablehlo"), "must be a file, not a folder"),
    (("--workdir=kept", "--to=stablehlo", "stray"), "'stray' is not a flag"),
    (("--workdir=kept", "--to=stablehlo", "--epochs=3"), "flag='epochs': must be a flag of this command"),
    (("--workdir=kept", "--to=stablehlo", "--ot=x"), "nearest: "),
    *((("--workdir=kept", "--to=stablehlo", f"--compiled_dir={text}"), accepted) for text, accepted in NO_FOLDERS),
]


@pytest.mark.parametrize("flags, said", WRONG, ids=range(len(WRONG)))
def test_wrong_values(ask, kept, tmp_path, flags, said):
    (tmp_path / "images.npz").write_bytes(b"no folder")
    (tmp_path / "folder.stablehlo").mkdir()
    before = files_in(tmp_path)
    done = ask("export", *flags)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and said in done.stderr, done.stderr
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("name", [JSON, WEIGHTS])
def test_a_damaged_network_is_refused(ask, kept, name):
    content = bytearray((kept / name).read_bytes())
    content[-20] ^= 1
    (kept / name).write_bytes(content)
    before = files_in(kept)
    done = ask("export", "--workdir=kept", "--to=stablehlo")
    assert done.returncode == 2 and name in done.stderr and done.stderr.count("\n") == 1
    assert files_in(kept) == before


@pytest.mark.parametrize("to", READY)
def test_a_full_disk_leaves_the_old_file(ask, kept, to):
    (kept / f"exported.{to}").write_bytes(b"the old file")
    before = files_in(kept)
    done = ask("export", "--workdir=kept", f"--to={to}", "--compiled_dir=", LARGEST_FILE="1000")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and f"exported.{to}" in done.stderr
    assert files_in(kept) == before
    assert ask("export", "--workdir=kept", f"--to={to}").returncode == 0
    assert (kept / f"exported.{to}").stat().st_size > 1000


def test_help_and_a_process_of_its_own(command, ask, kept):
    said = ask("export", "--help")
    assert (said.returncode, said.stderr) == (0, "")
    assert all(f"--{name}:" in said.stdout for name in ("workdir", "to", "out", "compiled_dir"))
    flags = ("--workdir=kept", "--to=safetensors")
    alone = command("export", *flags)
    asked = ask("export", *flags)
    assert (alone.returncode, alone.stdout, alone.stderr) == (0, asked.stdout, "")
