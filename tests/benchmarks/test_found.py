"""The table of the recorded sweeps: as README.md has it, and against the rows of their trials."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks import found, found_records, report
from benchmarks.found_records import RESULTS
from cnn.study.swept import Swept

SWEEPS = [record for record in found_records.recorded(RESULTS) if isinstance(record, Swept)]
SWEPT = SWEEPS[0]


def test_the_readme_has_the_table():
    text = found.README.read_text()
    assert found.with_table(text, report.table(found.rows(SWEEPS))) == text


@pytest.mark.parametrize("swept", SWEEPS, ids=lambda swept: str(swept.folder.relative_to(RESULTS)))
def test_accuracies_are_those_of_the_trials(swept):
    trials = pd.read_csv(swept.folder / "results.csv")
    best = swept.answer.best
    own = trials[(trials.phase == "compare") & (trials.blocks == best.blocks) & (trials.status == "done")]
    accuracies = 100 * own.test_accuracy.to_numpy()
    low, high = stats.t.interval(0.95, len(own) - 1, np.mean(accuracies), stats.sem(accuracies))
    (row,) = found.rows([swept])
    assert row["test accuracy"] == f"{np.mean(accuracies):.2f} % ({low:.2f} to {high:.2f})" and row["n"] == str(
        len(own)
    )


def with_rate(swept, blocks, rate):
    depths = [
        replace(depth, summary=replace(depth.summary, learning_rate=rate)) if depth.blocks == blocks else depth
        for depth in swept.answer.depths
    ]
    return replace(swept, answer=replace(swept.answer, depths=tuple(depths)))


@pytest.mark.parametrize(
    "swept, said",
    [
        (SWEPT, "inside"),
        (with_rate(SWEPT, 2, SWEPT.answer.learning_rates[-1]), "edge at 2"),
        (
            with_rate(with_rate(SWEPT, 0, SWEPT.answer.learning_rates[0]), 3, SWEPT.answer.learning_rates[-1]),
            "edge at 0, 3",
        ),
        (replace(SWEPT, answer=replace(SWEPT.answer, learning_rates=())), "one"),
    ],
)
def test_rates(swept, said):
    assert found.rows([swept])[0]["rates"] == said


def trained_for(epochs, recommended=1, **changes):
    config = replace(SWEPT.config, training=replace(SWEPT.config.training, epochs=epochs), **changes)
    return replace(SWEPT, config=config, answer=replace(SWEPT.answer, recommended=recommended))


@pytest.mark.parametrize(
    "other, said",
    [
        (trained_for(40, 2), "2 at 40"),
        (trained_for(100, 1, seeds=10), "1 at 100"),
        (trained_for(39), "-"),
        (trained_for(10), "-"),
        (trained_for(40, margin=0.1), "-"),
        (trained_for(40, match="macs"), "-"),
    ],
)
def test_longer(other, said):
    sweeps = [SWEPT, other]
    assert found.rows(sweeps)[0]["longer"] == said


def test_of_longer_sweeps_the_shortest_is_told():
    several = [SWEPT, trained_for(100, 3), trained_for(40, 2)]
    assert found.rows(several)[0]["longer"] == "2 at 40"


def test_rows_stand_by_data_set():
    names = ["pets", "digits", "cats", "mnist", "pets"]
    sweeps = [replace(SWEPT, config=replace(SWEPT.config, dataset=name)) for name in names]
    assert [row["data"] for row in found.rows(sweeps)] == ["MNIST", "scikit-learn's digits", "cats", "pets", "pets"]


def test_what_differs_is_told():
    config = replace(SWEPT.config, dataset="pets", validation_fraction=0.9, match="macs", margin=0.1)
    (row,) = found.rows([replace(SWEPT, config=config, folder=Path("pets"))])
    assert (row["data"], row["equal"]) == ("pets, 10% of the images", "multiply-accumulates")


@pytest.mark.parametrize("of", ["no depth", "one seed"])
def test_what_is_no_answer_is_refused(of):
    answer = SWEPT.answer
    if of == "no depth":
        answer = replace(answer, recommended=None)
    else:
        test = replace(answer.best.summary.test, low=None, high=None)
        depths = [replace(each, summary=replace(each.summary, test=test)) for each in answer.depths]
        answer = replace(answer, depths=tuple(depths))
    with pytest.raises(ValueError, match=r"recommends no depth|takes two seeds"):
        found.rows([replace(SWEPT, answer=answer)])


def test_what_is_no_study_is_refused_in_one_line(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "benchmarks.found", f"--add={tmp_path}", "--to=mnist/none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: folder={str(tmp_path)!r}: must be a finished folder of sweep_blocks\n"
    assert not (RESULTS / "mnist" / "none").exists()
