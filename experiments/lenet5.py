"""How well does LeNet-5 read digits: as the paper of 1998 has it, and as it is taught today?

    python -m experiments.lenet5
    python -m experiments.lenet5 --dataset=mnist --epochs=10

The network of LeCun et al. 1998, "Gradient-based learning applied to document recognition", has trainable subsampling,
the sparse connections of C3, scaled tanh and radial basis outputs. Today's has ReLU, maximum pooling and a softmax.
Both learn by this project's recipe: AdamW, 54,000 images of mean 0 and deviation 1. The paper's own recipe took all
60,000 images and a second-order method; its network reached an error of 0.95 %, and 0.8 % with distorted images
(section III-B, figure 9). Images are not moved here, as in the 0.95 %; `--shift` moves them.
"""

from collections.abc import Sequence
from dataclasses import replace

from cnn.config import StudyConfig
from cnn.data import datasets
from cnn.data.content import Dataset
from cnn.show import comparison as show
from cnn.show.comparison_page import Evidence
from cnn.study import words
from cnn.study.comparison import compare
from cnn.study.finished import Results
from cnn.study.plan import Study
from cnn.study.results import Row
from cnn.study.statistics import Estimate
from experiments.command import comparing
from experiments.command.experiment import Experiment, Report
from experiments.command.run import run_experiment

MODELS = ("lenet5_1998", "lenet5")
ERROR = "test_error"
PAPER_ERROR = {False: (0.0095, "0.95 %"), True: (0.008, "0.8 % with distorted images")}  # by whether images are moved


def study(config: StudyConfig, dataset: Dataset) -> Study:
    """The two networks."""
    variants = {model: replace(config.network, model=model) for model in MODELS}
    return Study("lenet5", "model", variants, config, dataset, varies=("model",))


def with_errors(rows: Sequence[Row]) -> list[Row]:
    """The rows, each with its test error as a measurement."""
    errors = [None if row.result.test_accuracy is None else 1 - row.result.test_accuracy for row in rows]
    return [
        replace(row, result=replace(row.result, measured={**row.result.measured, ERROR: error}))
        for row, error in zip(rows, errors, strict=True)
    ]


def report(results: Results) -> Report:
    """The test errors of both networks; on MNIST also the paper's, and whether it lies in our interval."""
    config = results.plan.study.config
    rows = with_errors(results.rows)
    comparison = compare(rows, column="model", reference="lenet5_1998", metric=ERROR)
    errors = ", ".join(f"{model} {words.accuracy(comparison, model, ERROR)}" for model in MODELS)
    sentence = f"Mean test error on {config.dataset}: {errors}, {words.versus(comparison, 'lenet5')}"
    lines: dict[str, float] = {}
    if is_mnist(config.dataset):
        error, said = PAPER_ERROR[config.training.shift > 0]
        place = beside_interval(error, comparison["lenet5_1998"].measured[ERROR])
        sentence = f"{sentence}; the paper's is {said}{place and f', {place} of lenet5_1998'}"
        lines = {f"the paper's {said}": error}
    title = f"{config.dataset}: LeNet-5 as of 1998 and as of today"
    pictures = {"lenet5": lambda: show.variants(comparison, rows, title, "test error", lines)}
    claim = f"{sentence}."
    evidence = Evidence({ERROR: "test error"}, rows, lower_is_better=True, marked=lines)
    return comparing.report(results, comparison, (claim,), claim, pictures, evidence)


def beside_interval(error: float, measured: Estimate) -> str:
    """Where an error lies beside the interval of a measured one, both as they are shown. Empty without an interval.

    Example:
        >>> beside_interval(0.0095, Estimate(n=5, mean=0.0093, std=0.0007, low=0.0084, high=0.0102))
        'inside the interval'
        >>> beside_interval(0.0095, Estimate(n=1, mean=0.0093))
        ''
    """
    if measured.low is None or measured.high is None:
        return ""
    shown = words.points(error)
    if shown < words.points(measured.low):
        return "below the interval"
    return "above the interval" if shown > words.points(measured.high) else "inside the interval"


def is_mnist(dataset: str) -> bool:
    """Whether a data set is the paper's own, in any version.

    Example:
        >>> is_mnist("mnist:3.0.1"), is_mnist("mnist_corrupted/shot_noise"), is_mnist("mnist.npz")
        (True, False, False)
    """
    return datasets.base_name(dataset) == "mnist"


EXPERIMENT = Experiment(
    name="lenet5", doc=__doc__, config=StudyConfig, fixed=("network", "scene"), study=study, report=report
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
