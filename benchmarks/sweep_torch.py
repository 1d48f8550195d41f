"""The networks of a sweep in PyTorch, trained by the loop that its tutorials teach.

All images are in memory as normalised floats, channels last, and a batch is gathered by index, without a `DataLoader`.
PyTorch takes a thread for each core that it may use, and AdamW its fused form. The learning rate follows PyTorch's own
one-cycle schedule, which rises along a cosine, where this project's rises along a line. Weights start as PyTorch's
layers start them.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import peer_networks, peers
from benchmarks.peers_mnist import TEST_BATCH_SIZE
from benchmarks.problems import Problem
from cnn.config import SweepConfig
from cnn.data.content import Dataset
from cnn.data.splits import channel_statistics, split

if TYPE_CHECKING:
    import torch

RISE = 0.2  # share of the steps in which the learning rate rises; `cnn.training.optimizer.WARMUP`, whose file loads JAX


class TorchLearner:
    """A learner of `benchmarks.peers_sweep`; the settings are those of the sweep."""

    def __init__(self, config: SweepConfig, data: Dataset) -> None:
        import torch

        peers.use_every_core()
        self.config = config
        self.stored_labels = data.train_labels
        mean, deviation = channel_statistics(data.train_images)
        self.train_images = _channels_last((data.train_images - mean) / deviation)
        self.test_images = _channels_last((data.test_images - mean) / deviation)
        self.train_labels = torch.from_numpy(data.train_labels).long()
        self.test_labels = torch.from_numpy(data.test_labels).long()

    def train(self, problem: Problem, rate: float, seed: int) -> float:
        """Train a new network; its validation accuracy after the last epoch."""
        import torch

        training = self.config.training
        parts = split(self.stored_labels, self.config.validation_fraction, seed)
        train, validation = (torch.from_numpy(part).long() for part in parts)
        steps = len(train) // training.batch_size  # what is left over waits for another epoch
        torch.manual_seed(seed)
        self.network = peer_networks.torch_network(problem).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(self._groups(), lr=rate, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=rate, total_steps=training.epochs * steps, pct_start=RISE, cycle_momentum=False
        )
        accuracy = 0.0
        for _ in range(training.epochs):
            self.network.train()
            order = train[torch.randperm(len(train))]
            for batch in order.split(training.batch_size)[:steps]:
                optimizer.zero_grad()
                logits = self.network(self.train_images[batch])
                torch.nn.functional.cross_entropy(logits, self.train_labels[batch]).backward()
                optimizer.step()
                schedule.step()
            accuracy = self._accuracy(self.train_images[validation], self.train_labels[validation])
        return accuracy

    def test(self) -> float:
        """The test accuracy of the network that was trained last."""
        return self._accuracy(self.test_images, self.test_labels)

    def _groups(self) -> list[dict[str, Any]]:
        """The kernels, which decay, and the biases, which do not."""
        kernels = [leaf for leaf in self.network.parameters() if leaf.ndim > 1]
        biases = [leaf for leaf in self.network.parameters() if leaf.ndim == 1]
        decay = self.config.training.weight_decay
        return [{"params": kernels, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]

    def _accuracy(self, images: "torch.Tensor", labels: "torch.Tensor") -> float:
        import torch

        self.network.eval()
        with torch.inference_mode():
            parts = zip(images.split(TEST_BATCH_SIZE), labels.split(TEST_BATCH_SIZE), strict=True)
            right = sum(int((self.network(part).argmax(1) == wanted).sum()) for part, wanted in parts)
        return right / len(labels)


def _channels_last(images: np.ndarray) -> "torch.Tensor":
    """A tensor [n, channels, height, width] of images [n, height, width, channels], as they lie in memory."""
    import torch

    return torch.from_numpy(images).permute(0, 3, 1, 2)
