"""Trains the network of PyTorch's MNIST example by its recipe, until an epoch ends at a given test accuracy.

    python -m benchmarks.peers_mnist --seed=0

https://github.com/pytorch/examples/blob/main/mnist/main.py gives the facts: 3x3 convolutions to 32 and 64 channels
without padding, 2x2 maxima, a quarter dropped, 128 hidden units, half dropped; Adadelta at a rate of 1.0 that is
multiplied by 0.7 after each epoch, batches of 64, at most 14 epochs. The code is our own, and faster than the example:
all images are in memory as normalised floats, and a batch is gathered by index. Only training is timed, not imports,
loading, or the tests after each epoch.

PyTorch takes a thread for each core that it may use.

Prints a line of JSON: the epochs with the seconds of training so far and the test accuracy, and whether it was reached.
"""

import json
import time
from typing import TYPE_CHECKING, Any

from absl import flags

from benchmarks import peers, report

if TYPE_CHECKING:
    import numpy as np
    import torch

EPOCHS = 14
BATCH_SIZE = 64
TEST_BATCH_SIZE = 1000
LEARNING_RATE = 1.0
DECAY = 0.7


def network(image_shape: tuple[int, int, int], classes: int) -> "torch.nn.Sequential":
    """The example's network; 1,199,882 parameters for 28x28x1 and ten classes."""
    from torch import nn

    height, width, channels = image_shape
    features = 64 * ((height - 4) // 2) * ((width - 4) // 2)
    return nn.Sequential(
        *(nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Flatten(), nn.Linear(features, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, classes)),
    )


def train(dataset: str, seed: int, target: float, epochs: int) -> list[dict[str, Any]]:
    """For each epoch until the target is reached: the seconds of training since the start, and the test accuracy."""
    import numpy as np
    import torch

    from cnn.data import datasets, splits

    peers.use_every_core()
    data = datasets.load(dataset)
    mean, deviation = splits.channel_statistics(data.train_images)
    parts = (np.asarray(data.train_images), np.asarray(data.test_images))
    train_images, test_images = (_normalized(part, mean, deviation) for part in parts)
    train_labels, test_labels = (torch.from_numpy(part).long() for part in (data.train_labels, data.test_labels))
    torch.manual_seed(seed)
    model = network(data.image_shape, data.classes)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=DECAY)
    lines: list[dict[str, Any]] = []
    seconds = 0.0
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        _epoch(model, optimizer, train_images, train_labels)
        schedule.step()
        seconds += time.perf_counter() - started
        lines.append({"epoch": epoch, "seconds": seconds, "accuracy": _accuracy(model, test_images, test_labels)})
        if lines[-1]["accuracy"] >= target:
            break
    return lines


def _normalized(images: "np.ndarray", mean: "np.ndarray", deviation: "np.ndarray") -> "torch.Tensor":
    """Floats [n, channels, height, width] from bytes [n, height, width, channels]."""
    import torch

    return torch.from_numpy((images - mean) / deviation).permute(0, 3, 1, 2).contiguous()


def _epoch(
    model: "torch.nn.Module", optimizer: "torch.optim.Optimizer", images: "torch.Tensor", labels: "torch.Tensor"
) -> None:
    import torch

    model.train()
    for batch in torch.randperm(len(labels)).split(BATCH_SIZE):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()


def _accuracy(model: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor") -> float:
    import torch

    model.eval()
    with torch.no_grad():
        parts = zip(images.split(TEST_BATCH_SIZE), labels.split(TEST_BATCH_SIZE), strict=True)
        right = sum(int((model(part).argmax(1) == wanted).sum()) for part, wanted in parts)
    return right / len(labels)


def main(options: flags.FlagValues) -> None:
    """Train, and print the line of JSON."""
    lines = train(options.dataset, options.seed, options.target, options.epochs)
    print(json.dumps({"reached": lines[-1]["accuracy"] >= options.target, "epochs": lines}))


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_string("dataset", "mnist", "a data set of this project", flag_values=options)
    flags.DEFINE_integer("seed", 0, "seed of weights, order and dropout", lower_bound=0, flag_values=options)
    flags.DEFINE_float("target", 0.99, "test accuracy to reach", 0.0, 1.0, flag_values=options)
    flags.DEFINE_integer("epochs", EPOCHS, "most epochs", lower_bound=1, flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
