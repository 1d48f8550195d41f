"""The page of each recorded study, in Markdown: what its sweeps found side by side, then each of them.

`python -m benchmarks.found --write` writes them to `docs/results/STUDY/README.md`.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from cnn.study import across_words, tables, words
from cnn.study.across import across
from cnn.study.swept import Swept

NAME = "README.md"
PICTURE = "accuracy_vs_blocks.png"


def pages(sweeps: Sequence[Swept]) -> dict[str, str]:
    """The text of each study's page, by the study's name.

    Args:
        sweeps: the recorded sweeps, those of a study one after another.
    """
    studies = itertools.groupby(sweeps, key=lambda swept: swept.folder.parent.name)
    return {study: "\n\n".join(_parts(study, list(own))) + "\n" for study, own in studies}


def _parts(study: str, sweeps: Sequence[Swept]) -> Iterator[str]:
    yield f"# How many blocks: {study}"
    yield "<!-- printed by benchmarks.found -->"
    if len(sweeps) > 1:
        found = across([dataclasses.replace(swept, folder=Path(swept.folder.name)) for swept in sweeps])
        explained = across_words.explained(found)
        yield from (across_words.sentence(found), across_words.tables(found), f"```text\n{explained}\n```")
    answers = [tables.answer_tables(swept.answer) for swept in sweeps]
    for swept, table in zip(sweeps, answers, strict=True):
        yield f"## {swept.folder.name}"
        yield _made_by(swept)
        yield words.answer_sentence(swept.answer)
        yield f"![Accuracy against the number of blocks]({swept.folder.name}/{PICTURE})"
        yield table
    explained = tables.explained("\n\n".join(answers), "the recommended number of blocks")
    yield f"## What the columns mean\n\n```text\n{explained}\n```"


def _made_by(swept: Swept) -> str:
    """The command, the revision and the machine, from the settings that the sweep left."""
    provenance = json.loads((swept.folder / "config.json").read_text())["provenance"]
    machine = provenance["machine"]
    cpu = f"{machine['cpu']} ({', '.join(machine['instructions'])}), {machine['cores']} cores"
    where = cpu if machine["backend"] == "cpu" else f"{machine['devices']} x {machine['device']}"
    versions = f"jax {machine['packages']['jax']}, Python {machine['python']}"
    return f"```\n{provenance['command']}\n```\n\nRevision {provenance['git_revision'][:7]}, {where}, {versions}."
