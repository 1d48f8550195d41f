"""What a run is: frozen settings with their checks. A field's name is the name of its flag.

The settings nest as they are used: a `TrialConfig` is one training of one network on one seed, a `SweepConfig` compares
depths over learning rates and seeds. `to_json` gives the plain values that a work folder keeps.

Example:
    >>> TrialConfig(dataset="digits", network=NetworkConfig(blocks=1)).network.width
    32
    >>> NetworkConfig(blocks=-1)
    Traceback (most recent call last):
    cnn.config.RequestError: blocks=-1: must be an integer of at least 0
"""

import dataclasses
import difflib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class RequestError(ValueError):
    """The request cannot be met: the message names the value and what would be accepted, in one line."""


def setting(default: Any, help: str) -> Any:
    """A dataclass field with the sentence that `--help` shows for its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


def require(condition: bool, name: str, value: Any, accepted: str) -> None:
    """Raise `RequestError` naming the setting, its value and what would be accepted, unless the condition holds."""
    if not condition:
        raise RequestError(f"{name}={value!r}: must be {accepted}")


def require_integer(name: str, value: Any, minimum: int, maximum: int | None = None) -> None:
    """Refuse anything but an integer of at least `minimum`, and of at most `maximum` where one is given."""
    integer = isinstance(value, int) and not isinstance(value, bool)
    require(integer and value >= minimum, name, value, f"an integer of at least {minimum}")
    require(maximum is None or value <= maximum, name, value, f"at most {maximum}")


def require_known(name: str, value: str, known: Iterable[str]) -> None:
    """Refuse a value that is not among the known ones; the message lists them and the nearest."""
    known = list(known)
    if value not in known:
        nearest = difflib.get_close_matches(str(value), known, n=1, cutoff=0.0)
        raise RequestError(f"{name}={value!r}: must be one of {', '.join(known)}; nearest: {nearest[0]}")


def user_path(name: str, value: str | os.PathLike[str]) -> Path:
    """The path that a setting names, `~` and `~user` expanded.

    Raises:
        RequestError: there is no such user.

    Example:
        >>> user_path("cache_dir", "folder/x").as_posix()
        'folder/x'
    """
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise RequestError(f"{name}={str(value)!r}: must name a user of this machine after ~, or be ./~...") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _require_between(name: str, value: float, low: float, high: float) -> None:
    require(_is_number(value) and low <= value < high, name, value, f"at least {low} and below {high}")


def _require_positive(name: str, value: float) -> None:
    require(_is_number(value) and 0 < value < math.inf, name, value, "a finite number above 0")
    low, high = FLOAT32
    require(low <= value <= high, name, value, f"a number that float32 holds, above 0: from {low} to {high}")


FLOAT32 = (1.18e-38, 3.4e38)  # the smallest and largest normal numbers
FIRST_TUNING_SEED = 1_000_000  # far from the seeds that compare, so that none is used twice
POOLINGS = ("max", "average", "stride", "convolution")
NORMALIZATIONS = ("none", "batch", "layer")
PRECISIONS = ("float32", "bfloat16")
MATCHES = ("width", "parameters", "macs")
DATASETS = "digits, mnist, fashion_mnist, cifar10, another TensorFlow Datasets name, or the path of an .npz"


@dataclass(frozen=True)
class BlockConfig:
    """The settings that networks of every depth share."""

    width: float = setting(32, "channels of the first block; later blocks round width * growth**i")
    growth: float = setting(2.0, "factor from one block's channels to the next block's")
    filter_size: int = setting(3, "height and width of a convolution's filters")
    convolutions: int = setting(1, "convolutions in a block")
    bottleneck: float = setting(
        0.0,
        "channels of a 1x1 convolution before each block but the first, as a share of those that reach it (0: none)",
    )
    pooling: str = setting(
        "max",
        "how a block halves the image: max, average, stride (of its last convolution), convolution (one more, strided)",
    )
    normalization: str = setting("none", "after each convolution: none, batch or layer")
    dropout: float = setting(0.0, "share of the hidden units dropped while training")
    hidden: int = setting(128, "units of the dense layer before the logits")
    permute: bool = setting(False, "shuffle the pixels by one fixed permutation before the first layer")

    def __post_init__(self) -> None:
        require(_is_number(self.width) and 1 <= self.width <= 65536, "width", self.width, "from 1 to 65536")
        for name, most in {"filter_size": 255, "convolutions": 64, "hidden": 65536}.items():
            require_integer(name, getattr(self, name), 1, most)
        require(_is_number(self.growth) and 0 < self.growth <= 16, "growth", self.growth, "above 0 and at most 16")
        require(_is_number(self.bottleneck) and 0 <= self.bottleneck <= 1, "bottleneck", self.bottleneck, "from 0 to 1")
        require_known("pooling", self.pooling, POOLINGS)
        strided = self.pooling in ("stride", "convolution")
        require(
            not strided or self.filter_size > 1,
            "filter_size",
            self.filter_size,
            f"at least 2 with pooling={self.pooling!r}",
        )
        require_known("normalization", self.normalization, NORMALIZATIONS)
        _require_between("dropout", self.dropout, 0.0, 1.0)


@dataclass(frozen=True)
class ConvNetConfig(BlockConfig):
    """A ConvNet: how deep, and the settings of its blocks."""

    blocks: int = setting(2, "CONV-RELU-POOL blocks of a convnet")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("blocks", self.blocks, 0)


@dataclass(frozen=True)
class NetworkConfig(ConvNetConfig):
    """One network: which model, and the settings of a ConvNet."""

    model: str = setting("convnet", "convnet, lenet5, lenet5_1998 or mlp")


@dataclass(frozen=True)
class TrainingConfig:
    """How a network learns: AdamW under a one-cycle schedule, with random flips and shifts of the images."""

    epochs: int = setting(10, "passes over the training images")
    batch_size: int = setting(64, "images of a training step")
    weight_decay: float = setting(1e-4, "AdamW's decoupled weight decay, on kernels only")
    label_smoothing: float = setting(0.0, "share of the target spread evenly over the classes")
    flip: bool = setting(False, "mirror each training image left to right with probability one half")
    shift: int = setting(0, "move each training image by up to this many pixels on each axis")
    precision: str = setting("float32", "of images, activations and weights in use; sums stay float32: or bfloat16")

    def __post_init__(self) -> None:
        require_integer("epochs", self.epochs, 1, 1_000_000)
        require_integer("batch_size", self.batch_size, 1)
        require_integer("shift", self.shift, 0)
        _require_between("weight_decay", self.weight_decay, 0.0, FLOAT32[1])
        _require_between("label_smoothing", self.label_smoothing, 0.0, 1.0)
        require_known("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class SceneConfig:
    """What the network looks at: the images themselves, or scenes in which they are objects to find."""

    objects: int = setting(
        0, "objects at random places on a larger canvas, to classify and locate (0: images as they are)"
    )
    canvas: float = setting(2.0, "side of a scene's canvas, as a multiple of the image's")

    def __post_init__(self) -> None:
        require_integer("objects", self.objects, 0, 2)
        require(_is_number(self.canvas) and 1 <= self.canvas <= 8, "canvas", self.canvas, "from 1 to 8")


@dataclass(frozen=True)
class TrialConfig:
    """One training: a data set and its split, a network, a learning rate and a seed."""

    dataset: str = setting("digits", DATASETS)
    validation_fraction: float = setting(0.0, "share of the training images held out for validation")
    learning_rate: float = setting(1e-3, "the schedule's highest learning rate")
    seed: int = setting(0, "fixes the split, the initial weights, the order and the augmentation")
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    scene: SceneConfig = SceneConfig()

    def __post_init__(self) -> None:
        _require_between("validation_fraction", self.validation_fraction, 0.0, 1.0)
        _require_positive("learning_rate", self.learning_rate)
        require_integer("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class StudyConfig:
    """What every comparison has: a data set, learning rates to choose from, and seeds to choose and to compare on."""

    dataset: str = setting("digits", DATASETS)
    validation_fraction: float = setting(0.1, "share of the training images held out to choose by")
    learning_rates: tuple[float, ...] = setting((1e-3, 3e-3, 1e-2), "learning rates to choose from, for each variant")
    seeds: int = setting(5, "how many seeds compare the variants: 5 means 0 to 4")
    tuning_seeds: int = setting(2, "how many other seeds choose the learning rate")
    network: BlockConfig = BlockConfig()
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self) -> None:
        fraction = self.validation_fraction
        require(_is_number(fraction) and 0 < fraction < 1, "validation_fraction", fraction, "above 0 and below 1")
        require_integer("seeds", self.seeds, 1, FIRST_TUNING_SEED)
        _require_distinct("learning_rates", self.learning_rates)
        for rate in self.learning_rates:
            _require_positive("learning_rates", rate)
        require_integer("tuning_seeds", self.tuning_seeds, 1, FIRST_TUNING_SEED)


@dataclass(frozen=True)
class ExperimentConfig(StudyConfig):
    """A comparison of variants of one ConvNet."""

    network: ConvNetConfig = ConvNetConfig()


@dataclass(frozen=True)
class SweepConfig(StudyConfig):
    """The main job: depths x learning rates x seeds on one data set, and the rule's margin."""

    blocks: tuple[int, ...] = setting((0, 1, 2, 3), "depths to compare")
    learning_rates: tuple[float, ...] = setting((3e-4, 1e-3, 3e-3), "learning rates to choose from at each depth")
    match: str = setting("width", "what the depths have in common: width, parameters or macs")
    margin: float = setting(0.002, "validation accuracy that a block must earn")

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_distinct("blocks", self.blocks)
        for blocks in self.blocks:
            require_integer("blocks", blocks, 0)
        require_known("match", self.match, MATCHES)
        _require_between("margin", self.margin, 0.0, 1.0)


def _require_distinct(name: str, values: tuple) -> None:
    several = isinstance(values, (tuple, list)) and len(values) > 0
    require(several and len(set(values)) == len(values), name, values, "one or more values, none twice")


def to_json(config: Any) -> dict[str, Any]:
    """The plain values of a settings object: nested dicts, with lists for tuples."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value  # 16 and 16.0 are one setting


# Defaults that suit a data set; anything not named here keeps the default of its field.
DATASET_DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 20, "width": 16},
    "mnist": {"epochs": 5, "width": 16, "shift": 1},
    "fashion_mnist": {"epochs": 10, "width": 16, "flip": True},
    "cifar10": {"epochs": 20, "hidden": 256, "flip": True, "shift": 2},
}
