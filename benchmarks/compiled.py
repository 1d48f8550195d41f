"""What XLA compiles for a TPU v5e and for an NVIDIA H100, without the device: what backs each choice of `cnn.backends`.

    python -m benchmarks.compiled --devices=tpu
    python -m benchmarks.compiled --devices=gpu --output=compiled.json

Each program is that of `cnn.training.loops.scan`, with the choice and without. A table has, for one training step of
all replicas of a program, or for a piece of their evaluation: the kernels; those of cuDNN (forward, gradient of the
filters, gradient of the input), with the largest window of the forward ones; convolutions and matrix products, and how
many of them ask for a precision; collectives; the millions of cycles that the compiler for a TPU estimates, and the
large kernels that it estimates none for; MiB of temporaries, of arguments, and of the results of all kernels. The
seconds that a compilation took are those of a machine that did other work too.

A TPU needs the package libtpu, a GPU jax[cuda12] or jax[cuda13], of the version of JAX. Nothing is timed on a GPU to
choose among kernels (`--xla_gpu_autotune_level=0`), as there is none.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks import hlo, ours, report
from benchmarks.turns import Unavailable
from cnn import backends
from cnn.config import NetworkConfig, TrainingConfig
from cnn.data.batches import Images
from cnn.network import forms, ops
from cnn.network.geometry import Axes, Padding
from cnn.training.loops.scan import BATCHES, BY_BATCH, BY_BOTH, BY_REPLICA, EVERYWHERE, ScanLoop
from cnn.training.step import Program, Replica, Totals, TrainState

BATCH = 128
STEPS = 390  # of an epoch; the data set has so many batches
NETWORKS = {
    "28x28x1": ((28, 28, 1), NetworkConfig(blocks=2, width=16)),  # 16 and 32 filters
    "32x32x3": ((32, 32, 3), NetworkConfig(blocks=3, width=32)),  # 32, 64 and 128
    "32x32x3, wide": ((32, 32, 3), NetworkConfig(blocks=3, width=64)),  # 64, 128 and 256
}
SUM = "grad of sum"  # the gradient of the sum of all losses: `Program.steps`
EACH = "vmap of grad"  # the gradients of the losses side by side
ONE_BY_ONE = "lax.map"  # one replica after another
EVALUATION = "none: evaluation"  # of some batches of images by each replica
# What the compiler must know of an NVIDIA H100 SXM: the limits of a block, the processors, the memories and cuDNN.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132  fpus_per_core: 128  clock_rate_ghz: 1.98
  threads_per_warp: 32  threads_per_block_limit: 1024  threads_per_core_limit: 2048
  registers_per_block_limit: 65536  registers_per_core_limit: 65536
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  device_memory_size: 84942979072  memory_bandwidth: 3352320000000  l2_cache_size: 52428800
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


class Case(NamedTuple):
    """One program."""

    network: str  # of `NETWORKS`
    precision: str
    gradient: str  # SUM, EACH, ONE_BY_ONE or EVALUATION
    max_pool: str  # cells or windows
    convolution: str = "plain"  # or product
    replicas: int = 8
    devices: int = 1
    batches: int = BATCHES  # of an evaluation, on each device


class Each(Program):
    """The program whose step is `step`, by `vmap`."""

    def steps(self, states: TrainState, totals: Totals, replicas: Replica, given: Any) -> tuple[TrainState, Totals]:
        return jax.vmap(self.step, (0, 0, 0, (None, 0)))(states, totals, replicas, given)


def cases(backend: str) -> Iterator[Case]:
    """The programs for a row of the table of backends: each choice, and what it was chosen from."""
    own = backends.of(backend).max_pool.value
    (other,) = {"cells", "windows"} - {own}
    *usual, wide = NETWORKS
    for gradient in (SUM, ONE_BY_ONE, EVALUATION):
        yield Case(wide, "bfloat16", gradient, own)
    for network in usual:
        for gradient in (SUM, ONE_BY_ONE, EACH, EVALUATION):
            yield Case(network, "bfloat16", gradient, own)
        for gradient in (SUM, ONE_BY_ONE):
            yield Case(network, "bfloat16", gradient, other)
            yield Case(network, "bfloat16", gradient, own, "product")
        for replicas in (1, 16, 64) if backend == "gpu" else (1,):
            yield Case(network, "bfloat16", SUM, own, replicas=replicas)
    for replicas in (8, 1):
        yield Case("28x28x1", "bfloat16", SUM, own, replicas=replicas, devices=4)
    for network in usual:
        if backend == "tpu":  # whose compiler estimates what comes before the first batch
            yield Case(network, "bfloat16", EVALUATION, own, batches=1)
        yield Case(network, "tensorfloat32", SUM, own)
        yield Case(network, "float32", EVALUATION, own)
        # In float32 with lax.map, the compiler for a TPU had not finished after nine minutes.
        for gradient in (SUM, EACH, ONE_BY_ONE) if backend == "gpu" else (SUM, EACH):
            yield Case(network, "float32", gradient, own)


def program(case: Case) -> Program:
    """The program of a case, before anything is traced."""
    image_shape, network = NETWORKS[case.network]
    training = TrainingConfig(batch_size=BATCH, precision=case.precision)
    found = ours.random_program(image_shape, network, training, STEPS)
    convolution = {"plain": ops.conv2d, "product": _conv2d_by_product}[case.convolution]
    max_pool = {"cells": forms.fast("cpu").max_pool2d, "windows": ops.max_pool2d}[case.max_pool]
    found = dataclasses.replace(found, forms=forms.Chosen(convolution, max_pool), micro_batch=BATCH)
    fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return Each(**fields) if case.gradient == EACH else found


def _conv2d_by_product(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None, *, stride: Axes = 1, padding: Padding = 0
) -> jax.Array:
    return ops.add_bias(forms.product(*ops.convolution(x, kernel, bias, stride, padding)), bias)


def lowered(case: Case, devices: list[jax.Device]) -> jax.stages.Lowered:
    """The steps of a case, or its evaluation, as JAX hands them to the compiler; only shapes are known."""
    together = 1 if case.gradient == ONE_BY_ONE else case.replicas
    programs = ScanLoop(program(case), devices[: case.devices], together).compiled(case.replicas)
    replicas, totals, data = jax.eval_shape(lambda: _arguments(case))
    states = jax.eval_shape(programs.init, replicas)
    by_replica = _laid((states, totals, replicas), programs.mesh, BY_REPLICA)
    if case.gradient == EVALUATION:
        size = ScanLoop.batch_size // programs.side_by_side(case.replicas)
        batches = case.batches * case.devices
        indices = jax.ShapeDtypeStruct((case.replicas, batches, size, 1), jnp.int32)
        mask = jax.ShapeDtypeStruct((batches, size), jnp.bool_)
        states, _, replicas = by_replica
        given = _laid(data, programs.mesh, EVERYWHERE), _laid(indices, programs.mesh, BY_BOTH)
        return programs.evaluate.lower(states, replicas, *given, _laid(mask, programs.mesh, BY_BATCH))
    epoch = count = jax.ShapeDtypeStruct((), jnp.int32)
    return programs.steps.lower(*by_replica, *_laid((data, epoch, count), programs.mesh, EVERYWHERE))


def _arguments(case: Case) -> tuple[Replica, Totals, Images]:
    """Replicas, sums and images of the right shapes."""
    image_shape = NETWORKS[case.network][0]
    images = BATCH * STEPS
    each = jnp.zeros(case.replicas, jnp.int32)
    rate = jnp.zeros(case.replicas)
    scale = jnp.zeros((case.replicas, image_shape[2]))
    replicas = Replica(each, rate, jnp.zeros((case.replicas, images), jnp.int32), scale, scale)
    data = Images(jnp.zeros((images, *image_shape), jnp.uint8), jnp.zeros(images, jnp.int32))
    return replicas, Totals(rate, each, each, each), data


def _laid(shapes: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    where = NamedSharding(mesh, spec)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), shapes)


def compiled(case: Case, devices: list[jax.Device]) -> dict[str, Any]:
    """What the compiler makes of a case."""
    traced = lowered(case, devices)
    started = time.perf_counter()
    done = traced.compile()
    seconds = time.perf_counter() - started
    memory: Any = done.memory_analysis()
    text = done.as_text() or ""
    step = hlo.whole(text) if case.gradient == EVALUATION else hlo.step(text)
    sizes = {"temporaries": memory.temp_size_in_bytes, "arguments": memory.argument_size_in_bytes}
    return {**case._asdict(), **step._asdict(), **sizes, "compile_seconds": seconds}


def tpu() -> tuple[list[jax.Device], str]:
    """Four devices of a TPU v5e that are not there, and the compiler's version.

    Raises:
        Unavailable: the compiler is not installed.
    """
    found = _installed("a TPU", "libtpu")
    for name, value in (  # or else libtpu asks the network which machine this is
        ("TPU_SKIP_MDS_QUERY", "1"),
        ("TPU_ACCELERATOR_TYPE", "v5litepod-4"),
        ("TPU_WORKER_HOSTNAMES", "localhost"),
    ):
        os.environ.setdefault(name, value)
    return list(topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices), found


def gpu() -> tuple[list[jax.Device], str]:
    """Four NVIDIA H100 that are not there, and the compiler's version.

    Raises:
        Unavailable: the compiler is not installed.
    """
    found = _installed("a GPU", "jax-cuda12-plugin", "jax-cuda13-plugin")
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"
    described = {"target_config": H100, "topology": "1x1x4"}  # one machine
    return list(topologies.get_topology_desc(platform="cuda", topology_name="H100", **described).devices), found


DEVICES: dict[str, Callable[[], tuple[list[jax.Device], str]]] = {"tpu": tpu, "gpu": gpu}
INSTALL = {"a TPU": "libtpu", "a GPU": f"'jax[cuda12]=={jax.__version__}'"}


def _installed(device: str, *packages: str) -> str:
    for package in packages:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    raise Unavailable(f"no compiler for {device}: pip install {INSTALL[device]}")


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A row as the table has it."""
    gradient = f"{row['gradient']} of {row['batches']}" if row["gradient"] == EVALUATION else row["gradient"]
    kernels = " ".join(str(row["convolutions"].get(what, 0)) for what in ("forward", "filter", "input"))
    return {
        **{name: row[name] for name in ("network", "precision")},
        "gradient, pooling, convolution": f"{gradient}, {row['max_pool']}, {row['convolution']}",
        "replicas": f"{row['replicas']} on {row['devices']}",
        "kernels": f"{row['kernels']:,}",
        "cuDNN": kernels if row["convolutions"] else "-",
        "window": "x".join(map(str, row["largest_window"])) or "-",
        "products": f"{row['products']:,}",
        "asked for": _counted(row["asked"]),
        "collectives": _counted(row["collectives"]),
        "cycles, M": "-" if row["cycles"] is None else f"{row['cycles'] / 1e6:.2f}",
        "no estimate": "-" if row["cycles"] is None else _counted(row["silent"]),
        **{f"{name}, MiB": f"{row[name] / 2**20:.1f}" for name in ("temporaries", "arguments", "written")},
        "compiled, s": f"{row['compile_seconds']:.0f}",
    }


def _counted(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(numbers.items())) or "-"


def main(options: flags.FlagValues) -> None:
    """Compile every program for each device, print its table, and write it where asked."""
    jax.config.update("jax_platforms", "cpu")  # no device is looked for
    try:
        found = {name: DEVICES[name]() for name in options.devices}
    except Unavailable as reason:
        sys.exit(str(reason))
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, (devices, compiler) in found.items():
        rows[name] = []
        for case in cases(name):
            rows[name].append(compiled(case, devices))
            # A benchmark that is ended early leaves what it has compiled.
            report.write(options.output, {"devices": options.devices}, {"rows": rows, "compiler": compiler})
        print(report.table(_filled([cells(row) for row in rows[name]])))
        print(f"\n{devices[0].device_kind}; jax {jax.__version__}, {compiler}; batch {BATCH}\n")


def _filled(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The columns that say something of this device."""
    return [{name: cell for name, cell in row.items() if any(each[name] != "-" for each in rows)} for row in rows]


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    known = ", ".join(DEVICES)
    flags.DEFINE_list("devices", list(DEVICES), f"what is compiled for: {known}", flag_values=options)
    flags.register_validator(
        "devices",
        lambda names: set() < set(names) <= set(DEVICES),
        f"must be of {known}, one or more",
        flag_values=options,
    )
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
