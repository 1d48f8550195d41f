"""How fast each convolution of a network is on one core: forward, input gradient and kernel gradient, by form.

    taskset -c 0 python -m benchmarks.convolutions --rounds=5
    taskset -c 0 python -m benchmarks.convolutions --rounds=5 --output=convolutions.json

The layers are those of four blocks of two convolutions, 32x32x3, widths 32, 64, 128 and 256; a micro-batch has 16
images. The numbers are GFLOP/s of `forms.PLAIN` (plain) and of `forms.fast("cpu")` (fast), medians of turns in one run.
They count the operations of the plain form, whatever a form computes, and processor time, which other programs disturb
least. `share` is the time of a layer's passes in the fast form over the time of all layers. The first layer needs no
input gradient.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import report
from cnn.network import forms

IMAGES = 16
LAYERS = (  # size, channels, filters
    *((32, 3, 32), (32, 32, 32), (16, 32, 64), (16, 64, 64)),
    *((8, 64, 128), (8, 128, 128), (4, 128, 256), (4, 256, 256)),
)
FORMS = {"plain": forms.PLAIN, "fast": forms.fast("cpu")}
PASSES = ("forward", "input gradient", "kernel gradient")


class Layer(NamedTuple):
    """Median seconds of each pass in each form; a pass that a step does not need has none."""

    shape: tuple[int, int, int]
    seconds: dict[str, dict[str, float]]

    @property
    def gflop(self) -> float:
        """Operations of one pass in the plain form, in thousand millions."""
        size, channels, filters = self.shape
        return 2 * IMAGES * size**2 * 9 * channels * filters / 1e9

    def total(self) -> float:
        """Seconds of all passes in the fast form."""
        return sum(times["fast"] for times in self.seconds.values())


def passes(form: forms.Forms, shape: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """Compiled functions for the passes of a 3x3 convolution."""
    size, channels, filters = shape
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = (IMAGES, size, size, channels), (3, 3, channels, filters), (IMAGES, size, size, filters)
    x, kernel, gradient = (jax.random.normal(key, of) for key, of in zip(keys, shapes, strict=True))
    convolve = functools.partial(form.conv2d, padding=1)

    def by_input(gradient: jax.Array, kernel: jax.Array) -> Any:
        return jax.vjp(lambda x: convolve(x, kernel), jnp.zeros(shapes[0]))[1](gradient)

    def by_kernel(x: jax.Array, gradient: jax.Array) -> Any:
        return jax.vjp(lambda kernel: convolve(x, kernel), jnp.zeros(shapes[1]))[1](gradient)

    functions: list[tuple[Callable[..., Any], tuple[jax.Array, jax.Array]]]
    functions = [(convolve, (x, kernel)), (by_input, (gradient, kernel)), (by_kernel, (x, gradient))]
    compiled = [functools.partial(jax.jit(function), *arguments) for function, arguments in functions]
    needed = dict(zip(PASSES, compiled, strict=True))
    return {name: needed[name] for name in PASSES if channels > 3 or name != "input gradient"}


def measure(shape: tuple[int, int, int], rounds: int) -> Layer:
    """Time every pass in every form, in turn."""
    calls = {name: passes(form, shape) for name, form in FORMS.items()}
    seconds: dict[str, dict[str, list[float]]] = {what: {name: [] for name in FORMS} for what in calls["fast"]}
    for timed in (False, *[True] * rounds):  # the first call compiles
        for what, of_form in seconds.items():
            for name, values in of_form.items():
                started = time.process_time()
                for _ in range(5):
                    jax.block_until_ready(calls[name][what]())
                if timed:
                    values.append((time.process_time() - started) / 5)
    medians = {what: {name: float(np.median(v)) for name, v in of_form.items()} for what, of_form in seconds.items()}
    return Layer(shape, medians)


def cells(layer: Layer, whole: float) -> dict[str, str]:
    """A layer as the table has it; `whole` is the time of all layers."""
    size, channels, filters = layer.shape
    row = {"3x3 convolution": f"{size}x{size}, {channels} to {filters}"}
    for what in PASSES:
        for name in FORMS:
            seconds = layer.seconds.get(what)
            row[f"{what}, {name}"] = f"{layer.gflop / seconds[name]:.0f}" if seconds else "-"
    return {**row, "share": f"{layer.total() / whole:.0%}"}


def main(options: flags.FlagValues) -> None:
    """Measure every layer, print the table, and write it where asked."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # the forms are a CPU's
    layers = [measure(shape, options.rounds) for shape in LAYERS]
    whole = sum(layer.total() for layer in layers)
    print(report.table([cells(layer, whole) for layer in layers]))
    print(f"\n{options.rounds} rounds; jax {jax.__version__}, {IMAGES} images")
    report.write(options.output, {"rounds": options.rounds}, {"rows": [layer._asdict() for layer in layers]})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_integer("rounds", 7, "how often each pass is timed", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
