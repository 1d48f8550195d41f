"""Does a dense layer ignore where pixels are, and does a ConvNet use it?

    python -m experiments.why_convnets
    python -m experiments.why_convnets --dataset=mnist --epochs=2 --learning_rates=3e-3

A ConvNet against an MLP of equal parameters, on the images as they are and under one fixed permutation of their pixels.
A dense layer sums over all pixels, so that their order cannot matter to it; a filter looks at neighbours, and the
permutation takes them away. Each trained network then reads the test images moved by 0 pixels to a fifth of their side
(the mean over up, down, left and right): what was learnt at one place must hold at another.

The second command (benchmarks/README.md): the permutation costs the ConvNet 2.79 points (2.62 to 2.97, n=5) and the MLP
nothing that shows; moved by 5 of 28 pixels they have 37.1 % (35.8 to 38.4) and 16.6 % (15.6 to 17.6) right.
"""

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from cnn.config import ExperimentConfig, NetworkConfig, require_integer, to_json
from cnn.data.datasets import Dataset
from cnn.data.preprocess import moved
from cnn.progress import Progress
from cnn.study import comparison, comparison_figures, grid
from cnn.training.replicas import Fit
from cnn.training.step import Answers
from cnn.training.tasks import Images
from cnn.training.trial import Measured
from experiments import flags

DEFAULTS = {"": {"shift": 0, "flip": False}}  # moved images in training would teach what is asked here
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def study(config: ExperimentConfig, dataset: Dataset) -> grid.Study:
    """The two networks, each with and without the permutation."""
    require_integer("blocks", config.network.blocks, 1)
    convnet = NetworkConfig(**to_json(config.network))
    mlp = replace(convnet, model="mlp")
    mlp = comparison.equal_parameters(mlp, convnet, dataset.image_shape, dataset.classes)
    variants = {}
    for name, network in (("convnet", convnet), ("mlp", mlp)):
        variants[name] = network
        variants[f"{name}, permuted"] = replace(network, permute=True)
    return grid.Study("why_convnets", "network", variants, config, measure=moved_accuracies)


def moved_accuracies(fit: Fit, answers: list[Answers | None], progress: Progress) -> list[Measured | None]:
    """Accuracy on the test images moved by 0, 1, ... pixels: `moved_0`, `moved_1`, ..."""
    images, farthest = np.asarray(fit.dataset.test_images), distance(fit.dataset)
    right = np.zeros((len(answers), farthest + 1))
    right[:, 0] = [0 if own is None else own.right.mean() for own in answers]
    with progress.task("moved test images", farthest * len(DIRECTIONS)) as task:
        for pixels in range(1, farthest + 1):
            for down, along in DIRECTIONS:
                data = Images(jnp.asarray(moved(images, pixels * down, pixels * along)), fit.test_data.labels)
                right[:, pixels] += [own.right.mean() / len(DIRECTIONS) for own in fit.answers(data)]
                task.advance(note=f"{pixels} of {farthest} pixels")
    values = [{f"moved_{pixels}": float(mean) for pixels, mean in enumerate(row)} for row in right]
    return [None if own is None else Measured(row, {}) for own, row in zip(answers, values)]


def distance(dataset: Dataset) -> int:
    """The farthest that images are moved: a fifth of the shorter side."""
    return min(dataset.image_shape[:2]) // 5


def experiment(
    config: ExperimentConfig, dataset: Dataset, workdir: Path | None = None, progress: Progress = Progress()
) -> comparison.Report:
    """Run what is missing, and say what the measurement says."""
    with comparison.run(study(config, dataset), dataset, workdir, progress) as finished:
        farthest = distance(dataset)
        moves = [f"moved_{pixels}" for pixels in range(farthest + 1)]
        found = comparison.compare(finished.results, by="network", reference="convnet", others=tuple(moves))
        mlps = finished.results[finished.results["network"].isin(["mlp", "mlp, permuted"])]
        dense = comparison.compare(mlps, by="network", reference="mlp")
        plain = finished.results[finished.results["network"].isin(["convnet", "mlp"])]
        far = comparison.compare(plain, by="network", reference="convnet", metric=moves[-1])
        sentence = (
            f"On {config.dataset}, the ConvNet has {comparison.accuracy(found, 'convnet')} of the test images right, "
            f"and the MLP of equal parameters {comparison.versus(found, 'mlp')}. With permuted pixels, each against "
            f"itself: the ConvNet {comparison.versus(found, 'convnet, permuted')}, the MLP "
            f"{comparison.versus(dense, 'mlp, permuted')}. On test images moved by {farthest} of "
            f"{min(dataset.image_shape[:2])} pixels, the ConvNet has {comparison.accuracy(far, 'convnet', moves[-1])} "
            f"right, and the MLP {comparison.versus(far, 'mlp')}."
        )
        titles = {comparison.ACCURACY: "test accuracy %", moves[-1]: f"moved by {farthest} %"}
        title = f"{config.dataset}: what neighbourhood is worth"

        def draw(path: Path) -> None:
            columns = dict(enumerate(moves))
            comparison_figures.variants_and_lines(
                found, finished.done, title, columns, "pixels that the image is moved", path
            )

        return comparison.report(
            finished, found, sentence, {"why_convnets": draw}, titles, more={"mlp": dense, "moved": far}
        )


if __name__ == "__main__":
    flags.run_experiment(ExperimentConfig, experiment, without=("permute",), defaults=DEFAULTS)
