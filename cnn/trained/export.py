"""A trained network as one file to hand on: a StableHLO program, an ONNX graph, or its weights as safetensors.

Program and graph hold the weights and the scale of the pixels. They take uint8 images [batch, height, width, channels],
any number of them, and give `logits` and `probabilities`, each float32 [batch, classes]. A network that locates objects
gives its `outputs` alone. All operations are in plain forms, which are the same on every platform. So a logit differs
from the network's own by rounding: in float32 by at most 1e-5 of the largest logit of the images asked about.

A StableHLO program has no place for what its outputs mean: class names, the value of white, test accuracy. The command
prints them; an ONNX graph and a file of weights hold them.

Example, a network that has not been trained:
    >>> import numpy as np
    >>> from cnn.config import NetworkConfig, TrialConfig
    >>> config = TrialConfig("mine", network=NetworkConfig(model="mlp", hidden=4))
    >>> network = models.build(config.network, (2, 2, 1), outputs=3)
    >>> variables = jax.jit(network.init)(jax.random.key(0), jnp.ones((1, 2, 2, 1)))
    >>> scale = (np.zeros(1, np.float32), np.ones(1, np.float32))
    >>> trained = Trained(config, variables, *scale, (2, 2, 1), ("a", "b", "c"), output_size=3)
    >>> program = jax.export.deserialize(bytearray(stablehlo(trained)))
    >>> answer = program.call(np.zeros((5, 2, 2, 1), np.uint8))
    >>> answer["logits"].shape, answer["probabilities"].sum(1).round(3).tolist()
    ((5, 3), [1.0, 1.0, 1.0, 1.0, 1.0])
"""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
from jax import Array

from cnn.errors import RequestError
from cnn.network import models, ops
from cnn.network.forms import PLAIN, Chosen, Forms
from cnn.network.geometry import Axes, Padding
from cnn.trained.network import Trained, forward

PLATFORMS = ("cpu", "cuda", "tpu")
_LOCATIONS = "jax_traceback_in_locations_limit"


def _max_pool(x: Array, window: Axes, stride: Axes | None = None, padding: Padding = 0) -> Array:
    windows = ops.pooling(x, window, stride, padding, "max_pool2d")
    if not windows.touch:
        return ops.max_pool2d(x, window, stride, padding)
    return nn.max_pool(x, window_shape=windows.sizes, strides=windows.strides, padding="VALID")


def _avg_pool(x: Array, window: Axes, stride: Axes | None = None, padding: Padding = 0, *more: bool) -> Array:
    windows = ops.pooling(x, window, stride, padding, "avg_pool2d")
    if not windows.touch:
        return ops.avg_pool2d(x, window, stride, padding, *more)
    return nn.avg_pool(x, window_shape=windows.sizes, strides=windows.strides, padding="VALID")


# jax2onnx makes one node of Flax's poolings, and many of XLA's windows.
_NODES = Chosen(max_pool2d=_max_pool, avg_pool2d=_avg_pool)


def output_names(trained: Trained) -> tuple[str, ...]:
    """What program and graph give: `logits` and `probabilities`, or the `outputs` of a network that locates objects."""
    return ("outputs",) if trained.config.scene.objects else ("logits", "probabilities")


def stablehlo(trained: Trained) -> bytes:
    """The network as a program that `jax.export.deserialize` reads, for CPUs, NVIDIA GPUs and TPUs.

    The program computes in the precision that the network learned in. JAX reads programs of its older versions for
    about half a year.

    Returns:
        The serialised program; `call(images)` gives a dict with an array for each of `output_names`.
    """
    size = ", ".join(["batch", *map(str, trained.image_shape)])
    images = jax.ShapeDtypeStruct(jax.export.symbolic_shape(size), jnp.uint8)
    on_device = dataclasses.replace(trained, mean=jnp.asarray(trained.mean), deviation=jnp.asarray(trained.deviation))
    answers = _answers(on_device, PLAIN)
    # Image by image: a layer may ask how many images there are, which a program of any batch cannot say.
    program = jax.jit(jax.vmap(lambda image: {name: y[0] for name, y in answers(image[None]).items()}))
    with _without_locations():
        return bytes(jax.export.export(program, platforms=PLATFORMS)(images).serialize())


def onnx(trained: Trained) -> bytes:
    """The network as an ONNX graph, with a node for each layer: Conv, MaxPool, AveragePool, Gemm, and so on.

    Its input is `images`, with channels last as everywhere here; ONNX's own convolutions have them first, so that
    transposes stand around them. It computes in float32, also if the network learned in bfloat16: ONNX Runtime has no
    bfloat16 convolution on a CPU.

    Returns:
        The serialised model, checked by ONNX; its outputs are `output_names`. Its metadata, texts by name, are
        `class_names` (a list in JSON), `largest_pixel` and, where it is known, `test_accuracy`.

    Raises:
        RequestError: jax2onnx cannot be imported.
    """
    try:
        import jax2onnx
        from onnx import checker, helper, shape_inference
    except ImportError as error:
        needs = "needs jax2onnx, best in an environment of its own, since it asks for an older orbax-checkpoint"
        raise RequestError(f"to='onnx': {needs}: pip install '.[onnx]' ({error})") from None
    # What NumPy computes from its arrays is a constant of the graph. What JAX computes would be nodes.
    in_float32 = dataclasses.replace(trained.config.training, precision="float32")
    constant = dataclasses.replace(
        trained,
        variables=jax.device_get(trained.variables),
        mean=jax.device_get(trained.mean),
        deviation=jax.device_get(trained.deviation),
        config=dataclasses.replace(trained.config, training=in_float32),
    )
    answers = _answers(constant, _NODES)
    with _quiet():
        model = jax2onnx.to_onnx(
            lambda images: tuple(answers(images).values()),
            [jax.ShapeDtypeStruct(("batch", *trained.image_shape), jnp.uint8)],
            model_name=trained.config.network.model,
            input_names=["images"],
            output_names=list(output_names(trained)),
        )
    del model.graph.value_info[:]  # jax2onnx removes transposes, and leaves the shapes that were there before
    inferred = shape_inference.infer_shapes(model, strict_mode=True)
    helper.set_model_props(inferred, _properties(trained))
    checker.check_model(inferred, full_check=True)
    return inferred.SerializeToString()


def safetensors(trained: Trained) -> bytes:
    """The weights by their layers' names, the scale of the pixels, and in the metadata all that describes the network.

    `Trained.load` reads the file, and gives a network of the same outputs.

    Returns:
        One file, as the library safetensors reads it. Its tensors are `mean`, `deviation`, and the variables, such as
        `params/block1/conv1/kernel`. Its metadata has one entry, `trained`: JSON with `config`, `image_shape`,
        `class_names`, `largest_pixel`, `mean`, `deviation`, `output_size`, `test_accuracy`, `dataset_fingerprint` and
        `provenance`; beside them `format`, `weights` and `seal`, by which `Trained.load` knows that the file is whole.
    """
    return trained.to_one_file()


def _properties(trained: Trained) -> dict[str, str]:
    """What the outputs of an ONNX graph mean."""
    known = {"class_names": json.dumps(trained.class_names), "largest_pixel": str(trained.largest_pixel)}
    return known if trained.test_accuracy is None else known | {"test_accuracy": str(trained.test_accuracy)}


@contextlib.contextmanager
def _without_locations() -> Iterator[None]:
    """Keep the places of source lines out of a program: they name folders of this machine."""
    limit = getattr(jax.config, _LOCATIONS)
    jax.config.update(_LOCATIONS, 0)
    try:
        yield
    finally:
        jax.config.update(_LOCATIONS, limit)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence onnx_ir, which warns for each constant's shape that it has no type."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _answers(trained: Trained, forms: Forms) -> Callable[[Array], dict[str, Array]]:
    """The function from images to the outputs, by name, with everything else in it."""

    def answers(images: Array) -> dict[str, Array]:
        mean: Any = trained.mean
        deviation: Any = trained.deviation
        network = trained.network
        own = (network, forms, trained.precision, trained.variables)
        outputs = forward(*own, images, mean, deviation, trained.mirror)
        names = output_names(trained)
        return {names[0]: outputs} | {name: _probabilities(trained, outputs) for name in names[1:]}

    return answers


def _probabilities(trained: Trained, logits: Array) -> Array:
    """What `network.class_probabilities` gives, traced."""
    rejection = models.known(trained.config.network.model).rejection_logit
    if rejection is None:
        return jax.nn.softmax(logits, axis=1)
    padded = jnp.pad(logits, ((0, 0), (0, 1)), constant_values=rejection)
    return jax.nn.softmax(padded, axis=1)[:, :-1]
