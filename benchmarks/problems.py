"""The networks whose training step is measured, and how many operations a step has."""

from typing import NamedTuple

from cnn import recipes
from cnn.config import NetworkConfig, SweepConfig, TrainingConfig

CLASSES = 10
LEARNING_RATE = 0.01  # of stochastic gradient descent, the optimiser of every side, and its momentum
MOMENTUM = 0.9


class Problem(NamedTuple):
    """A ConvNet of 3x3 filters and 2x2 max pooling, and the batch that it learns from."""

    image_shape: tuple[int, int, int]  # height, width, channels
    network: NetworkConfig
    batch_size: int

    @property
    def widths(self) -> list[int]:
        """The channels of each block.

        Example:
            >>> PROBLEMS["B"].widths
            [32, 64, 128]
        """
        return [round(self.network.width * self.network.growth**block) for block in range(self.network.blocks)]


def _sweep() -> Problem:
    """The deepest network of the main sweep on digits, with the default flags."""
    width = recipes.defaults("sweep_blocks", "digits")["width"]
    return Problem((8, 8, 1), NetworkConfig(blocks=max(SweepConfig().blocks), width=width), TrainingConfig().batch_size)


PROBLEMS = {
    "A": Problem((28, 28, 1), NetworkConfig(blocks=2, width=32, hidden=256), 256),
    "B": Problem((32, 32, 3), NetworkConfig(blocks=3, width=32, hidden=256), 256),
    "sweep": _sweep(),
}


def gflop(problem: Problem) -> float:
    """The operations of a training step, in thousand millions.

    A multiply-accumulate is two operations. Convolutions and dense layers compute three products for each image: the
    output, the gradient of the weights, and the gradient of the input, which the first layer does not need. So a step
    has 2 * batch * (3 * macs - macs of the first layer) operations, with `macs` of one image forward. Other operations
    do not count.

    Example:
        >>> gflop(PROBLEMS["A"])  # 225,792 + 3,612,672 + 802,816 + 2,560 multiply-accumulates, and 225,792 less
        7.017332736
    """
    from cnn.network import models, summary

    rows = summary.rows(models.build(problem.network, problem.image_shape, CLASSES), problem.image_shape)
    macs = [row.macs for row in rows if row.macs]
    return 2 * problem.batch_size * (3 * sum(macs) - macs[0]) / 1e9
