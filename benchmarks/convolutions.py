"""How fast each convolution of a network is on one core: forward, input gradient and kernel gradient, by form.

    taskset -c 0 python -m benchmarks.convolutions --rounds=5
    taskset -c 0 python -m benchmarks.convolutions --rounds=5 --output=convolutions.json

The networks are four blocks of two convolutions on 32x32x3, widths 32, 64, 128 and 256 (`colour`), three such blocks
on 28x28x1, widths 16, 32 and 64 (`grey`), and LeNet-5 of today (`lenet5`). A micro-batch has 16 images. The numbers are
GFLOP/s of `forms.PLAIN` (plain) and of `forms.fast("cpu")` (fast), medians of turns in one run. They count the
operations of the plain form, whatever a form computes, and processor time, which other programs disturb least. `share`
is the time of a layer's passes in the fast form over the time of all convolutions of its network. A first layer needs
no input gradient.
"""

import functools
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import report
from cnn.network import forms

IMAGES = 16
FORMS = {"plain": forms.PLAIN, "fast": forms.fast("cpu")}
PASSES = ("forward", "input gradient", "kernel gradient")


class Convolution(NamedTuple):
    """A convolution of a network; the image and the filter are squares."""

    network: str
    size: int  # of the image
    channels: int
    filters: int
    filter_size: int = 3
    padding: int = 1

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The shapes of the images, of the kernel and of the result."""
        out = self.size + 2 * self.padding - self.filter_size + 1
        kernel = (self.filter_size, self.filter_size, self.channels, self.filters)
        return (IMAGES, self.size, self.size, self.channels), kernel, (IMAGES, out, out, self.filters)

    @property
    def gflop(self) -> float:
        """Operations of one pass in the plain form, in thousand millions."""
        _, kernel, result = self.shapes
        return 2 * math.prod(result) * math.prod(kernel[:3]) / 1e9


def two_a_block(network: str, size: int, channels: int, width: int, blocks: int) -> Iterator[Convolution]:
    """The convolutions of so many blocks of two: each block halves the image and doubles the width."""
    for block in range(blocks):
        filters = width * 2**block
        yield Convolution(network, size // 2**block, filters // 2 if block else channels, filters)
        yield Convolution(network, size // 2**block, filters, filters)


CONVOLUTIONS = (
    *two_a_block("colour", 32, 3, 32, 4),
    *two_a_block("grey", 28, 1, 16, 3),
    Convolution("lenet5", 28, 1, 6, 5, 2),
    Convolution("lenet5", 14, 6, 16, 5, 0),
)


class Layer(NamedTuple):
    """Median seconds of each pass in each form; a pass that a step does not need has none."""

    convolution: Convolution
    seconds: dict[str, dict[str, float]]

    def total(self) -> float:
        """Seconds of all passes in the fast form."""
        return sum(times["fast"] for times in self.seconds.values())


def passes(form: forms.Forms, convolution: Convolution) -> dict[str, Callable[[], object]]:
    """Compiled functions for the passes of a convolution."""
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = convolution.shapes
    x, kernel, gradient = (jax.random.normal(key, of) for key, of in zip(keys, shapes, strict=True))
    convolve = functools.partial(form.conv2d, padding=convolution.padding)

    def by_input(gradient: jax.Array, kernel: jax.Array) -> Any:
        return jax.vjp(lambda x: convolve(x, kernel), jnp.zeros(shapes[0]))[1](gradient)

    def by_kernel(x: jax.Array, gradient: jax.Array) -> Any:
        return jax.vjp(lambda kernel: convolve(x, kernel), jnp.zeros(shapes[1]))[1](gradient)

    functions: list[tuple[Callable[..., Any], tuple[jax.Array, jax.Array]]]
    functions = [(convolve, (x, kernel)), (by_input, (gradient, kernel)), (by_kernel, (x, gradient))]
    compiled = [functools.partial(jax.jit(function), *arguments) for function, arguments in functions]
    needed = dict(zip(PASSES, compiled, strict=True))
    return {name: needed[name] for name in PASSES if convolution.channels > 3 or name != "input gradient"}


def measure(convolution: Convolution, rounds: int) -> Layer:
    """Time every pass in every form, in turn."""
    calls = {name: passes(form, convolution) for name, form in FORMS.items()}
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
    return Layer(convolution, medians)


def cells(layer: Layer, whole: float) -> dict[str, str]:
    """A layer as the table has it; `whole` is the time of all layers of its network."""
    network, size, channels, filters, filter_size, _ = layer.convolution
    name = f"{size}x{size}, {filter_size}x{filter_size}, {channels} to {filters}"
    row = {"network": network, "convolution": name}
    for what in PASSES:
        for form in FORMS:
            seconds = layer.seconds.get(what)
            row[f"{what}, {form}"] = f"{layer.convolution.gflop / seconds[form]:.0f}" if seconds else "-"
    return {**row, "share": f"{layer.total() / whole:.0%}"}


def main(options: flags.FlagValues) -> None:
    """Measure every layer, print the table, and write it where asked."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # the forms are a CPU's
    layers = [measure(convolution, options.rounds) for convolution in CONVOLUTIONS]
    whole: dict[str, float] = {}
    for layer in layers:
        network = layer.convolution.network
        whole[network] = whole.get(network, 0.0) + layer.total()
    print(report.table([cells(layer, whole[layer.convolution.network]) for layer in layers]))
    print(f"\n{options.rounds} rounds; jax {jax.__version__}, {IMAGES} images")
    rows = [{**layer.convolution._asdict(), "seconds": layer.seconds} for layer in layers]
    report.write(options.output, {"rounds": options.rounds}, {"rows": rows})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_integer("rounds", 7, "how often each pass is timed", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
