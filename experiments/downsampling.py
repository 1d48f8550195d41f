"""Is it worse to reduce the resolution by convolution alone than by pooling?

    python -m experiments.downsampling
    python -m experiments.downsampling --dataset=mnist --epochs=2

Each block halves the image in one of four ways: maximum or average pooling, which have no parameters; a stride of 2 in
the block's own convolution; or one more convolution with stride 2 in place of the pooling layer (Springenberg et al.
2015, "Striving for simplicity"). The first three have equal parameters at equal width. The fourth runs twice: at equal
width and, narrower, at equal parameters.
"""

from dataclasses import replace

from cnn.config import StudyConfig
from cnn.data.content import Dataset
from cnn.errors import require_integer
from cnn.network import matching, models
from cnn.show import comparison as show
from cnn.show.comparison_page import Evidence
from cnn.study import claims, words
from cnn.study.comparison import compare
from cnn.study.finished import Results
from cnn.study.plan import Study
from cnn.study.results import ACCURACY, variant_name
from experiments.command import comparing
from experiments.command.experiment import Experiment, Report
from experiments.command.run import run_experiment

NARROWER = "narrower convolution"
NOT_RECOMMENDED = "reducing the resolution by convolution alone is worse than pooling"
REDUCTIONS = {"stride": "a stride in the block's own convolution", "convolution": "an additional convolution"}


def study(config: StudyConfig, dataset: Dataset) -> Study:
    """Every way to halve the image at equal width; the way that has more parameters also at equal parameters.

    Raises:
        RequestError: the networks have no block, or a filter is too small for one of the ways.
    """
    require_integer("blocks", config.network.blocks, 1)
    poolings = models.choices()["pooling"]
    variants = {pooling: replace(config.network, pooling=pooling) for pooling in poolings}
    for network in variants.values():
        models.check_names(network)  # such as a filter that is too small for one of the ways
    variants[NARROWER] = matching.equal_parameters(
        variants["convolution"], variants["max"], dataset.image_shape, dataset.classes
    )
    return Study("downsampling", "downsampling", variants, config, dataset, varies=("pooling",))


def parameters(results: Results) -> str:
    """Whether a convolution for reduction increases the parameters, counted on the networks, as a sentence."""
    counts = {name: results.plan.prepared[name].cost.parameters for name in ("max", *REDUCTIONS)}
    parts = []
    for name, words_for in REDUCTIONS.items():
        more = counts[name] - counts["max"]
        holds = "true" if more > 0 else "false"
        change = f"{more:,} parameters more" if more > 0 else f"{-more:,} fewer" if more else "as many parameters"
        parts.append(f"{holds} for {words_for} ({change})")
    return f'Counted, "a convolution for reduction increases parameters" is {" and ".join(parts)}.'


def report(results: Results) -> Report:
    """Compares each way to halve the image with maximum pooling."""
    config = results.plan.study.config
    comparison = compare(results.rows, column="downsampling", reference="max")
    others = [
        f"{variant.name}, {words.versus(comparison, variant.name)}, with {words.share(comparison, variant.name)}"
        for variant in comparison.others
    ]
    expected = [claims.Expected(comparison, name, "worse") for name in ("stride", "convolution", NARROWER)]
    claim = claims.stated(NOT_RECOMMENDED, config.dataset, expected)
    sentences = (
        f"On {config.dataset}, max pooling reaches {words.accuracy(comparison, 'max')}.",
        f"Against it: {'; '.join(others)}.",
        words.verdict(comparison, "max pooling"),
        claim,
        parameters(results),
    )
    title = f"{config.dataset}: ways to halve the image, {variant_name('blocks', config.network.blocks)}"
    pictures = {"downsampling": lambda: show.variants(comparison, results.rows, title)}
    evidence = Evidence({ACCURACY: "test accuracy"}, results.rows)
    return comparing.report(results, comparison, sentences, claim, pictures, evidence)


EXPERIMENT = Experiment(
    name="downsampling",
    doc=__doc__,
    config=StudyConfig,
    fixed=("model", "pooling", "scene"),
    study=study,
    report=report,
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
