"""How fast exported files are: images per second of a StableHLO program and of ONNX Runtime, beside `Trained.outputs`.

    python -m benchmarks.exported

The network is the one that `train` takes for MNIST, with the weights that it starts with. `Trained.outputs` pads to
batches of 1, 16 or 128; `forward` is the same function compiled for the batch itself. Each side is a process of its
own, and the sides take turns; a turn has many calls. The table has the median of images per second, and the median
ratio to `Trained.outputs` in the same round, the lowest and highest in brackets. To compile and to read a file is not
timed. ONNX needs the extra [onnx]; without it, its row says so.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import report
from benchmarks.turns import Call, Side, Unavailable, take_turns
from cnn import machine, recipes
from cnn.config import NetworkConfig, TrialConfig
from cnn.errors import RequestError
from cnn.network import models
from cnn.trained import export
from cnn.trained.network import Trained, forward

SHAPE = (28, 28, 1)
BATCHES = (1, 128)
PACKAGES = ("jax", "jax2onnx", "onnxruntime")


def untrained() -> Trained:
    """The network of MNIST's quick recipe before training."""
    known = {field.name for field in dataclasses.fields(NetworkConfig)}
    recipe = recipes.defaults("train", "mnist", "convnet", "quick")
    config = NetworkConfig(**{name: value for name, value in recipe.items() if name in known})
    network = models.build(config, SHAPE, 10)
    variables = jax.jit(network.init)(jax.random.key(0), jnp.ones((1, *SHAPE)))
    scale = (np.full(1, 33.3, np.float32), np.full(1, 78.6, np.float32))
    names = tuple(map(str, range(10)))
    return Trained(TrialConfig("mnist", network=config), dict(variables), *scale, SHAPE, names, 10)


def native(folder: str, batch: int, calls: int) -> Call:
    """`Trained.outputs`, which gives logits."""
    trained = Trained.load(Path(folder))
    return _repeated(trained.outputs, batch, calls)


def compiled_forward(folder: str, batch: int, calls: int) -> Call:
    """What `Trained.outputs` computes, compiled for the batch."""
    trained = Trained.load(Path(folder))
    scale = (jnp.asarray(trained.mean), jnp.asarray(trained.deviation))
    answer = jax.jit(lambda x: forward(trained.network, trained.forms, trained.precision, trained.variables, x, *scale))
    return _repeated(lambda images: jax.block_until_ready(answer(images)), batch, calls)


def program(folder: str, batch: int, calls: int) -> Call:
    """The StableHLO program, which gives logits and probabilities."""
    exported = jax.export.deserialize(bytearray((Path(folder) / "exported.stablehlo").read_bytes()))
    answer = jax.jit(exported.call)
    return _repeated(lambda images: jax.block_until_ready(answer(images)), batch, calls)


def onnx_runtime(folder: str, batch: int, calls: int) -> Call:
    """ONNX Runtime with its defaults, which gives logits and probabilities."""
    path = Path(folder) / "exported.onnx"
    if not path.exists():
        raise Unavailable("the extra [onnx] is missing")
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return _repeated(lambda images: session.run(None, {"images": images}), batch, calls)


SIDES = {
    "Trained.outputs": native,
    "forward": compiled_forward,
    "StableHLO program": program,
    "ONNX Runtime": onnx_runtime,
}


def _repeated(answer: Callable[[np.ndarray], object], batch: int, calls: int) -> Call:
    images = np.random.default_rng(0).integers(0, 256, (batch, *SHAPE), np.uint8)

    def run() -> None:
        for _ in range(calls):
            answer(images)

    return run


def measure(folder: Path, batch: int, calls: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each side: its images per second in each round, or why it could not run."""
    sides = {}
    reasons = {}
    for name, build in SIDES.items():
        try:
            sides[name] = Side(build, str(folder), batch, calls)
        except Unavailable as reason:
            reasons[name] = str(reason)
    try:
        seconds = take_turns(sides, rounds)
    finally:
        for side in sides.values():
            side.close()
    speeds = {name: [batch * calls / turn for turn in turns] for name, turns in seconds.items()}
    return [
        {"batch": batch, "side": name, "images_per_second": speeds.get(name, []), "missing": reasons.get(name)}
        for name in SIDES
    ]


def _shown(row: dict[str, Any], native: list[float]) -> dict[str, str]:
    speeds = row["images_per_second"]
    shown = {"batch": str(row["batch"]), "side": row["side"]}
    if not speeds:
        return {**shown, "images per second": "-", "ratio": row["missing"]}
    ratios = [own / base for own, base in zip(speeds, native, strict=True)]
    return {**shown, "images per second": f"{np.median(speeds):,.0f}", "ratio": report.spread(ratios, 2)}


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def main(options: flags.FlagValues) -> None:
    """Export, measure, print the table, and write it where asked."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # ONNX Runtime runs there too; for the sides, and below for this process
    jax.config.update("jax_platforms", "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained = untrained()
        trained.save(folder)
        (folder / "exported.stablehlo").write_bytes(export.stablehlo(trained))
        with contextlib.suppress(RequestError):  # its row says so
            (folder / "exported.onnx").write_bytes(export.onnx(trained))
        groups = [measure(folder, batch, options.calls, options.rounds) for batch in BATCHES]
    rows = [row for group in groups for row in group]
    shown = [_shown(row, group[0]["images_per_second"]) for group in groups for row in group]
    versions = ", ".join(map(_version, PACKAGES))
    print(f"{report.table(shown)}\n\n{options.rounds} rounds; {machine.cores()} cores, {versions}")
    settings = {"rounds": options.rounds, "calls": options.calls}
    report.write(options.output, settings, {"rows": rows, "versions": versions})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_integer("rounds", 9, "turns of each side", lower_bound=1, flag_values=options)
    flags.DEFINE_integer("calls", 20, "calls of a turn", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
