"""Is a ConvNet better at saying where things are?

    python -m experiments.localize
    python -m experiments.localize --dataset=mnist --epochs=2 --learning_rates=3e-3
    python -m experiments.localize --dataset=mnist --epochs=2 --learning_rates=3e-3 --objects=2

One object of the data set, or two, at a random place and size on a larger canvas, made anew at each step. One head
gives a class and a box for each object. A ConvNet against an MLP of equal parameters, by the share of scenes in which
every object has its class right and an intersection over union (IoU) of at least one half, by mean IoU, and by mean
average precision at an IoU of one half (Everingham et al. 2010). For the first two, two objects are given to the head's
two slots in the way of least loss, classes included; average precision knows of no slots.

The second and the third command (benchmarks/README.md): average precision 82.5 % (78.8 to 86.2, n=5), the MLP 34.3 %
(32.5 to 36.1); of two objects 19.3 % (12.1 to 26.6) and 2.9 % (2.4 to 3.3).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np

from cnn.config import ExperimentConfig, NetworkConfig, SceneConfig, TrialConfig, require_integer, to_json
from cnn.data import scenes
from cnn.data.datasets import Dataset
from cnn.progress import Progress
from cnn.study import comparison, comparison_figures, detection, grid
from cnn.training import tasks
from cnn.training.replicas import Fit
from cnn.training.step import Answers, members
from cnn.training.trial import Measured
from experiments import flags

SHOWN = 6  # scenes in the figure
ONE_OBJECT = SceneConfig(objects=1)
DEFAULTS = {"digits": {"epochs": 30, "batch_size": 32}}
TITLES = {
    comparison.ACCURACY: "all right %",
    "class_accuracy": "class right %",
    "mean_iou": "mean IoU %",
    "average_precision": "average precision %",
}
OBJECTS = {1: "one object", 2: "two objects"}
PANELS = (comparison.ACCURACY, "mean_iou", "average_precision")  # of the figure


@dataclass(frozen=True)
class LocalizeConfig(ExperimentConfig):
    """A comparison of networks on scenes."""

    scene: SceneConfig = ONE_OBJECT

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("objects", self.scene.objects, 1)
        require_integer("blocks", self.network.blocks, 1)


def study(config: LocalizeConfig, dataset: Dataset) -> grid.Study:
    """The ConvNet, and the MLP of equal parameters."""
    asked = tasks.task(TrialConfig(scene=config.scene), dataset.image_shape, dataset.classes)
    convnet = NetworkConfig(**to_json(config.network))
    mlp = replace(convnet, model="mlp")
    mlp = comparison.equal_parameters(mlp, convnet, asked.image_shape, asked.outputs)
    return grid.Study("localize", "network", {"convnet": convnet, "mlp": mlp}, config, config.scene, measure)


def measure(fit: Fit, answers: list[Answers | None], progress: Progress) -> list[Measured | None]:
    """How well boxes fit and objects are found on the test scenes, and some scenes to look at."""
    task, data = fit.program.task, fit.test_data
    assert isinstance(task, tasks.Localization), "the settings ask for at least one object"
    indices = members(np.arange(min(SHOWN, len(data.labels))), task.objects)
    images = np.asarray(jax.jit(task.test_examples)(indices, data.take(indices))[0])
    matched = jax.jit(task.matched)
    return [
        None if own is None else _measured(jax.device_get(matched(own.outputs, own.targets)), own.targets, images)
        for own in answers
    ]


def _measured(found: tasks.Found, true: tasks.Found, images: np.ndarray) -> Measured:
    count, objects = true.classes.shape
    confidence = np.asarray(jax.nn.softmax(found.classes, axis=-1)).max(-1)
    classes, places = found.classes.argmax(-1), np.repeat(np.arange(count), objects)
    ratios = scenes.overlap(np.asarray(found.boxes), np.asarray(true.boxes)).ratio
    wanted, seen = (
        detection.Objects(places, np.asarray(names).reshape(-1), np.asarray(boxes).reshape(-1, 4))
        for names, boxes in ((true.classes, true.boxes), (classes, found.boxes))
    )
    values: dict[str, float | None] = {
        "class_accuracy": float((classes == true.classes).mean()),
        "mean_iou": float(ratios.mean()),
        "average_precision": detection.mean_average_precision(wanted, seen, confidence.reshape(-1)),
    }
    shown = {"true_boxes": true.boxes, "true_classes": true.classes, "boxes": found.boxes, "classes": classes}
    return Measured(
        values, {"scenes": images, **{name: np.asarray(value[: len(images)]) for name, value in shown.items()}}
    )


def experiment(
    config: LocalizeConfig, dataset: Dataset, workdir: Path | None = None, progress: Progress = Progress()
) -> comparison.Report:
    """Run what is missing, and say what the measurement says."""
    with comparison.run(study(config, dataset), dataset, workdir, progress) as finished:
        found = comparison.compare(finished.results, by="network", reference="convnet", others=tuple(TITLES))
        boxes = {name: comparison.accuracy(found, name, "mean_iou") for name in ("convnet", "mlp")}
        precision = {name: comparison.accuracy(found, name, "average_precision") for name in ("convnet", "mlp")}
        objects = OBJECTS[config.scene.objects]
        sentence = (
            f"On scenes of {objects} from {config.dataset}, the ConvNet has {comparison.accuracy(found, 'convnet')} "
            f"all right, and the MLP of equal parameters {comparison.versus(found, 'mlp')}. "
            f"Mean IoU: {boxes['convnet']} against {boxes['mlp']}; average precision: {precision['convnet']} "
            f"against {precision['mlp']}."
        )
        title = f"{config.dataset}: {objects} in a scene, classified and located"
        shown = {name: finished.arrays(name, seed=0) for name in ("convnet", "mlp")}

        def draw(path: Path) -> None:
            panels = {name: TITLES[name].removesuffix(" %") for name in PANELS}
            pictured = {name: arrays for name, arrays in shown.items() if arrays}
            comparison_figures.scenes(found, finished.done, title, panels, pictured, dataset.class_names, path)

        return comparison.report(finished, found, sentence, {"localize": draw}, TITLES)


if __name__ == "__main__":
    flags.run_experiment(LocalizeConfig, experiment, without=("shift",), defaults=DEFAULTS)
