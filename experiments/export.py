"""How is a trained network handed on?

    python -m experiments.export --workdir=DIR --to=stablehlo
    python -m experiments.export --workdir=DIR --to=onnx --out=digits.onnx

Writes the trained network of a work folder into one file: exported.KIND in that folder, unless --out names another.
--to=stablehlo is a program for CPUs, NVIDIA GPUs and TPUs, which JAX alone runs. --to=onnx is a graph for ONNX Runtime
and others; it needs the extra: pip install '.[onnx]'. Both take uint8 images and give logits and probabilities.
--to=safetensors is the weights, and what describes them. The command prints the file's name and size, which network it
holds, and how it is read; nobody who reads it needs this package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnn import files
from cnn.config import setting
from cnn.errors import RequestError, require, require_known
from cnn.places import user_path
from cnn.study.chosen import trained_in
from cnn.trained import export
from cnn.trained.kept import METADATA, WEIGHTS
from cnn.trained.network import Trained
from experiments.command import leave
from experiments.command.experiment import Tool
from experiments.command.run import run_tool


@dataclass(frozen=True)
class Format:
    """One kind of file: what makes its content, and the lines that read it."""

    content: Callable[[Trained], bytes]
    lines: Callable[[Path, Trained], list[str]]


def _stablehlo_lines(path: Path, trained: Trained) -> list[str]:
    names = export.output_names(trained)
    values = ", ".join(f'answer["{name}"]' for name in names)
    return [
        "import jax.export, pathlib",
        f"answer = jax.export.deserialize(bytearray(pathlib.Path({str(path)!r}).read_bytes())).call(images)",
        f"{', '.join(names)} = {values}  # {_shapes(trained)}",
        f"class_names = {trained.class_names!r}",
    ]


def _onnx_lines(path: Path, trained: Trained) -> list[str]:
    names = export.output_names(trained)
    unpacked = ", ".join(names) if len(names) > 1 else f"({names[0]},)"
    return [
        "import json, onnxruntime",
        f"session = onnxruntime.InferenceSession({str(path)!r})",
        f'{unpacked} = session.run(None, {{"images": images}})  # {_shapes(trained)}',
        'class_names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])',
    ]


def _safetensors_lines(path: Path, trained: Trained) -> list[str]:
    return [
        "import json, safetensors.numpy",
        f"tensors = safetensors.numpy.load_file({str(path)!r})",
        f'described = json.loads(safetensors.safe_open({str(path)!r}, "numpy").metadata()["{METADATA}"])',
        f"# or, with this package: cnn.trained.network.Trained.load({str(path)!r})",
    ]


def _shapes(trained: Trained) -> str:
    image = ", ".join(map(str, trained.image_shape))
    outputs = ", ".join(map(str, trained.network.output_shape(trained.image_shape)))
    pixels = f"from 0 to {trained.largest_pixel}"
    return f"images: uint8 [n, {image}], {pixels}; each result: float32 [n, {outputs}]"


FORMATS = {
    "stablehlo": Format(export.stablehlo, _stablehlo_lines),
    "safetensors": Format(export.safetensors, _safetensors_lines),
    "onnx": Format(export.onnx, _onnx_lines),
}


@dataclass(frozen=True)
class Options:
    """The values of the flags."""

    workdir: str = setting("", "folder with the trained network, as a run has left it")
    to: str = setting("", f"kind of the file: {', '.join(FORMATS)}")
    out: str = setting("", "the file ('': exported.KIND in the work folder)")

    def __post_init__(self) -> None:
        require(bool(self.workdir), "workdir", self.workdir, "a folder with a trained network")
        require_known("to", self.to, FORMATS)

    def path(self) -> Path:
        """The file to write, which is never one of another kind, nor the weights of a work folder.

        Raises:
            RequestError: the flag names another file.
        """
        if not self.out:
            return user_path("workdir", self.workdir) / f"exported.{self.to}"
        path = user_path("out", self.out)
        fits = path.suffix == f".{self.to}" and path.name != WEIGHTS and self.out.isprintable()
        require(fits, "out", self.out, f"a file of printable name that ends with .{self.to}, and not {WEIGHTS}")
        try:
            folder = path.is_dir()
        except OSError as error:  # such as a name that is too long
            raise RequestError(f"out={self.out!r}: must be a file that can be written ({error.strerror})") from None
        require(not folder, "out", self.out, "a file, not a folder")
        return path


TOOL = Tool(name="export", doc=__doc__, options=Options)


def main(options: Options) -> int:
    """Export as the flags say, and print where the file is and how it is read."""
    path = options.path()
    trained = trained_in(user_path("workdir", options.workdir))
    kind = FORMATS[options.to]
    content = kind.content(trained)
    files.write(path, content)
    written = f"Written: {path} ({len(content):,} bytes), {trained.words}. It is read so:"
    return leave.say("\n".join([written, "", *kind.lines(path, trained)]))


if __name__ == "__main__":
    run_tool(TOOL, main)
