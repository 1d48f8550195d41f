"""What does a 1x1 convolution in front of a block cost in accuracy, and what does it save?

    python -m experiments.one_by_one
    python -m experiments.one_by_one --dataset=mnist --epochs=2

A 1x1 convolution reduces the channels and keeps height and width: 56x56x64 becomes 56x56x32 by 32 filters of 64 weights
each (and a bias). In front of a block's 3x3 convolution, it reduces the channels that the 3x3 filters read (Szegedy et
al. 2015, "Going deeper with convolutions", section 4). The experiment compares networks in which each block but the
first has no 1x1 convolution, or one that keeps a half or a quarter of the channels. A narrower network without them,
of equal multiply-accumulates within 2 %, shows whether the same saving costs less accuracy in another way.

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
from cnn.network import matching, models, summary
from cnn.show import comparison as show
from cnn.show.comparison_page import Evidence
from cnn.study import words
from cnn.study.comparison import compare, in_one_family
from cnn.study.finished import Results
from cnn.study.plan import Study
from cnn.study.results import ACCURACY
from experiments.command import comparing
from experiments.command.experiment import Experiment, Report
from experiments.command.run import run_experiment

SHARES = {"none": 0.0, "to a half": 0.5, "to a quarter": 0.25}
CONTROLS = {"to a half": "narrower as to a half", "to a quarter": "narrower as to a quarter"}  # equal MACs


def study(config: StudyConfig, dataset: Dataset) -> Study:
    """The network without the 1x1 convolutions, with them, and narrower at the multiply-accumulates of each of these.

    Raises:
        RequestError: the network has fewer than two blocks, or no narrower network costs as much.
    """
    require_integer("blocks", config.network.blocks, 2)
    variants = {name: replace(config.network, bottleneck=share) for name, share in SHARES.items()}
    for name, control in CONTROLS.items():
        network = models.build(variants[name], dataset.image_shape, dataset.classes)
        macs = summary.cost(network, dataset.image_shape).macs
        variants[control] = matching.with_cost(variants["none"], "macs", macs, dataset.image_shape, dataset.classes)
    return Study("one_by_one", "bottleneck", variants, config, dataset, varies=("bottleneck",))


def report(results: Results) -> Report:
    """Compares each bottleneck with none, and with a narrower network of equal multiply-accumulates: one family."""
    dataset = results.plan.study.config.dataset
    comparison, *further = in_one_family(
        compare(results.rows, column="bottleneck", reference="none"),
        *(
            compare([row for row in results.rows if row.variant in pair], column="bottleneck", reference=pair[1])
            for pair in CONTROLS.items()
        ),
    )
    more = dict(zip(CONTROLS, further, strict=True))
    controls = [f"{name}, {words.versus(own, name)}" for name, own in more.items()]
    others = [
        f"{name} of the channels, {words.versus(comparison, name)}, with {words.share(comparison, name)}"
        for name in list(SHARES)[1:]
    ]
    claim = words.verdict(comparison, "no bottleneck")
    sentences = (
        f"On {dataset}, blocks without a bottleneck reach {words.accuracy(comparison, 'none')}.",
        f"Against them, a bottleneck {'; '.join(others)}.",
        claim,
        f"Against a narrower network of equal multiply-accumulates, a bottleneck {'; '.join(controls)}.",
        *(words.verdict(own, own.reference) for own in more.values()),
    )
    title = f"{dataset}: a 1x1 convolution before each block but the first"
    pictures = {"one_by_one": lambda: show.variants(comparison, results.rows, title)}
    evidence = Evidence({ACCURACY: "test accuracy"}, results.rows)
    return comparing.report(results, comparison, sentences, claim, pictures, evidence, more=more)


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
