"""Is it worse to reduce the resolution by convolution alone than by pooling?

    python -m experiments.downsampling
    python -m experiments.downsampling --dataset=mnist --epochs=3 --seeds=5

Each block halves the image in one of four ways: maximum or average pooling, which have no parameters; a stride of 2 in
the block's own convolution; or one more convolution with stride 2 in the place of the pooling layer (Springenberg et
al. 2015, "Striving for simplicity"). The first three have equal parameters at equal width; the fourth runs twice, at
equal width and, narrower, at equal parameters.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from cnn.config import POOLINGS, ExperimentConfig, NetworkConfig, require_integer, to_json
from cnn.data.datasets import Dataset
from cnn.progress import Progress
from cnn.study import comparison, figures, grid
from experiments import flags

NARROWER = "convolution, equal parameters"


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
    finished = comparison.run(study(config, dataset), dataset, workdir, progress)
    found = comparison.compare(finished.results, by="downsampling", reference="max")
    others = [
        f"{name}, with {comparison.share(found, name)}, {comparison.versus(found, name)}"
        for name in (*POOLINGS[1:], NARROWER)
    ]
    accuracy = comparison.accuracy(found, "max")
    sentence = f"On {config.dataset}, max pooling reaches {accuracy}; {'; '.join(others)}. {_verdict(found)}"
    title = f"{config.dataset}: ways to halve the image, {config.network.blocks} blocks"
    draw = {"downsampling": lambda path: figures.variants(found, finished.done, title, path)}
    return comparison.report(finished, found, sentence, draw)


def _verdict(found: dict[str, Any]) -> str:
    """What the measurement says to the lecture's advice, by the variants that have no pooling layer."""
    apart = {row["downsampling"]: comparison.side(row["difference"]) for row in found["variants"]}
    convolved = {name: apart[name] for name in ("stride", "convolution", NARROWER)}
    names = {side: [name for name, own in convolved.items() if own == side] for side in ("worse", "alike", "better")}
    kinds = {"worse": "worse than", "alike": "not to be told apart from", "better": "better than"}
    parts = [f"{' and '.join(names[side])} {kind} max pooling" for side, kind in kinds.items() if names[side]]
    return f"Halving by convolution alone: {'; '.join(parts)}."


if __name__ == "__main__":
    flags.run_experiment(ExperimentConfig, experiment, without=("pooling",))
