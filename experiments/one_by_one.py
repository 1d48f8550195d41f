"""What does a 1x1 convolution in front of a block cost in accuracy, and what does it save?

    python -m experiments.one_by_one
    python -m experiments.one_by_one --dataset=mnist --epochs=2 --learning_rates=3e-3

A 1x1 convolution reduces the channels and keeps height and width: 56x56x64 becomes 56x56x32 by 32 filters of 64 weights
each (and a bias). In front of a block's 3x3 convolution, it reduces the channels that the 3x3 filters read (Szegedy et
al. 2015, "Going deeper with convolutions", section 4). The experiment compares networks in which each block but the
first has no 1x1 convolution, or one that keeps a half or a quarter of the channels.

Example:
    >>> from cnn.network.layers import Conv
    >>> reduce = Conv(features=32, filter_size=1)
    >>> reduce.output_shape((56, 56, 64)), reduce.parameters((56, 56, 64)) == 32 * (64 + 1)
    ((56, 56, 32), True)
"""

from dataclasses import replace

from cnn.config import StudyConfig
from cnn.data.content import Dataset
from cnn.errors import require_integer
from cnn.show import comparison as show
from cnn.study import words
from cnn.study.comparison import compare
from cnn.study.plan import Study
from cnn.study.run import Results
from experiments.command import comparing
from experiments.command.experiment import Experiment, Report
from experiments.command.run import run_experiment

SHARES = {"none": 0.0, "to a half": 0.5, "to a quarter": 0.25}


def study(config: StudyConfig, dataset: Dataset) -> Study:
    """The network without the 1x1 convolutions, and with them.

    Raises:
        RequestError: the network has fewer than two blocks.
    """
    require_integer("blocks", config.network.blocks, 2)
    variants = {name: replace(config.network, bottleneck=share) for name, share in SHARES.items()}
    return Study("one_by_one", "bottleneck", variants, config, dataset, varies=("bottleneck",))


def report(results: Results) -> Report:
    """Compares each bottleneck with none."""
    dataset = results.plan.study.config.dataset
    found = compare(results.rows, column="bottleneck", reference="none")
    others = [
        f"{name} of the channels, {words.versus(found, name)}, with {words.share(found, name)}"
        for name in list(SHARES)[1:]
    ]
    sentence = (
        f"On {dataset}, blocks without a bottleneck reach {words.accuracy(found, 'none')}. "
        f"Against them, a bottleneck {'; '.join(others)}. {words.verdict(found, 'no bottleneck')}"
    )
    title = f"{dataset}: a 1x1 convolution before each block but the first"
    pictures = {"one_by_one": lambda: show.variants(found, results.rows, title)}
    return comparing.report(results, found, sentence, pictures)


EXPERIMENT = Experiment(
    name="one_by_one",
    doc=__doc__,
    config=StudyConfig,
    fixed=("model", "bottleneck", "scene"),
    study=study,
    report=report,
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
