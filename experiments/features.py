"""Are learnt filters good features for classes that the network has never seen?

    python -m experiments.features
    python -m experiments.features --dataset=mnist --epochs=2

A ConvNet learns the first half of the classes. Then it is frozen: the output of its last block becomes the features of
a linear classifier for the other half, which sees 1, 5, 20 or 100 examples of each class. The same examples, drawn anew
for each seed, test four other kinds of features: the last hidden units of an MLP of equal parameters that learnt the
same classes at a learning rate of its own; the same ConvNet with its random initial filters; 40 principal components of
the images that it learnt from; and the raw pixels. Pictures show the first filters, the feature maps of an image, and
the patches that excite the last filters most.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cnn.config import NetworkConfig, StudyConfig
from cnn.data.content import Dataset
from cnn.data.splits import split, subset
from cnn.errors import RequestError, require_integer
from cnn.network import matching, models, summary
from cnn.progress import Progress
from cnn.show import comparison as show
from cnn.show import network as pictures
from cnn.show.comparison_charts import Lines
from cnn.show.comparison_page import Evidence
from cnn.study import claims, words
from cnn.study.comparison import compare
from cnn.study.finished import Results
from cnn.study.plan import TUNE, Study
from cnn.study.results import Row, compared
from cnn.trained import features, patches
from cnn.trained.network import Trained
from cnn.training.step import Answers
from cnn.training.trial import Measured
from experiments.command import comparing
from experiments.command.experiment import Draw, Experiment, Report
from experiments.command.run import run_experiment

FILTERS_LEARNT = "learnt filters"
UNITS_LEARNT = "hidden units of an MLP"
FILTERS_RANDOM = "random filters"
KINDS = (FILTERS_LEARNT, UNITS_LEARNT, FILTERS_RANDOM, "principal components", "pixels")
MLP = "mlp"
NO_MLP = "No MLP has as many parameters as this small network within 2 %, so no hidden units are compared."
HIDDEN_LAYER = "dense2_relu"  # of an MLP: what its logits read
EXAMPLES = (1, 5, 20, 100)
TITLES = {  # of the pictures on the page
    "filters": "What the first layer looks for",
    "feature_maps": "What each layer makes of an image",
    "patches": "What excites the last filters most",
}
SHOWN_FILTERS = 8  # in the picture
PATCHES = 8  # of each filter, in the picture


@dataclasses.dataclass(frozen=True, eq=False)
class FewShot:
    """Measures each network: few-shot accuracies on the new classes, and what the pictures show.

    Attributes:
        known: the images of the classes that the network learns.
        new: the images of the other classes.
        validation_fraction: share of the known training images that the network does not learn from.
        layer: the layer of the ConvNet whose output is an image's features.
    """

    known: Dataset
    new: Dataset
    validation_fraction: float
    layer: str

    @property
    def examples(self) -> tuple[int, ...]:
        """How many examples of each new class a classifier sees, as far as there are so many."""
        return tuple(k for k in EXAMPLES if k <= np.bincount(self.new.train_labels).min())

    def __call__(self, trained: Trained, answers: Answers, progress: Progress) -> Measured:
        """Few-shot accuracy on the new classes by each kind of feature, and what the pictures show."""
        values: dict[str, float | None] = {}
        shown: Mapping[str, np.ndarray] = {}
        kinds = self._kinds(trained)
        pictured = FILTERS_LEARNT in kinds
        with progress.task("features", len(kinds) + pictured) as task:
            for kind, extract in kinds.items():
                accuracies = features.few_shot_accuracies(self.new, extract, self.examples, trained.config.seed)
                values |= {f"{kind}, {k}": accuracy for k, accuracy in accuracies.items()}
                task.advance(note=f"seed {trained.config.seed}, {kind}")
            if pictured:
                shown = patches.shown(trained, np.asarray(self.known.test_images), SHOWN_FILTERS, PATCHES)
                task.advance(note=f"seed {trained.config.seed}, pictures")
        return Measured(values, shown)

    def _kinds(self, trained: Trained) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
        """The kinds of features that this network gives, each a function from images to rows."""
        if isinstance(trained.network, models.MLP):
            return {UNITS_LEARNT: functools.partial(trained.features, HIDDEN_LAYER)}
        learnt_from, _ = split(self.known.train_labels, self.validation_fraction, trained.config.seed)
        components = features.principal_components(self.known.train_images[learnt_from])
        return {
            FILTERS_LEARNT: functools.partial(trained.features, self.layer),
            FILTERS_RANDOM: functools.partial(trained.with_initial_weights().features, self.layer),
            "principal components": lambda images: components.transform(features.pixels(images)),
            "pixels": features.pixels,
        }


def study(config: StudyConfig, dataset: Dataset) -> Study:
    """A network with filters and an MLP of equal parameters; both learn the first half of the classes.

    A unit more or less changes a very small MLP by more than 2 %. Where no MLP has as many parameters, it is left out.

    Raises:
        RequestError: the network has no block, or there are fewer than four classes.
    """
    network = config.network
    require_integer("blocks", network.blocks, 1)
    require_integer("classes", dataset.classes, 4)
    middle = dataset.classes // 2
    # The part keeps the name of the whole data set, which the settings name. Its fingerprint differs.
    known = dataclasses.replace(subset(dataset, range(middle)), name=dataset.name)
    new = subset(dataset, range(middle, dataset.classes))
    measure = FewShot(known, new, config.validation_fraction, feature_layer(network))
    variants = {network.model: network}
    parameters = summary.cost(models.build(network, known.image_shape, known.classes), known.image_shape).parameters
    mlp = dataclasses.replace(network, model=MLP)
    with contextlib.suppress(RequestError):
        variants[MLP] = matching.with_cost(mlp, "parameters", parameters, known.image_shape, known.classes)
    return Study("features", "network", variants, config, known, measure=measure, varies=("model",))


def feature_layer(network: NetworkConfig) -> str:
    """The layer whose output is an image's features.

    Raises:
        RequestError: the model has no such layer.
    """
    features = models.known(network.model).features
    known = [name for name, other in models.MODELS.items() if other.features is not None]
    if features is None:
        raise RequestError(f"model={network.model!r}: must be one with features for a classifier: {', '.join(known)}")
    return features(network)


def by_kind(rows: Sequence[Row], examples: Sequence[int], costs: Mapping[str, summary.Cost]) -> list[Row]:
    """A row for each comparison trial and kind of feature, with the accuracy after k examples as the measurement `k`.

    A network's accuracies on the known classes, and whether it collapsed, belong to the features that it learnt, so the
    rows of other kinds lack them. The tuning trials of a network stand with the features that it learnt, too.

    Args:
        rows: the trials of both networks.
        examples: the numbers k.
        costs: the cost of the layers that compute the features of an image, by kind; a kind without layers has none.
    """
    tuned = [row for row in rows if row.phase == TUNE]
    kept = [dataclasses.replace(row, variant=UNITS_LEARNT if row.variant == MLP else FILTERS_LEARNT) for row in tuned]
    trials = compared(rows)
    return [
        *kept,
        *(
            _of_kind(row, kind, examples, costs.get(kind))
            for kind in KINDS
            for row in trials
            if (row.variant == MLP) == (kind == UNITS_LEARNT)
        ),
    ]


def _of_kind(row: Row, kind: str, examples: Sequence[int], cost: summary.Cost | None) -> Row:
    learnt = kind in (FILTERS_LEARNT, UNITS_LEARNT)
    result = dataclasses.replace(
        row.result,
        measured={f"{k}": row.result.measured.get(f"{kind}, {k}") for k in examples},
        parameters=cost.parameters if cost else None,
        macs=cost.macs if cost else None,
        val_accuracy=row.result.val_accuracy if learnt else None,
        test_accuracy=row.result.test_accuracy if learnt else None,
        train_seconds=row.result.train_seconds if learnt else None,
        collapsed=row.result.collapsed if learnt else None,
    )
    return Row(row.phase, kind, row.learning_rate if learnt else None, row.seed, result)


def layers(network: NetworkConfig, dataset: Dataset) -> list[summary.Row]:
    """The rows of a network's table."""
    return summary.rows(models.build(network, dataset.image_shape, dataset.classes), dataset.image_shape)


def frozen_cost(network: NetworkConfig, layer: str, dataset: Dataset) -> summary.Cost:
    """The cost of a network's layers before the named one."""
    used = list(itertools.takewhile(lambda row: row.name != layer, layers(network, dataset)))
    return summary.Cost(sum(row.parameters for row in used), sum(row.macs for row in used))


def costs(variants: Mapping[Any, NetworkConfig], dataset: Dataset) -> dict[str, summary.Cost]:
    """What the features of an image cost, by kind; only those of a network cost anything to speak of."""
    network, *mlps = variants.values()
    filters = frozen_cost(network, feature_layer(network), dataset)
    units = [(UNITS_LEARNT, frozen_cost(mlp, HIDDEN_LAYER, dataset)) for mlp in mlps]  # none, or one
    return {FILTERS_LEARNT: filters, FILTERS_RANDOM: filters, **dict(units)}


def report(results: Results) -> Report:
    """Compares every kind of feature with the learnt filters."""
    planned = results.plan.study
    name = planned.config.dataset
    few_shot = planned.measure
    assert isinstance(few_shot, FewShot), "what `study` measures"
    examples = few_shot.examples
    few = f"{examples[min(1, len(examples) - 1)]}"
    names = {k: f"{k}" for k in examples}
    rows = by_kind(results.rows, examples, costs(planned.variants, few_shot.known))
    comparison = compare(rows, column="features", reference=KINDS[0], metric=few, others=tuple(names.values()))
    kinds = [kind for kind in KINDS[1:] if kind != UNITS_LEARNT or MLP in planned.variants]
    others = "; ".join(f"{kind}, {words.versus(comparison, kind)}" for kind in kinds)
    expected = [claims.Expected(comparison, kind, "worse") for kind in kinds]
    claim = claims.stated("better for feature extraction", name, expected)
    sentences = (
        f"On {name}, filters learnt on {few_shot.known.classes} classes let a linear classifier tell the "
        f"{few_shot.new.classes} others apart with {words.accuracy(comparison, KINDS[0], few)} after {few} examples of "
        "each.",
        f"Against them: {others}.",
        "" if UNITS_LEARNT in kinds else NO_MLP,
        claim,
    )
    heads = {f"{k}": f"{k} example{'' if k == 1 else 's'} %" for k in examples}
    title = f"{name}: features for {few_shot.new.classes} new classes, {few} examples of each"
    along = "examples of each new class"
    drawn: dict[str, Draw] = {
        "features": lambda: show.variants_and_lines(comparison, rows, title, names, along, log=True)
    }
    seen = results.arrays(planned.config.network.model, seed=0)
    if seen and seen["image"].shape[-1] in (1, 3):  # only these can be drawn
        drawn |= _of_the_network(seen, planned.config, few_shot.known)
    lines = Lines(names, along, log=True)
    evidence = Evidence({few: f"accuracy after {few} examples"}, rows, heads=heads, lines=lines, pictures=TITLES)
    return comparing.report(results, comparison, sentences, claim, drawn, evidence)


def _of_the_network(seen: Mapping[str, np.ndarray], config: StudyConfig, known: Dataset) -> dict[str, Draw]:
    """Pictures of the filters, of an image's feature maps, and of what excites the last filters."""
    maps = {name.removeprefix("map "): value for name, value in seen.items() if name.startswith("map ")}
    names = [f"filter {number}" for number in range(len(seen["patches"]))]
    convolutions = [row.name for row in layers(config.network, known) if row.kind == "Conv"]
    on = f"{config.dataset}, {known.classes} classes learnt"
    most = f"{on}: what excites filters of {convolutions[-1]} most"
    return {
        "filters": lambda: pictures.filters(seen["kernel"], f"{on}: the filters of {convolutions[0]}"),
        "feature_maps": lambda: pictures.feature_maps(seen["image"], maps, f"{on}: what the layers make of an image"),
        "patches": lambda: pictures.patches(seen["patches"], names, most),
    }


EXPERIMENT = Experiment(
    name="features",
    doc=__doc__,
    config=StudyConfig,
    fixed=("permute", "scene"),
    study=study,
    report=report,
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
