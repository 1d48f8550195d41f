"""LeNet-5 on MNIST against the paper's test error of 0.95 % (LeCun et al. 1998, section III-B, figure 9).

    TFDS_DATA_DIR=... python -m benchmarks.lenet5 --workdir=runs/lenet5

Validation data chooses the learning rate; then each seed reads the test set once. Prints the mean test error with its
95 % interval over seeds. About five minutes on two cores.
"""

from pathlib import Path

from absl import flags as absl_flags

from cnn.config import NetworkConfig, SweepConfig, TrainingConfig
from cnn.progress import automatic
from cnn.study import analysis, grid
from experiments import flags

absl_flags.DEFINE_integer("seeds", 5, "how many seeds")
absl_flags.DEFINE_integer("epochs", 10, "passes over the training images")
absl_flags.DEFINE_string("dataset", "mnist", "another data set, for a quick look")
PAPER = 0.0095


def main() -> None:
    """Run what is missing, and print the result."""
    training = TrainingConfig(epochs=flags.FLAGS.epochs, shift=1)
    settings = {"learning_rates": (1e-3, 3e-3), "seeds": flags.FLAGS.seeds, "training": training}
    config = SweepConfig(flags.FLAGS.dataset, **settings)
    study = grid.Study("lenet5", "model", {"lenet5": NetworkConfig(model="lenet5")}, config)
    progress = automatic()
    workdir = Path(flags.FLAGS.workdir) if flags.FLAGS.workdir else study.default_workdir()
    results = grid.run(study, flags.load(config.dataset, progress), workdir, progress)
    answer = analysis.answer(results, dataset=config.dataset, match=config.match, margin=config.margin, by="model")
    row = answer["depths"][0]
    print(analysis.table(answer))
    print(f"\nMean test error {1 - row['test_mean']:.2%}, n={row['n']}; the paper's is {PAPER:.2%}.")


if __name__ == "__main__":
    flags.run(main)
