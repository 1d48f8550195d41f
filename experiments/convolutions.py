"""How many convolutions should a block have?

    python -m experiments.convolutions
    python -m experiments.convolutions --dataset=mnist --epochs=2
    python -m experiments.convolutions --match=macs

A block more adds a convolution and a pooling at once. Here the number of blocks is fixed, and with it the number of
poolings: each block has one, two or three convolutions with ReLU before its pooling (Simonyan and Zisserman 2015, "Very
deep convolutional networks for large-scale image recognition", section 2.3: two and three 3x3 convolutions see as much
of the image as one of 5x5 and one of 7x7). The networks have equal width; with `--match` they have the parameters or
the multiply-accumulates of the network with three.

Example:
    >>> from cnn.network import geometry
    >>> [geometry.receptive_field([((3, 3), (1, 1))] * count) for count in COUNTS]
    [(3, 3), (5, 5), (7, 7)]
"""

from dataclasses import replace

from cnn.config import MatchedConfig
from cnn.data.content import Dataset
from cnn.errors import require_integer
from cnn.network import matching
from cnn.show import comparison as show
from cnn.show.comparison_page import Evidence
from cnn.study import words
from cnn.study.comparison import compare
from cnn.study.finished import Results
from cnn.study.plan import Study
from cnn.study.results import ACCURACY, variant_name
from experiments.command import comparing
from experiments.command.experiment import Experiment, Report
from experiments.command.run import run_experiment

COUNTS = (1, 2, 3)


def study(config: MatchedConfig, dataset: Dataset) -> Study:
    """The same blocks with each number of convolutions, of equal cost where the settings ask for it.

    Raises:
        RequestError: the networks have no block, or costs cannot be matched.
    """
    require_integer("blocks", config.network.blocks, 1)
    networks = [replace(config.network, convolutions=count) for count in COUNTS]
    matched = matching.with_equal_cost(networks, config.match, dataset.image_shape, dataset.classes)
    variants = {network.convolutions: network for network in matched}
    return Study("convolutions", "convolutions", variants, config, dataset, varies=("convolutions",))


def report(results: Results) -> Report:
    """Compares two and three convolutions in a block with one."""
    config = results.plan.study.config
    comparison = compare(results.rows, column="convolutions", reference=1)
    others = [
        f"{count} convolutions, {words.versus(comparison, count)}, with {words.share(comparison, count)}"
        for count in COUNTS[1:]
    ]
    fixed = variant_name("blocks", config.network.blocks)
    claim = words.verdict(comparison, "1 convolution")
    sentences = (
        f"On {config.dataset}, {fixed} of 1 convolution reach {words.accuracy(comparison, 1)}.",
        f"Against them: {'; '.join(others)}.",
        claim,
    )
    title = f"{config.dataset}: convolutions in a block, {fixed}"
    pictures = {"convolutions": lambda: show.variants(comparison, results.rows, title)}
    evidence = Evidence({ACCURACY: "test accuracy"}, results.rows)
    return comparing.report(results, comparison, sentences, claim, pictures, evidence)


EXPERIMENT = Experiment(
    name="convolutions",
    doc=__doc__,
    config=MatchedConfig,
    fixed=("model", "convolutions", "scene"),
    study=study,
    report=report,
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
