"""The page of one training: how it went, the network, what it has learned and what it confuses."""

from collections.abc import Sequence
from pathlib import Path

from cnn.data.content import Dataset
from cnn.show import study_parts
from cnn.show.learning import curves_of, learning_curves
from cnn.show.network_parts import layers_table
from cnn.show.parts import Page, Section
from cnn.trained.network import Trained
from cnn.training.fit import Prepared
from cnn.training.folder import Outcome
from cnn.training.metrics import Epoch


def training_page(
    question: str,
    answer: str,
    outcome: Outcome,
    epochs: Sequence[Epoch],
    trained: Trained | None,
    prepared: Prepared,
    dataset: Dataset,
    config: Path,
    command: str,
) -> Page:
    """The page of one training.

    Args:
        question: what the training asks.
        answer: the result in a sentence.
        outcome: what the training left.
        epochs: its metrics.
        trained: the network, where the training finished.
        prepared: its network and its task.
        dataset: the images.
        config: the file of its settings.
        command: that makes the page again.
    """
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
            study_parts.made(config),
        ],
        data={"result": outcome.result.to_json(), "epochs": [epoch.to_json() for epoch in epochs]},
    )
