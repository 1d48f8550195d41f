"""Does a dense layer ignore where pixels are, and does a ConvNet use it?

    python -m experiments.why_convnets
    python -m experiments.why_convnets --dataset=mnist --epochs=2

Compares a ConvNet with an MLP of equal parameters, on the images as they are and under one fixed permutation of their
pixels. A dense layer sums over all pixels, so their order does not matter to it. A filter looks at neighbouring pixels,
which the permutation separates. Each trained network then reads test images that are moved by 0 pixels to a fifth of
their side (mean over up, down, left and right). So it must recognise at one place what it has learnt at another.
"""

import functools
from dataclasses import replace

import numpy as np

from cnn.config import StudyConfig
from cnn.data.content import Dataset
from cnn.data.preprocess import moved
from cnn.errors import require_integer
from cnn.network import matching
from cnn.progress import Progress
from cnn.show import comparison as show
from cnn.show.comparison_charts import Lines
from cnn.show.comparison_page import Evidence
from cnn.show.moving import Moving, moving
from cnn.show.parts import Movable, Section
from cnn.study import claims, words
from cnn.study.comparison import compare, in_one_family
from cnn.study.finished import Results
from cnn.study.plan import Study
from cnn.study.results import ACCURACY
from cnn.trained.network import Trained
from cnn.training.step import Answers
from cnn.training.trial import Measured
from experiments.command import comparing
from experiments.command.experiment import Experiment, Report
from experiments.command.run import run_experiment

DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))
PERMUTED = {"convnet": "convnet, permuted", "mlp": "mlp, permuted"}


def study(config: StudyConfig, dataset: Dataset) -> Study:
    """The two networks, each with and without the permutation.

    Raises:
        RequestError: the ConvNet has no block, or no MLP has as many parameters.
    """
    require_integer("blocks", config.network.blocks, 1)
    convnet = config.network
    mlp = replace(convnet, model="mlp")
    mlp = matching.equal_parameters(mlp, convnet, dataset.image_shape, dataset.classes)
    variants = {}
    for name, network in {"convnet": convnet, "mlp": mlp}.items():
        variants[name] = network
        variants[PERMUTED[name]] = replace(network, permute=True)
    measured = functools.partial(measure, dataset)
    varies = ("model", "permute")
    return Study("why_convnets", "network", variants, config, dataset, measure=measured, varies=varies)


def measure(dataset: Dataset, trained: Trained, answers: Answers, progress: Progress) -> Measured:
    """Accuracy of a network on the test images moved by 0, 1, ... pixels: `moved_0`, `moved_1`, ..."""
    farthest = distance(dataset)
    images = np.asarray(dataset.test_images)
    values = {"moved_0": float(answers.right.mean())}
    with progress.task("moved test images", farthest * len(DIRECTIONS)) as task:
        for pixels in range(1, farthest + 1):
            mean = 0.0
            for down, along in DIRECTIONS:
                outputs = trained.outputs(moved(images, pixels * down, pixels * along))
                mean += (outputs.argmax(-1) == dataset.test_labels).mean() / len(DIRECTIONS)
                task.advance(note=f"{pixels} of {farthest} pixels")
            values[f"moved_{pixels}"] = float(mean)
    return Measured(values, {})


def distance(dataset: Dataset) -> int:
    """The farthest that images are moved: a fifth of the shorter side."""
    return min(dataset.image_shape[:2]) // 5


def report(results: Results) -> Report:
    """What the permutation costs each network, and how accurate each is on moved images."""
    dataset = results.plan.study.dataset
    farthest = distance(dataset)
    moves = [f"moved_{pixels}" for pixels in range(farthest + 1)]
    comparison = compare(results.rows, column="network", reference="convnet", others=tuple(moves))
    mlps = [row for row in results.rows if row.variant in ("mlp", PERMUTED["mlp"])]
    dense = compare(mlps, column="network", reference="mlp")
    plain = [row for row in results.rows if row.variant in PERMUTED]
    far = compare(plain, column="network", reference="convnet", metric=moves[-1])
    comparison, dense, far = in_one_family(comparison, dense, far)
    name = results.plan.study.config.dataset
    expected = [
        claims.Expected(comparison, PERMUTED["convnet"], "worse"),
        claims.Expected(dense, PERMUTED["mlp"], "alike"),
        claims.Expected(far, "mlp", "worse", "accuracy on moved images"),
    ]
    claim = claims.stated("a 1-D layer does not preserve spatial relationships", name, expected)
    sentences = (
        f"On {name}, the ConvNet has {words.accuracy(comparison, 'convnet')} of the test images right, and the MLP of "
        f"equal parameters {words.versus(comparison, 'mlp')}.",
        f"With permuted pixels, each against itself: the ConvNet "
        f"{words.versus(comparison, PERMUTED['convnet'])}, the MLP {words.versus(dense, PERMUTED['mlp'])}.",
        f"On test images moved by {farthest} of {min(dataset.image_shape[:2])} pixels, the ConvNet has "
        f"{words.accuracy(far, 'convnet', moves[-1])} right, and the MLP {words.versus(far, 'mlp')}.",
        claim,
    )
    moved = {name: f"moved {pixels} pixel{'' if pixels == 1 else 's'}, %" for pixels, name in enumerate(moves)}
    heads = {ACCURACY: "test accuracy %", **moved}
    title = f"{name}: what neighbourhood is worth"
    columns = dict(enumerate(moves))
    along = "pixels that the image is moved"
    pictures = {"why_convnets": lambda: show.variants_and_lines(comparison, results.rows, title, columns, along)}
    by_hand = Section("by-hand", "Move an image yourself", (Movable(_moving(results)),))
    lines = Lines(columns, along)
    evidence = Evidence({ACCURACY: "test accuracy"}, results.rows, heads=heads, lines=lines, sections=(by_hand,))
    shown = (ACCURACY, moves[-1])
    more = {"mlp": dense, "moved": far}
    return comparing.report(results, comparison, sentences, claim, pictures, evidence, shown, more)


def _moving(results: Results) -> Moving:
    """An image to move, for the networks of the first seed."""
    dataset = results.plan.study.dataset
    plain = {name: results.trained(name, seed=0) for name in PERMUTED}
    shuffled = {name: results.trained(name, seed=0) for name in PERMUTED.values()}
    return moving(plain, shuffled, dataset, distance(dataset))


EXPERIMENT = Experiment(
    name="why_convnets",
    doc=__doc__,
    config=StudyConfig,
    fixed=("model", "permute", "scene"),
    study=study,
    report=report,
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
