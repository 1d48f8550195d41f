"""A network that has learned: uint8 images in, outputs and activations out. It is kept as safetensors and JSON.

A folder keeps it as two files: the weights, and what describes them. A file that is handed on holds both.

Example, a network that has not been trained:
    >>> from cnn.config import NetworkConfig
    >>> config = TrialConfig("mine", network=NetworkConfig(blocks=1, width=4))
    >>> network = models.build(config.network, (8, 8, 1), outputs=3)
    >>> variables = jax.jit(network.init)(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    >>> scale = (np.zeros(1, np.float32), np.ones(1, np.float32))
    >>> trained = Trained(config, variables, *scale, (8, 8, 1), ("a", "b", "c"), output_size=3)
    >>> images = np.zeros((5, 8, 8, 1), np.uint8)
    >>> trained.outputs(images).shape, trained.features("flatten", images).shape
    ((5, 3), (5, 64))

It is read in a process that knows nothing else:
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> trained.save(folder)
    >>> sorted(path.name for path in folder.iterdir())
    ['trained.json', 'trained.safetensors']
    >>> bool((Trained.load(folder).outputs(images) == trained.outputs(images)).all())
    True
    >>> path = folder / "handed_on.safetensors"
    >>> path.write_bytes(trained.to_one_file()) > 0, Trained.load(path).class_names
    (True, ('a', 'b', 'c'))
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, UInt8

from cnn import files, machine
from cnn.backends import PRECISIONS, multiplying
from cnn.config import TrialConfig, from_json, to_json
from cnn.data import preprocess
from cnn.data.batches import named_key, padded
from cnn.errors import require, require_known
from cnn.network import models, summary
from cnn.network.forms import PLAIN, Forms, fast
from cnn.network.layers import Chain, Shape
from cnn.trained.kept import Kept

BATCH_SIZE = 128  # larger batches leave the cache of a CPU and are slower
_SIZES = (1, 16, BATCH_SIZE)  # of a batch: one image is answered at once, and few programs are compiled
_SCALE = ("mean", "deviation")  # beside the variables among the arrays of a file


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with its learned weights, the scale of the pixels that it learned with, and where it comes from."""

    config: TrialConfig  # how it learned: data set, network, seed, training
    variables: Any  # what `network.apply` takes: `{"params": ...}` and, with batch normalisation, `batch_stats`
    mean: Float[Array | np.ndarray, " c"]  # of each channel, in pixel units
    deviation: Float[Array | np.ndarray, " c"]
    image_shape: Shape
    class_names: tuple[str, ...]
    output_size: int  # numbers for each image: of a classifier a logit for each class
    largest_pixel: int = 255  # the value of white in the images that it learned from
    forms: Forms = PLAIN  # which form of each operation the layers compute with
    test_accuracy: float | None = None  # a fraction; None where the test set was not read
    dataset_fingerprint: str | None = None  # of the images that it learned from
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # machine, command and revision

    @functools.cached_property
    def network(self) -> Chain:
        """The layers."""
        return models.build(self.config.network, self.image_shape, self.output_size)

    @property
    def words(self) -> str:
        """Which network it is, such as `convnet, trained on digits with seed 0`, and its test accuracy if known."""
        accuracy = "" if self.test_accuracy is None else f", test accuracy {100 * self.test_accuracy:.2f} %"
        return f"{self.config.network.model}, trained on {self.config.dataset} with seed {self.config.seed}{accuracy}"

    @functools.cached_property
    def _output_shape(self) -> Shape:
        return self.network.output_shape(self.image_shape)

    @property
    def mirror(self) -> bool:
        """Whether an output is the mean of those for an image and for its mirror image."""
        return self.config.training.mirror

    @property
    def precision(self) -> str:
        """Of images, activations and weights in use, as in training."""
        return self.config.training.precision

    def save(self, folder: Path) -> None:
        """Write the weights, and then what they belong to; the second file says which first file it goes with.

        Raises:
            OSError: a file cannot be written.
        """
        for name, content in self.to_files().items():
            files.write(folder / name, content)

    def to_files(self) -> dict[str, bytes]:
        """The content of both files by name, the weights first."""
        return self._kept().two_files()

    def to_one_file(self) -> bytes:
        """The content of one file to hand on, which `load` reads too; see `cnn.trained.export.safetensors`."""
        return self._kept().one_file()

    def _kept(self) -> Kept:
        flat = flax.traverse_util.flatten_dict(dict(self.variables), sep="/")
        tensors = {name: np.ascontiguousarray(leaf) for name, leaf in jax.device_get(flat).items()}
        scale = {name: np.ascontiguousarray(getattr(self, name)) for name in _SCALE}
        plain = ("output_size", "largest_pixel", "test_accuracy", "dataset_fingerprint")
        described = {name: getattr(self, name) for name in plain} | {
            "config": to_json(self.config),
            "image_shape": list(self.image_shape),
            "class_names": list(self.class_names),
            "provenance": dict(self.provenance),
            **{name: values.tolist() for name, values in scale.items()},
        }
        return Kept(tensors | scale, described)

    @classmethod
    def load(cls, path: Path) -> "Trained":
        """A network that was kept, with the fast forms of this machine's backend.

        Args:
            path: a folder into which `save` wrote, or one file of `python -m experiments.export --to=safetensors`.

        Raises:
            RequestError: there is no trained network, or one of another version; or a file is damaged. The message
                names the file.
        """
        kept = Kept.read(Path(path))
        tensors = dict(kept.tensors)
        scale = {name: tensors.pop(name) for name in _SCALE}
        return cls(
            **kept.described
            | {
                "config": from_json(TrialConfig, kept.described["config"]),
                "image_shape": tuple(kept.described["image_shape"]),
                "class_names": tuple(kept.described["class_names"]),
            }
            | scale,
            variables=flax.traverse_util.unflatten_dict(tensors, sep="/"),
            forms=fast(machine.here().backend),
        )

    def outputs(self, images: UInt8[np.ndarray, "n height width c"]) -> Float[np.ndarray, "n outputs"]:
        """The network's output for each image, in float32: for a classifier a logit for each class.

        With `mirror` in the training's settings, an output is the mean of those for the image and for its mirror image.
        The images are normalised here. They run in batches of 128, a thread for each core, since a CPU does not keep
        its cores busy with one batch. Fewer images than that are one batch, of 1, 16 or 128 images with the padding; a
        batch of another size may round the last bits in another way.

        Raises:
            RequestError: the images have another shape than those that the network learned from.
        """
        none = np.zeros((0, *self._output_shape), np.float32)
        compute = functools.partial(_outputs, mirror=self.mirror)
        return np.concatenate([none, *self._in_batches(compute, images)])

    def probabilities(self, images: UInt8[np.ndarray, "n height width c"]) -> Float[np.ndarray, "n classes"]:
        """The probability of each class for each image, in float32; errors are those of `outputs`.

        Raises:
            RequestError: the network locates objects, and gives no class of an image.
        """
        require(not self.config.scene.objects, "objects", self.config.scene.objects, "0, for a class of each image")
        return class_probabilities(self.outputs(images), self.config.network.model)

    def activations(self, layer: str, images: UInt8[np.ndarray, "n height width c"]) -> Iterator[np.ndarray]:
        """A layer's output for all images, batch by batch, since that of a whole data set may not fit in memory.

        Args:
            layer: the name of a layer, as in the network's table: `block1/conv1`, `flatten`.
            images: normalised here, on the device.

        Returns:
            An iterator over arrays float32 [batch, ...], in the order of the images, each image once.

        Raises:
            RequestError: the network has no layer of that name, or the images have another shape than those that the
            network learned from.
        """
        require_known("layer", layer, [row.name for row in summary.rows(self.network, self.image_shape)])
        return self._in_batches(functools.partial(_outputs, layer=layer), images)

    def features(self, layer: str, images: UInt8[np.ndarray, "n height width c"]) -> Float[np.ndarray, "n d"]:
        """A layer's output as one row for each image; arguments and errors are those of `activations`."""
        return np.concatenate([batch.reshape(len(batch), -1) for batch in self.activations(layer, images)])

    def with_initial_weights(self) -> "Trained":
        """The same network before training, with the weights that its seed gave it: random filters."""
        image = jnp.zeros((1, *self.image_shape), jnp.float32)
        return dataclasses.replace(self, variables=dict(self.network.init(named_key(self.config.seed, "init"), image)))

    def _in_batches(self, compute: Callable[..., Array], images: np.ndarray) -> Iterator[np.ndarray]:
        shape = images.shape[1:]
        require(shape == tuple(self.image_shape), "images", shape, f"of shape {tuple(self.image_shape)}")
        size = next((size for size in _SIZES if size >= len(images)), BATCH_SIZE)
        indices, masks = padded(np.arange(len(images)), size)

        def batch(indices: np.ndarray, mask: np.ndarray) -> np.ndarray:
            y = compute(
                self.network, self.forms, self.precision, self.variables, images[indices], self.mean, self.deviation
            )
            return np.asarray(y)[: mask.sum()]

        if len(masks) == 1:  # to start threads takes as long as one image does
            return iter([batch(indices[0], masks[0])])
        return _in_threads(batch, zip(indices, masks, strict=True))


def _in_threads(function: Callable[..., np.ndarray], rows: Iterator[tuple[Any, ...]]) -> Iterator[np.ndarray]:
    """`function(*row)` of each row, in order, a thread for each core; only a few results wait to be taken."""
    count = machine.cores()
    waiting: collections.deque[Future[np.ndarray]] = collections.deque()
    with ThreadPoolExecutor(count) as threads:
        for row in rows:
            waiting.append(threads.submit(function, *row))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def class_probabilities(logits: Float[np.ndarray, "n classes"], model: str) -> Float[np.ndarray, "n classes"]:
    """The softmax of logits, with a class "none of them" where the loss of the model counts one.

    Example:
        >>> class_probabilities(np.zeros((1, 4), np.float32), "convnet").tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    rejection = models.known(model).rejection_logit
    if rejection is None:
        return scipy.special.softmax(logits, axis=1)
    padded = np.pad(logits, ((0, 0), (0, 1)), constant_values=rejection)
    return scipy.special.softmax(padded, axis=1)[:, :-1]


def forward(
    network: Chain,
    forms: Forms,
    precision: str,
    variables: Any,
    images: Array,
    mean: Array,
    deviation: Array,
    mirror: bool = False,
    layer: str | None = None,
) -> Float[Array, "batch ..."]:
    """The outputs of a network for uint8 images, which are normalised here; the evaluation of training uses it too.

    With `mirror` they are the mean of the outputs for an image and for its mirror image, left to right (Krizhevsky et
    al. 2012, "ImageNet classification with deep convolutional neural networks", section 4.1, average over mirror images
    too, and over parts of each image). With `layer` they are those of the layer of that name.
    """
    x = preprocess.normalize(images, mean, deviation, PRECISIONS[precision].dtype)
    used = _in_use(variables, precision)

    def outputs(view: Array) -> Array:
        if layer is None:
            return jnp.asarray(network.apply(used, view, forms=forms), jnp.float32)
        return jnp.asarray(network.apply(used, view, forms=forms, intermediates=True)[1][layer], jnp.float32)

    with multiplying(precision):
        return (outputs(x) + outputs(x[:, :, ::-1])) / 2 if mirror else outputs(x)


_outputs = jax.jit(forward, static_argnums=(0, 1, 2), static_argnames=("mirror", "layer"))


def _in_use(variables: dict[str, Any], precision: str) -> dict[str, Any]:
    """The variables with parameters in the precision that the layers compute in; statistics stay as they are."""
    params = jax.tree.map(lambda leaf: leaf.astype(PRECISIONS[precision].dtype), variables["params"])
    return {**variables, "params": params}
