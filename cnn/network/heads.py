"""Heads: the layers that turn the output of the last block into the logits.

One more head takes an edit of this file alone: a function that gives its layers, and a line in `HEADS`.

Example:
    >>> [layer.name for layer in HEADS["average"].layers(NetworkConfig(), 10)]
    ['pool', 'logits']
    >>> [layer.name for layer in HEADS["dense"].layers(NetworkConfig(dropout=0.5), 10)]
    ['flatten', 'dense1', 'dense1_relu', 'dropout1', 'logits']
"""

from collections.abc import Callable
from dataclasses import dataclass

from cnn.config import NetworkConfig
from cnn.network.layers import Dense, Dropout, Flatten, Layer, Relu
from cnn.network.pooling import GlobalAvgPool


def average_head(outputs: int) -> list[Layer]:
    """The mean of each channel over height and width, and one dense layer from these means to the logits.

    Lin et al. 2014, "Network in network", section 3.2, average one feature map for each class, and the means are the
    logits. Here a dense layer maps any number of channels to the classes, as in Szegedy et al. 2015, "Going deeper with
    convolutions", section 5, and in He et al. 2016, "Deep residual learning for image recognition", section 3.3.
    """
    return [GlobalAvgPool(name="pool"), Dense(outputs, gain=1.0, name="logits")]


def dense_head(hidden: tuple[int, ...], dropout: float, outputs: int) -> list[Layer]:
    """The image as one row, hidden layers with ReLU, and the logits.

    Args:
        hidden: the units of each hidden layer.
        dropout: share of the hidden units that are dropped while training.
        outputs: how many logits there are.
    """
    sequence: list[Layer] = [Flatten(name="flatten")]
    for number, features in enumerate(hidden, start=1):
        sequence += [Dense(features, name=f"dense{number}"), Relu(name=f"dense{number}_relu")]
        if dropout > 0:
            sequence.append(Dropout(dropout, name=f"dropout{number}"))
    return [*sequence, Dense(outputs, gain=1.0, name="logits")]


@dataclass(frozen=True)
class Head:
    """What the project knows of a head of a ConvNet."""

    layers: Callable[[NetworkConfig, int], list[Layer]]  # from settings and number of outputs
    features: str  # the layer whose output describes an image as one row
    settings: tuple[str, ...] = ()  # the fields of `NetworkConfig` that it uses
    least_blocks: int = 0  # how many blocks must stand before it


HEADS: dict[str, Head] = {
    "dense": Head(
        lambda config, outputs: dense_head((config.hidden,), config.dropout, outputs),
        features="flatten",
        settings=("dropout", "hidden"),
    ),
    "average": Head(lambda config, outputs: average_head(outputs), features="pool", least_blocks=1),
}
