"""Is it worse to reduce the resolution by convolution alone than by pooling?

    python -m experiments.downsampling
    python -m experiments.downsampling --dataset=mnist --epochs=2 --learning_rates=3e-3

Each block halves the image in one of four ways: maximum or average pooling, which have no parameters; a stride of 2 in
the block's own convolution; or one more convolution with stride 2 in the place of the pooling layer (Springenberg et
al. 2015, "Striving for simplicity"). The first three have equal parameters at equal width; the fourth runs twice, at
equal width and, narrower, at equal parameters.

The second command (benchmarks/README.md): max pooling 99.08 % (98.94 to 99.22, n=5), a stride 0.19 points less (0.11 to
0.28) with 37 % of the multiply-accumulates; the others are not to be told apart from max pooling.
"""

from dataclasses import replace
from pathlib import Path

from cnn.config import POOLINGS, ExperimentConfig, NetworkConfig, require_integer, to_json
from cnn.data.datasets import Dataset
from cnn.progress import Progress
from cnn.study import comparison, comparison_figures, grid
from experiments import flags

NARROWER = "narrower convolution"


def study(config: ExperimentConfig, dataset: Dataset) -> grid.Study:
    """The ways to halve, at equal width, and the one that has more parameters at equal parameters too."""
    require_integer("blocks", config.network.blocks, 1)
    network = NetworkConfig(**to_json(config.network))
    variants = {pooling: replace(network, pooling=pooling) for pooling in POOLINGS}
    both = (variants["convolution"], variants["max"])
    variants[NARROWER] = comparison.equal_parameters(*both, dataset.image_shape, dataset.classes)
    return grid.Study("downsampling", "downsampling", variants, config)


def experiment(
    config: ExperimentConfig, dataset: Dataset, workdir: Path | None = None, progress: Progress = Progress()
) -> comparison.Report:
    """Run what is missing, and say what the measurement says."""
    with comparison.run(study(config, dataset), dataset, workdir, progress) as finished:
        found = comparison.compare(finished.results, by="downsampling", reference="max")
        others = [
            f"{row['downsampling']}, {comparison.versus(found, row['downsampling'])}, with "
            f"{comparison.share(found, row['downsampling'])}"
            for row in found["variants"][1:]
        ]
        sentence = (
            f"On {config.dataset}, max pooling reaches {comparison.accuracy(found, 'max')}. Against it: "
            f"{'; '.join(others)}. {comparison.verdict(found, 'max pooling')}"
        )
        title = f"{config.dataset}: ways to halve the image, {config.network.blocks} blocks"
        draw = {"downsampling": lambda path: comparison_figures.variants(found, finished.done, title, path)}
        return comparison.report(finished, found, sentence, draw)


if __name__ == "__main__":
    flags.run_experiment(ExperimentConfig, experiment, without=("pooling",))
