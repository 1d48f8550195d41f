"""How many CONV-RELU-POOL blocks should we use?

    python -m experiments.sweep_blocks
    python -m experiments.sweep_blocks --dataset=cifar10 --blocks=1,2,3,4 --seeds=5 --epochs=20
    --learning_rates=1e-3,3e-3

Compares depths over learning rates and seeds, and answers with a table, one sentence and a picture. The learning rate
and the number of blocks are chosen on validation data; test accuracy is read once for each trial that compares.
"""

from pathlib import Path
from typing import Any

from cnn.config import NetworkConfig, SweepConfig, to_json
from cnn.data.datasets import Dataset
from cnn.network import summary
from cnn.progress import Progress
from cnn.study import analysis, figures, grid
from cnn.training.runs import write_json
from experiments import flags


def study(config: SweepConfig, dataset: Dataset) -> grid.Study:
    """The networks that a sweep compares, one for each depth, of equal cost where the settings ask for it.

    Raises:
        RequestError: a depth that does not fit the images, or costs that cannot be matched.
    """
    depths = [NetworkConfig(**to_json(config.network), blocks=blocks) for blocks in sorted(config.blocks)]
    matched = summary.match(depths, config.match, dataset.image_shape, dataset.classes)
    variants = {network.blocks: network for network in matched}
    return grid.Study("sweep_blocks", "blocks", variants, config, grows=("blocks",))


def sweep(
    config: SweepConfig, dataset: Dataset, workdir: Path | None, progress: Progress = Progress()
) -> dict[str, Any]:
    """Run a sweep, or what is missing of it; returns what `answer.json` holds, the work folder and the failures."""
    plan = study(config, dataset)
    workdir = workdir or plan.default_workdir()
    with grid.running(plan, dataset, workdir, progress) as results:
        correct = grid.correct_images(plan, results, workdir)
        answer = analysis.answer(
            results, dataset=config.dataset, match=config.match, margin=config.margin, correct=correct
        )
        write_json(workdir / "answer.json", answer)
        figures.accuracy_vs_blocks(answer, results, workdir / "accuracy_vs_blocks.png")
    return answer | {"workdir": str(workdir), "failed": int((results["status"] == "failed").sum())}


def main() -> int:
    """Sweep as the flags say, and print the answer."""
    config = flags.configure(SweepConfig)
    progress = flags.progress()
    answer = sweep(config, flags.load(config.dataset, progress), flags.folder("workdir"), progress)
    print(analysis.table(answer))
    print(f"\n{analysis.sentence(answer)}")
    print(f"Picture: {Path(answer['workdir']) / 'accuracy_vs_blocks.png'}")
    return 1 if answer["failed"] else 0


if __name__ == "__main__":
    flags.define(SweepConfig)
    flags.run(main)
