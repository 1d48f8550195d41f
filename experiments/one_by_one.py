"""What does a 1x1 convolution in front of a block cost in accuracy, and what does it save?

    python -m experiments.one_by_one
    python -m experiments.one_by_one --dataset=mnist --epochs=2 --learning_rates=3e-3

A 1x1 convolution reduces the channels and keeps height and width: 56x56x64 becomes 56x56x32 by 32 filters of 64 weights
each (and a bias). In front of a block's 3x3 convolution it leaves that one fewer channels to read (Szegedy et al. 2015,
"Going deeper with convolutions", section 4). Every block but the first runs without one, and with one to a half and to
a quarter of the channels.

The second command (benchmarks/README.md): 99.15 % without (99.07 to 99.22, n=5); to a half 0.23 points less (0.17 to
0.28) with 57 % of the multiply-accumulates, to a quarter 0.38 less (0.22 to 0.54) with 33 %.

Example:
    >>> from cnn.network.layers import Conv
    >>> reduce = Conv(features=32, filter_size=1)
    >>> reduce.output_shape((56, 56, 64)), reduce.parameters((56, 56, 64)) == 32 * (64 + 1)
    ((56, 56, 32), True)
"""

from dataclasses import replace
from pathlib import Path

from cnn.config import ExperimentConfig, NetworkConfig, require_integer, to_json
from cnn.data.datasets import Dataset
from cnn.progress import Progress
from cnn.study import comparison, comparison_figures, grid
from experiments import flags

SHARES = {"none": 0.0, "to a half": 0.5, "to a quarter": 0.25}
DEFAULTS = {"": {"blocks": 3}}


def study(config: ExperimentConfig, dataset: Dataset) -> grid.Study:
    """The network without the 1x1 convolutions, and with them."""
    require_integer("blocks", config.network.blocks, 2)
    network = NetworkConfig(**to_json(config.network))
    variants = {name: replace(network, bottleneck=share) for name, share in SHARES.items()}
    return grid.Study("one_by_one", "bottleneck", variants, config)


def experiment(
    config: ExperimentConfig, dataset: Dataset, workdir: Path | None = None, progress: Progress = Progress()
) -> comparison.Report:
    """Run what is missing, and say what the measurement says."""
    with comparison.run(study(config, dataset), dataset, workdir, progress) as finished:
        found = comparison.compare(finished.results, by="bottleneck", reference="none")
        others = [
            f"{name} of the channels, {comparison.versus(found, name)}, with {comparison.share(found, name)}"
            for name in list(SHARES)[1:]
        ]
        sentence = (
            f"On {config.dataset}, blocks without a bottleneck reach {comparison.accuracy(found, 'none')}. "
            f"Against them, a bottleneck {'; '.join(others)}. {comparison.verdict(found, 'no bottleneck')}"
        )
        title = f"{config.dataset}: a 1x1 convolution before each block but the first"
        draw = {"one_by_one": lambda path: comparison_figures.variants(found, finished.done, title, path)}
        return comparison.report(finished, found, sentence, draw)


if __name__ == "__main__":
    flags.run_experiment(ExperimentConfig, experiment, without=("bottleneck",), defaults=DEFAULTS)
