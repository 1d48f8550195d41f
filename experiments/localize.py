"""Is a ConvNet better at saying where things are?

    python -m experiments.localize
    python -m experiments.localize --dataset=mnist --epochs=2
    python -m experiments.localize --dataset=mnist --epochs=2 --objects=2

A scene has one object of the data set, or two, at a random place and size on a larger canvas. Scenes are made anew at
each step. One head gives a class and a box for each object. The experiment compares a ConvNet with an MLP of equal
parameters by three measures: the share of scenes in which every object has its class right and an intersection over
union (IoU) of at least one half; mean IoU; and mean average precision at an IoU of one half (Everingham et al. 2010).
For the first two measures, two objects are assigned to the head's two slots so that the loss, classes included, is
least. Average precision does not depend on slots.
"""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnn.config import StudyConfig, TrialConfig
from cnn.data import scenes
from cnn.data.batches import Images, members
from cnn.data.content import Dataset
from cnn.errors import require_integer
from cnn.network import matching
from cnn.progress import Progress
from cnn.show import comparison as show
from cnn.show.comparison_page import Evidence
from cnn.show.parts import Section
from cnn.show.scene_parts import located
from cnn.study import claims, words
from cnn.study.comparison import compare, in_one_family
from cnn.study.finished import Results
from cnn.study.plan import Study
from cnn.study.results import ACCURACY
from cnn.trained import detection
from cnn.trained.network import Trained
from cnn.training import tasks
from cnn.training.step import Answers
from cnn.training.trial import Measured
from experiments.command import comparing
from experiments.command.experiment import Experiment, Report
from experiments.command.run import run_experiment

SHOWN = 6  # scenes in the picture
TITLES = {
    ACCURACY: "all right %",
    "class_accuracy": "class right %",
    "mean_iou": "mean IoU %",
    "average_precision": "average precision %",
}
OBJECTS = {1: "one object", 2: "two objects"}
LOCATED = ("mean_iou", "average_precision")  # what is tested beside the accuracy
PANELS = (ACCURACY, *LOCATED)  # of the picture
NETWORKS = ("convnet", "mlp")


def study(config: StudyConfig, dataset: Dataset) -> Study:
    """The ConvNet, and the MLP of equal parameters.

    Raises:
        RequestError: the scenes have no object, or the ConvNet has no block.
    """
    require_integer("objects", config.scene.objects, 1)
    require_integer("blocks", config.network.blocks, 1)
    task = tasks.task(TrialConfig(scene=config.scene), dataset.image_shape, dataset.classes)
    assert isinstance(task, tasks.Localization), "the settings ask for at least one object"
    convnet = config.network
    mlp = replace(convnet, model="mlp")
    mlp = matching.equal_parameters(mlp, convnet, task.image_shape, task.outputs)
    variants = {"convnet": convnet, "mlp": mlp}
    measured = functools.partial(measure, task, dataset)
    return Study("localize", "network", variants, config, dataset, measure=measured, varies=("model",))


def measure(
    task: tasks.Localization, dataset: Dataset, trained: Trained, answers: Answers, progress: Progress
) -> Measured:
    """How well boxes fit and objects are found on the test scenes, and some scenes to look at."""
    indices = members(np.arange(min(SHOWN, len(dataset.test_labels))), task.objects)
    batch = Images(jnp.asarray(dataset.test_images[indices]), jnp.asarray(dataset.test_labels[indices]))
    images = np.asarray(jax.jit(task.test_examples)(indices, batch)[0])
    found = jax.device_get(jax.jit(task.matched)(answers.outputs, answers.targets))
    return measured(found, answers.targets, images)


def measured(found: tasks.Found, true: tasks.Found, images: np.ndarray) -> Measured:
    """The measurements on all scenes, and the arrays of those that the picture shows.

    Args:
        found: class logits and boxes, in the order of the true objects.
        true: classes and boxes.
        images: the first scenes.
    """
    confidence = np.asarray(jax.nn.softmax(found.classes, axis=-1)).max(-1)
    classes = np.asarray(found.classes.argmax(-1))
    ratios = scenes.overlap(np.asarray(found.boxes), np.asarray(true.boxes)).ratio
    wanted = _objects(true.classes, true.boxes)
    seen = _objects(classes, found.boxes)
    values: dict[str, float | None] = {
        "class_accuracy": float((classes == true.classes).mean()),
        "mean_iou": float(ratios.mean()),
        "average_precision": detection.mean_average_precision(wanted, seen, confidence.reshape(-1)),
    }
    shown = {"true_boxes": true.boxes, "true_classes": true.classes, "boxes": found.boxes, "classes": classes}
    arrays = {name: np.asarray(value[: len(images)]) for name, value in shown.items()}
    return Measured(values, {"scenes": images, **arrays})


def _objects(classes: Array | np.ndarray, boxes: Array | np.ndarray) -> detection.Objects:
    """The objects of all scenes in one list, each with the number of its scene."""
    count, objects = classes.shape
    places = np.repeat(np.arange(count), objects)
    return detection.Objects(places, np.asarray(classes).reshape(-1), np.asarray(boxes).reshape(-1, 4))


def report(results: Results) -> Report:
    """Both networks by every measure, and scenes with the boxes that each network gave."""
    planned = results.plan.study
    config = planned.config
    comparison, *further = in_one_family(
        compare(results.rows, column="network", reference="convnet", others=tuple(TITLES)),
        *(compare(results.rows, column="network", reference="convnet", metric=metric) for metric in LOCATED),
    )
    more = dict(zip(LOCATED, further, strict=True))
    boxes, precision = (
        f"{words.accuracy(own, 'convnet', metric)}, and the MLP {words.versus(own, 'mlp')}"
        for metric, own in more.items()
    )
    expected = [claims.Expected(own, "mlp", "worse", TITLES[metric].removesuffix(" %")) for metric, own in more.items()]
    objects = OBJECTS[config.scene.objects]
    claim = claims.stated("better for localisation and detection", config.dataset, expected)
    sentences = (
        f"On scenes of {objects} from {config.dataset}, the ConvNet has {words.accuracy(comparison, 'convnet')} "
        f"all right, and the MLP of equal parameters {words.versus(comparison, 'mlp')}.",
        f"Mean IoU: {boxes}; average precision: {precision}.",
        claim,
    )
    title = f"{config.dataset}: {objects} in a scene, classified and located"
    panels = {name: TITLES[name].removesuffix(" %") for name in PANELS}
    arrays = {name: results.arrays(name, seed=0) for name in NETWORKS}
    pictured = {name: show.Scenes(**shown) for name, shown in arrays.items() if shown}
    names = planned.dataset.class_names
    pictures = {"localize": lambda: show.scenes(comparison, results.rows, title, panels, pictured, names)}
    seen = located(pictured, names, planned.dataset.largest_pixel)
    sections = (Section("scenes", "Scenes, and where the networks see objects", seen),) if pictured else ()
    evidence = Evidence(panels, results.rows, heads=TITLES, sections=sections)
    return comparing.report(results, comparison, sentences, claim, pictures, evidence, more=more)


EXPERIMENT = Experiment(
    name="localize",
    doc=__doc__,
    config=StudyConfig,
    fixed=("model", "shift", "turn", "zoom", "cutout", "mirror"),
    study=study,
    report=report,
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
