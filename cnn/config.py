"""The settings of a run: frozen dataclasses that check types and ranges. A field's name is the name of its flag.

A `TrialConfig` is one training of one network on one seed. A `StudyConfig` compares networks over learning rates and
seeds. `to_json` and `from_json` turn settings into the plain values of a file and back. A value of a wrong type or out
of its range raises `RequestError`. Names, such as those of models and poolings, are checked later, when a plan is made:
the registries of `cnn.network` know them.

Example:
    >>> TrialConfig(dataset="digits", network=NetworkConfig(blocks=1)).network.width
    32
    >>> NetworkConfig(blocks=-1)
    Traceback (most recent call last):
    cnn.errors.RequestError: blocks=-1: must be an integer of at least 0
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from cnn.backends import PRECISIONS
from cnn.errors import (
    FLOAT32,
    RequestError,
    is_number,
    require,
    require_distinct,
    require_integer,
    require_known,
    require_number,
    require_positive,
    require_share,
    require_size,
    require_switch,
    require_text,
)

Config = TypeVar("Config")
FIRST_TUNING_SEED = 1_000_000  # far above the seeds that compare, so that no seed does both
DEFAULT_GRID = (1e-3, 3e-3, 1e-2, 3e-2)  # of learning rates
LARGEST_SIZE = 65536  # of a width and of hidden units
MATCHES = ("width", "parameters", "macs")
_IMAGE_SIZE = "height,width to which the pictures of a folder are resized; without it they must have one size"


def setting(default: Any, help: str) -> Any:
    """A dataclass field with the sentence that `--help` shows for its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class NetworkConfig:
    """One network: which model, and its settings. `cnn.network.models` says which settings a model uses."""

    model: str = setting("convnet", "which network")
    blocks: int = setting(2, "blocks of the network")
    width: float = setting(32, "channels of the first block; later blocks round width * growth**i")
    growth: float = setting(2.0, "factor from one block's channels to the next block's")
    filter_size: int = setting(3, "height and width of a convolution's filters")
    convolutions: int = setting(1, "convolutions in a block")
    bottleneck: float = setting(
        0.0,
        "share of the channels that a 1x1 convolution keeps before each block but the first (0: no such convolution)",
    )
    pooling: str = setting("max", "how a block halves the image")
    normalization: str = setting("none", "normalization after each convolution")
    ghost_batch: int = setting(16, "images that ghost batch normalization takes together; divides batch_size")
    head: str = setting("dense", "what turns the output of the last block into the logits")
    dropout: float = setting(0.0, "share of the hidden units dropped while training")
    hidden: int = setting(128, "units of the dense layer before the logits")
    permute: bool = setting(False, "shuffle the pixels by one fixed permutation before the first layer")

    def __post_init__(self) -> None:
        for name in ("model", "pooling", "normalization", "head"):
            require_text(name, getattr(self, name))
        require_integer("blocks", self.blocks, 0)
        require_number("width", self.width, 1, LARGEST_SIZE, f"from 1 to {LARGEST_SIZE}")
        for name, most in {
            "filter_size": 255,
            "convolutions": 64,
            "ghost_batch": 65536,
            "hidden": LARGEST_SIZE,
        }.items():
            require_integer(name, getattr(self, name), 1, most)
        grows = is_number(self.growth) and 0 < self.growth <= 16
        require(grows, "growth", self.growth, "above 0 and at most 16")
        require_number("bottleneck", self.bottleneck, 0, 1, "from 0 to 1")
        require_share("dropout", self.dropout)
        require_switch("permute", self.permute)


@dataclass(frozen=True)
class TrainingConfig:
    """How a network learns, by AdamW under a one-cycle schedule with images changed at random, and how it answers."""

    epochs: int = setting(10, "passes over the training images")
    batch_size: int = setting(64, "images in a training step")
    weight_decay: float = setting(1e-4, "AdamW's decoupled weight decay, on kernels only")
    label_smoothing: float = setting(0.0, "share of the target spread evenly over the classes")
    flip: bool = setting(False, "mirror each training image left to right with probability one half")
    shift: int = setting(0, "move each training image by up to this many pixels on each axis")
    turn: float = setting(0.0, "turn each training image by up to this many degrees, either way")
    zoom: float = setting(0.0, "enlarge or shrink each training image by up to this share of its size")
    cutout: int = setting(0, "hide a square of this many pixels' side of each training image")
    mirror: bool = setting(False, "answer with the mean of the logits of an image and of its mirror image")
    precision: str = setting(
        "float32",
        f"precision inside a step; sums and stored weights stay float32: {', '.join(PRECISIONS)}",
    )

    def __post_init__(self) -> None:
        require_integer("epochs", self.epochs, 1, 1_000_000)
        require_integer("batch_size", self.batch_size, 1)
        for name in ("shift", "cutout"):
            require_integer(name, getattr(self, name), 0)
        require_number("turn", self.turn, 0, 180, "from 0 to 180")
        require_share("zoom", self.zoom)
        decays = is_number(self.weight_decay) and 0 <= self.weight_decay < FLOAT32[1]
        require(decays, "weight_decay", self.weight_decay, f"at least 0.0 and below {FLOAT32[1]}")
        require_share("label_smoothing", self.label_smoothing)
        require_switch("flip", self.flip)
        require_switch("mirror", self.mirror)
        require_known("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class SceneConfig:
    """What the network sees: the images themselves, or scenes in which the images are objects to find."""

    objects: int = setting(
        0, "objects at random places on a larger canvas, to classify and locate (0: images as they are)"
    )
    canvas: float = setting(2.0, "side of a scene's canvas, as a multiple of the image's")

    def __post_init__(self) -> None:
        require_integer("objects", self.objects, 0, 2)
        require_number("canvas", self.canvas, 1, 8, "from 1 to 8")


@dataclass(frozen=True)
class TrialConfig:
    """One training: a data set and its split, a network, a learning rate and a seed."""

    dataset: str = setting("digits", "which data set")
    validation_fraction: float = setting(0.0, "share of the training images held out for validation")
    learning_rate: float = setting(1e-3, "the schedule's highest learning rate")
    seed: int = setting(0, "fixes the split, the initial weights, the order and the augmentation")
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    scene: SceneConfig = SceneConfig()
    image_size: tuple[int, ...] = setting((), _IMAGE_SIZE)

    def __post_init__(self) -> None:
        require_text("dataset", self.dataset)
        require_size("image_size", self.image_size)
        require_share("validation_fraction", self.validation_fraction)
        require_positive("learning_rate", self.learning_rate)
        require_integer("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class StudyConfig:
    """The settings of every comparison: a data set, learning rates to choose from, and seeds to tune and compare."""

    dataset: str = setting("digits", "which data set")
    image_size: tuple[int, ...] = setting((), _IMAGE_SIZE)
    validation_fraction: float = setting(0.1, "share of the training images held out for validation")
    learning_rates: tuple[float, ...] = setting(
        (),
        f"learning rates to choose from, for each variant; without any, {', '.join(map(str, DEFAULT_GRID))} are tried, "
        "and up to two more at each end while a variant's best rate lies at the edge",
    )
    seeds: int = setting(5, "number of seeds that compare the variants: 5 means seeds 0 to 4")
    tuning_seeds: int = setting(2, "number of other seeds, which choose the learning rate")
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    scene: SceneConfig = SceneConfig()

    def __post_init__(self) -> None:
        require_text("dataset", self.dataset)
        require_size("image_size", self.image_size)
        fraction = self.validation_fraction
        held_out = is_number(fraction) and 0 < fraction < 1
        require(held_out, "validation_fraction", fraction, "above 0 and below 1")
        require_integer("seeds", self.seeds, 1, FIRST_TUNING_SEED)
        if self.learning_rates != ():
            require_distinct("learning_rates", self.learning_rates)
        for rate in self.learning_rates:
            require_positive("learning_rates", rate)
        require_integer("tuning_seeds", self.tuning_seeds, 1, FIRST_TUNING_SEED)

    @property
    def grid(self) -> tuple[float, ...]:
        """The learning rates that are tried first; the default grid may then extend itself."""
        return self.learning_rates or DEFAULT_GRID


@dataclass(frozen=True)
class MatchedConfig(StudyConfig):
    """The settings of a comparison whose networks can be given equal cost."""

    match: str = setting("width", f"what the networks have in common: {', '.join(MATCHES)}")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_known("match", self.match, MATCHES)


@dataclass(frozen=True)
class SweepConfig(MatchedConfig):
    """The main job: depths x learning rates x seeds on one data set, and the rule's margin."""

    blocks: tuple[int, ...] = setting((0, 1, 2, 3), "depths to compare")
    margin: float = setting(
        0.05,
        "share of the best depth's validation error; a smaller depth is taken if it falls short by at most this share",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_distinct("blocks", self.blocks)
        for blocks in self.blocks:
            require_integer("blocks", blocks, 0)
        require_share("margin", self.margin)


def to_json(config: Any) -> dict[str, Any]:
    """The plain values of a settings object: nested dicts, with lists for tuples.

    Example:
        >>> to_json(SceneConfig(objects=1))
        {'objects': 1, 'canvas': 2}
    """
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value  # 16 and 16.0 are the same


def from_json(config: type[Config], values: dict[str, Any]) -> Config:
    """The settings object whose plain values these are; the inverse of `to_json`.

    Raises:
        RequestError: a setting is missing or unknown, or its value is refused.

    Example:
        >>> from_json(SceneConfig, {"objects": 1, "canvas": 2})
        SceneConfig(objects=1, canvas=2)
    """
    kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    if not isinstance(values, dict) or values.keys() != kinds.keys():
        raise RequestError(f"settings={values!r}: must be an object with {', '.join(kinds)}")
    return config(**{name: _typed(kinds[name], value) for name, value in values.items()})


def _typed(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_json(kind, value)
    return tuple(value) if isinstance(value, list) else value
