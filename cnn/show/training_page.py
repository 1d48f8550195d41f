"""The page of one training: how it went, the network, what it has learned and what it confuses."""

from cnn.data.content import Dataset
from cnn.show import study_parts
from cnn.show.learning import curves_of, learning_curves
from cnn.show.network_parts import layers_table
from cnn.show.parts import Page, Section, Text
from cnn.training.folder import Outcome, Result, TrialFolder
from cnn.training.prepared import Prepared
from cnn.training.record import settings


def training_page(
    question: str,
    answer: str,
    outcome: Outcome,
    folder: TrialFolder,
    prepared: Prepared,
    dataset: Dataset,
    command: str,
) -> Page:
    """The page of one training.

    Args:
        question: what the training asks.
        answer: the result in a sentence.
        outcome: what the training left.
        folder: where it left the rest.
        prepared: its network and its task.
        dataset: the images.
        command: that makes the page again.
    """
    epochs = folder.metrics()
    trained = folder.trained(settings(prepared.config, dataset))
    seen = [] if outcome.predictions is None else [outcome.predictions]
    curves = learning_curves([curves_of("accuracy by epoch", 0, {0: epochs})])
    return Page(
        title=f"{dataset.name}: {answer}",
        question=question,
        answer=answer,
        reasons=(),
        command=command,
        sections=[
            Section("learning", "How the network learned", (curves, Text((speed(outcome.result),)))),
            Section("network", "The network", layers_table(prepared.network, prepared.task.image_shape)),
            *study_parts.learnt(dataset, seen, trained),
            study_parts.made(folder.path / "config.json"),
        ],
        data={"result": outcome.result.to_json(), "epochs": [epoch.to_json() for epoch in epochs]},
    )


def speed(result: Result) -> str:
    """How fast a training was, in sentences; what is unknown is left out.

    Example:
        >>> speed(Result("done", compile_seconds=2.0, images_per_second=9876.0))
        'Compiling took 2.0 s. The training steps took 9,876 images in a second.'
    """
    compiling = "" if result.compile_seconds is None else f"Compiling took {result.compile_seconds:.1f} s. "
    if result.images_per_second is None:
        return compiling.strip()
    share = result.share_of_matrix_product
    part = "" if share is None else f", {100 * share:.0f} % of the operations that products of large matrices do here"
    return f"{compiling}The training steps took {result.images_per_second:,.0f} images in a second{part}."
