"""Trains a ConvNet in PyTorch as a good script of its users would: a whole process, by a recipe of its own.

    python -m benchmarks.peers_recipe --dataset=mnist --seed=0
    python -m benchmarks.peers_recipe --dataset=cifar10 --validation_fraction=0.1 --learning_rate=0.3

The idea of the network is that of this project's recipe: blocks of two 3x3 convolutions with batch normalisation and
2x2 maxima, then the mean of each channel. Images lie in memory as bytes; a batch is gathered, augmented and normalised
as a tensor, without workers or files. It is channels-last, under SGD with Nesterov momentum and PyTorch's one-cycle
schedule; normalisations and biases do not decay. PyTorch takes a thread for each core that it may use.

Prints a line of JSON: the accuracy on the test images or, where a share of the training images validates, on those.
"""

import json
import math
from typing import TYPE_CHECKING, NamedTuple

from absl import flags

from benchmarks import peer_networks, peers, report
from benchmarks.problems import Problem
from cnn.config import NetworkConfig, TrainingConfig

if TYPE_CHECKING:
    import torch

TEST_BATCH_SIZE = 1000
MOMENTUM = 0.9


class Recipe(NamedTuple):
    """A network, how it learns, and the schedule's highest learning rate."""

    network: NetworkConfig
    training: TrainingConfig
    learning_rate: float


def _network(blocks: int, width: int) -> NetworkConfig:
    return NetworkConfig(blocks=blocks, convolutions=2, width=width, normalization="batch", head="average")


RECIPES = {
    "mnist": Recipe(_network(3, 16), TrainingConfig(3, 128, 5e-4, label_smoothing=0.05, shift=1), 0.2),
    "cifar10": Recipe(
        _network(4, 32), TrainingConfig(12, 128, 5e-4, label_smoothing=0.1, flip=True, shift=2, mirror=True), 0.2
    ),
}


def train(dataset: str, seed: int, recipe: Recipe, validation_fraction: float = 0.0) -> float:
    """The accuracy after one training."""
    import torch

    from cnn.data import datasets, splits

    peers.use_every_core()
    torch.manual_seed(seed)
    data = datasets.load(dataset)
    chosen, held_out = splits.split(data.train_labels, validation_fraction, seed)
    mean, deviation = (torch.from_numpy(part) for part in splits.channel_statistics(data.train_images, chosen))
    images, labels = _tensors(data.train_images[chosen], data.train_labels[chosen])
    answered = (data.train_images[held_out], data.train_labels[held_out])
    test = _tensors(*(answered if validation_fraction else (data.test_images[:], data.test_labels)))
    model = peer_networks.torch_network(Problem(data.image_shape, recipe.network)).to(memory_format=torch.channels_last)
    steps = len(labels) // recipe.training.batch_size
    optimizer = _optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps * recipe.training.epochs
    )
    for _ in range(recipe.training.epochs):
        model.train()
        for batch in torch.randperm(len(labels)).split(recipe.training.batch_size)[:steps]:
            x = normalized(augmented(images[batch], recipe.training), mean, deviation)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(
                model(x), labels[batch], label_smoothing=recipe.training.label_smoothing
            ).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        parts = test[0].split(TEST_BATCH_SIZE)
        logits = [_logits(model, normalized(part, mean, deviation), recipe.training.mirror) for part in parts]
    return (torch.cat(logits).argmax(1) == test[1]).double().mean().item()


def _logits(model: "torch.nn.Module", x: "torch.Tensor", mirror: bool) -> "torch.Tensor":
    logits: torch.Tensor = model(x)
    return logits + model(x.flip(3)) if mirror else logits


def _tensors(images: "object", labels: "object") -> "tuple[torch.Tensor, torch.Tensor]":
    """Bytes [n, channels, height, width], channels last, and labels [n]."""
    import numpy as np
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(np.asarray(labels)).long()


def _optimizer(model: "torch.nn.Module", recipe: Recipe) -> "torch.optim.Optimizer":
    import torch

    parameters = list(model.parameters())
    groups = [
        {"params": [part for part in parameters if part.ndim > 1], "weight_decay": recipe.training.weight_decay},
        {"params": [part for part in parameters if part.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=MOMENTUM, nesterov=True)


def normalized(images: "torch.Tensor", mean: "torch.Tensor", deviation: "torch.Tensor") -> "torch.Tensor":
    """Floats of mean 0 and deviation 1 for each channel; one channel is in the format that a convolution expects."""
    import torch

    x = (images.float() - mean.reshape(1, -1, 1, 1)) / deviation.reshape(1, -1, 1, 1)
    return x.contiguous(memory_format=torch.channels_last)


def augmented(images: "torch.Tensor", training: TrainingConfig) -> "torch.Tensor":
    """Images mirrored, moved, turned, scaled and partly hidden at random, as `cnn.data.preprocess.augment` says."""
    import torch

    n, _, height, width = images.shape
    if training.flip:
        images = torch.where(torch.rand(n, 1, 1, 1) < 0.5, images.flip(3), images)
    if training.shift:
        images = _moved(images, training.shift)
    if training.turn or training.zoom:
        images = _turned(images, training.turn, training.zoom)
    if training.cutout:
        centres = [torch.randint(size, (n, 1)) - training.cutout // 2 for size in (height, width)]
        rows, columns = (
            (torch.arange(size) >= first) & (torch.arange(size) < first + training.cutout)
            for size, first in zip((height, width), centres, strict=True)
        )
        hidden = rows.reshape(n, 1, height, 1) & columns.reshape(n, 1, 1, width)
        images = torch.where(hidden, images.float().mean((2, 3), keepdim=True).to(images.dtype), images)
    return images


def _moved(images: "torch.Tensor", shift: int) -> "torch.Tensor":
    import torch

    n, _, height, width = images.shape
    moves = torch.randint(-shift, shift + 1, (2, n, 1))
    rows = (torch.arange(height) + moves[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + moves[1]).clamp(0, width - 1)
    moved = images.permute(0, 2, 3, 1)[torch.arange(n).reshape(n, 1, 1), rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _turned(images: "torch.Tensor", degrees: float, share: float) -> "torch.Tensor":
    import torch

    n, _, height, width = images.shape
    angles = math.radians(degrees) * (2 * torch.rand(n) - 1)
    scales = 1 + share * (2 * torch.rand(n) - 1)
    cosine = torch.cos(angles) / scales
    sine = torch.sin(angles) / scales
    zero = torch.zeros(n)
    matrices = torch.stack([cosine, -sine * height / width, zero, sine * width / height, cosine, zero], 1)
    grid = torch.nn.functional.affine_grid(matrices.reshape(n, 2, 3), list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def main(options: flags.FlagValues) -> None:
    """Train, and print the line of JSON."""
    recipe = RECIPES[options.dataset]
    training = recipe.training
    if options.epochs:
        training = TrainingConfig(**{**vars(training), "epochs": options.epochs})
    chosen = Recipe(recipe.network, training, options.learning_rate or recipe.learning_rate)
    print(json.dumps({"accuracy": train(options.dataset, options.seed, chosen, options.validation_fraction)}))


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_enum("dataset", "mnist", list(RECIPES), "what is learned", flag_values=options)
    flags.DEFINE_integer("seed", 0, "of weights, order and augmentation", flag_values=options)
    flags.DEFINE_integer("epochs", None, "in place of the recipe's", lower_bound=1, flag_values=options)
    flags.DEFINE_float("learning_rate", None, "in place of the recipe's", flag_values=options)
    flags.DEFINE_float("validation_fraction", 0.0, "training images that are answered", 0.0, 0.9, flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
