"""The page of each recorded study, in Markdown: its sweeps side by side, then each of them; or its comparisons.

`python -m benchmarks.found --write` writes them to `docs/results/STUDY/README.md`.
"""

import csv
import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.found_records import Compared
from cnn.study import across_words, tables, words
from cnn.study.across import across
from cnn.study.swept import Swept

NAME = "README.md"
METRICS = {"test_accuracy": "test accuracy", "test_error": "test error", "5": "test accuracy after 5 examples"}


def pages(records: Sequence[Swept | Compared]) -> dict[str, str]:
    """The text of each study's page, by the study's name.

    Args:
        records: the recorded studies, those of one name one after another, and their sweeps first.
    """
    studies = itertools.groupby(records, key=lambda record: record.folder.parent.name)
    return {study: "\n\n".join(_parts(study, list(own))) + "\n" for study, own in studies}


def _parts(study: str, records: Sequence[Swept | Compared]) -> Iterator[str]:
    yield f"# Recorded: {study}"
    yield "<!-- printed by benchmarks.found -->"
    sweeps = [record for record in records if isinstance(record, Swept)]
    if len(sweeps) > 1:
        found = across([dataclasses.replace(swept, folder=Path(swept.folder.name)) for swept in sweeps])
        yield from (across_words.sentence(found), across_words.tables(found), _as_it_is(across_words.explained(found)))
    for record in records:
        yield f"## {record.folder.name}"
        yield _made_by(record.folder)
        if isinstance(record, Swept):
            yield _images(record.config.validation_fraction)
        yield words.answer_sentence(record.answer) if isinstance(record, Swept) else record.sentence
        yield from (
            f"![{path.stem}]({path.relative_to(record.folder.parent)})" for path in sorted(record.folder.glob("*.png"))
        )
        yield _table(record)
    answers = [_table(swept) for swept in sweeps]
    if answers:
        explained = tables.explained("\n\n".join(answers), "the recommended number of blocks")
        yield f"## What the columns of the sweeps mean\n\n{_as_it_is(explained)}"


def _as_it_is(text: str) -> str:
    """Text whose lines Markdown leaves apart."""
    return f"```text\n{text}\n```"


def _table(record: Swept | Compared) -> str:
    if isinstance(record, Swept):
        return tables.answer_tables(record.answer)
    return report.table([_row(record, variant) for variant in record.variants])


def _row(record: Compared, variant: Mapping[str, Any]) -> dict[str, str]:
    """A variant with its accuracy in percent, and its difference to the reference in points."""
    measured = variant["measured"][record.metric]
    difference = variant["difference"]
    return {
        record.by: str(variant[record.by]),
        f"{METRICS[record.metric]}, %": _interval(measured),
        "difference, points": _interval(difference),
        "p": _known(difference["p_adjusted"], ".2g") if difference else "-",
        "n": str(measured["n"]),
        "rate": _known(variant["learning_rate"], "g"),
        "parameters": _known(variant["parameters"], ","),
        "multiply-accumulates": _known(variant["macs"], ","),
    }


def _known(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _interval(estimate: Mapping[str, Any] | None) -> str:
    return (estimate and words.percent(estimate["mean"], estimate["low"], estimate["high"])) or "-"


def _made_by(folder: Path) -> str:
    """The command, the revision and the machine, from the settings that the study left."""
    provenance = json.loads((folder / "config.json").read_text())["provenance"]
    machine = provenance["machine"]
    cores = f"{machine['cores']} core{'s' * (machine['cores'] != 1)}"
    cpu = f"{machine['cpu']} ({', '.join(machine['instructions'])}), {cores}"
    where = cpu if machine["backend"] == "cpu" else f"{machine['devices']} x {machine['device']}"
    versions = f"jax {machine['packages']['jax']}, Python {machine['python']}"
    made = f"Revision {provenance['git_revision'][:7]}, {where}, {versions}."
    return f"```\n{provenance['command']}\n```\n\n{made}{_elsewhere(folder)}"


def _elsewhere(folder: Path) -> str:
    """How many trials ran on a machine other than the one at the study's start, or on more than one."""
    with (folder / "results.csv").open(newline="") as file:
        stayed = [row["same_machine"] for row in csv.DictReader(file)]
    moved = stayed.count("False")
    return f" Of {len(stayed)} trials, {moved} ran elsewhere (`same_machine` in `results.csv`)." if moved else ""


def _images(validation_fraction: float) -> str:
    """Which training images are learnt from."""
    return f"{1 - validation_fraction:.0%} of the training images are learnt from; the others validate."
