"""The page of one training: how it went, the network, what it has learned and what it confuses."""

from cnn.data.content import Dataset
from cnn.show import study_parts
from cnn.show.learning import curves_of, learning_curves
from cnn.show.network_parts import layers_table
from cnn.show.parts import Page, Section
from cnn.training.fit import Prepared
from cnn.training.folder import Outcome, TrialFolder
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
            Section("learning", "How the network learned", (curves,)),
            Section("network", "The network", layers_table(prepared.network, prepared.task.image_shape)),
            *study_parts.learnt(dataset, seen, trained),
            study_parts.made(folder.path / "config.json"),
        ],
        data={"result": outcome.result.to_json(), "epochs": [epoch.to_json() for epoch in epochs]},
    )
