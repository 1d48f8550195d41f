"""The networks whose training step is measured, and how many operations a step has."""

from dataclasses import fields
from typing import NamedTuple

from cnn import recipes
from cnn.config import NetworkConfig, SweepConfig, TrainingConfig

CLASSES = 10
LEARNING_RATE = 0.01  # of stochastic gradient descent, the optimiser of every side, and its momentum
MOMENTUM = 0.9


class Problem(NamedTuple):
    """A network, and the batch that it learns from."""

    image_shape: tuple[int, int, int]  # height, width, channels
    network: NetworkConfig
    batch_size: int = 256

    @property
    def widths(self) -> list[int]:
        """The channels of each block.

        Example:
            >>> PROBLEMS["B"].widths
            [32, 64, 128]
        """
        return [round(self.network.width * self.network.growth**block) for block in range(self.network.blocks)]


def _of_b(**settings: object) -> Problem:
    """Network B with other settings."""
    values = {"blocks": 3, "width": 32, "hidden": 256} | settings
    return Problem((32, 32, 3), NetworkConfig(**values))  # type: ignore[arg-type]  # settings by their names


def _sweep() -> Problem:
    """The deepest network of the main sweep on digits, with the default flags."""
    width = recipes.defaults("sweep_blocks", "digits")["width"]
    return Problem((8, 8, 1), NetworkConfig(blocks=max(SweepConfig().blocks), width=width), TrainingConfig().batch_size)


def _of_recipe(dataset: str, image_shape: tuple[int, int, int]) -> Problem:
    """The network that `train` takes for a data set."""
    settings = recipes.RECIPES["train", dataset]["reference"].settings
    own = {field.name: settings[field.name] for field in fields(NetworkConfig) if field.name in settings}
    return Problem(image_shape, NetworkConfig(**own), settings["batch_size"])


PROBLEMS = {
    "A": Problem((28, 28, 1), NetworkConfig(blocks=2, width=32, hidden=256)),
    "B": _of_b(),
    "batch": _of_b(normalization="batch"),
    "ghost": _of_b(normalization="ghost"),
    "two": _of_b(convolutions=2),
    "two_batch": _of_b(convolutions=2, normalization="batch"),
    "two_ghost": _of_b(convolutions=2, normalization="ghost"),
    "average": _of_b(pooling="average"),
    "stride": _of_b(pooling="stride"),
    "average_head": _of_b(head="average"),
    "lenet5": Problem((28, 28, 1), NetworkConfig(model="lenet5")),
    "resnet": _of_b(model="resnet"),
    "sweep": _sweep(),
    "recipe_mnist": _of_recipe("mnist", (28, 28, 1)),
    "recipe_cifar10": _of_recipe("cifar10", (32, 32, 3)),
}


def gflop(problem: Problem) -> float:
    """The operations of a training step, in thousand millions, as `summary.training_operations` counts them.

    Example:
        >>> gflop(PROBLEMS["A"])  # 225,792 + 3,612,672 + 802,816 + 2,560 multiply-accumulates, and 225,792 less
        7.017332736
    """
    from cnn.network import models, summary

    network = models.build(problem.network, problem.image_shape, CLASSES)
    return problem.batch_size * summary.training_operations(network, problem.image_shape) / 1e9
