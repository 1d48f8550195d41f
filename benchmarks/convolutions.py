"""How fast each convolution of a network is on one core: forward, input gradient and kernel gradient, by form.

    taskset -c 0 python -m benchmarks.convolutions --rounds=5
    taskset -c 0 python -m benchmarks.convolutions --rounds=5 --output=convolutions.json

The networks are those of `benchmarks.problems` that have all kinds of convolution: the two of the recipes, LeNet-5, the
residual network, the one with strided convolutions, and that of the sweep on digits. A micro-batch has 16 images.
The numbers are GFLOP/s of `forms.PLAIN` (plain) and of `forms.fast("cpu")` (fast), medians of turns in one run. They
count the operations of the plain form, whatever a form computes, and processor time, which other programs disturb
least. `share` is the time of a layer's passes in the fast form over the time of all convolutions of its network.
A first layer needs no input gradient.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import report
from benchmarks.problems import CLASSES, PROBLEMS
from cnn.network import forms, models
from cnn.network.geometry import Padding, Pair
from cnn.network.layers import Conv, Shape, Signal

IMAGES = 16
FORMS = {"plain": forms.PLAIN, "fast": forms.fast("cpu")}
PASSES = ("forward", "input gradient", "kernel gradient")


class Convolution(NamedTuple):
    """A convolution of a network."""

    network: str
    image: Shape  # that it takes: height, width, channels
    result: Shape
    filter_size: Pair
    stride: Pair
    padding: Padding

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The shapes of the images, of the kernel and of the result."""
        kernel = (*self.filter_size, self.image[2], self.result[2])
        return (IMAGES, *self.image), kernel, (IMAGES, *self.result)

    @property
    def name(self) -> str:
        """Image, filter, channels and filters.

        Example:
            >>> Convolution("a", (32, 32, 3), (16, 16, 64), (3, 3), (2, 2), "SAME").name
            '32x32, 3x3 by 2, 3 to 64'
        """
        by = f" by {self.stride[0]}" if self.stride[0] > 1 else ""
        size, filter_size = (f"{height}x{width}" for height, width in (self.image[:2], self.filter_size))
        return f"{size}, {filter_size}{by}, {self.image[2]} to {self.result[2]}"

    @property
    def gflop(self) -> float:
        """Operations of one pass in the plain form, in thousand millions."""
        _, kernel, result = self.shapes
        return 2 * math.prod(result) * math.prod(kernel[:3]) / 1e9


def of_network(name: str) -> Iterator[Convolution]:
    """The convolutions of a network of `benchmarks.problems`, in its order."""
    problem = PROBLEMS[name]
    network = models.build(problem.network, problem.image_shape, CLASSES)
    for visit in network.visits(Signal(problem.image_shape)):
        if isinstance(visit.layer, Conv):
            yield Convolution(name, visit.before.shape, visit.after.shape, *visit.layer.window(visit.before.shape))


NETWORKS = ("recipe_cifar10", "recipe_mnist", "lenet5", "resnet", "stride", "sweep")


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
    convolve = functools.partial(form.conv2d, stride=convolution.stride, padding=convolution.padding)

    def by_input(gradient: jax.Array, kernel: jax.Array) -> Any:
        return jax.vjp(lambda x: convolve(x, kernel), jnp.zeros(shapes[0]))[1](gradient)

    def by_kernel(x: jax.Array, gradient: jax.Array) -> Any:
        return jax.vjp(lambda kernel: convolve(x, kernel), jnp.zeros(shapes[1]))[1](gradient)

    functions: list[tuple[Callable[..., Any], tuple[jax.Array, jax.Array]]]
    functions = [(convolve, (x, kernel)), (by_input, (gradient, kernel)), (by_kernel, (x, gradient))]
    compiled = [functools.partial(jax.jit(function), *arguments) for function, arguments in functions]
    needed = dict(zip(PASSES, compiled, strict=True))
    return {name: needed[name] for name in PASSES if convolution.image[2] > 3 or name != "input gradient"}


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
    row = {"network": layer.convolution.network, "convolution": layer.convolution.name}
    for what in PASSES:
        for form in FORMS:
            seconds = layer.seconds.get(what)
            row[f"{what}, {form}"] = f"{layer.convolution.gflop / seconds[form]:.0f}" if seconds else "-"
    return {**row, "share": f"{layer.total() / whole:.0%}"}


def main(options: flags.FlagValues) -> None:
    """Measure every layer, print the table, and write it where asked."""
    jax.config.update("jax_platforms", "cpu")  # the forms are a CPU's
    layers = [measure(convolution, options.rounds) for name in NETWORKS for convolution in of_network(name)]
    whole: dict[str, float] = {}
    for layer in layers:
        network = layer.convolution.network
        whole[network] = whole.get(network, 0.0) + layer.total()
    print(report.table([cells(layer, whole[layer.convolution.network]) for layer in layers]))
    print(f"\n{options.rounds} rounds; jax {jax.__version__}, {IMAGES} images")
    rows = [
        {**layer.convolution._asdict(), "gflop": layer.convolution.gflop, "seconds": layer.seconds} for layer in layers
    ]
    report.write(options.output, {"rounds": options.rounds}, {"rows": rows})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_integer("rounds", 7, "how often each pass is timed", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
