"""The pages of the recorded studies: as the folder has them, and against the rows of their trials."""

import re

import pandas as pd
import pytest
from scipy import stats

from benchmarks import found_pages, found_records
from benchmarks.found_records import RESULTS, Compared

RECORDS = found_records.recorded(RESULTS)
COMPARED = [record for record in RECORDS if isinstance(record, Compared)]
PAGES = found_pages.pages(RECORDS)


def test_each_study_has_its_page():
    assert {study: (RESULTS / study / found_pages.NAME).read_text() for study in PAGES} == PAGES
    assert {path.parent.parent.name for path in RESULTS.glob("*/*/config.json")} == set(PAGES)


@pytest.mark.parametrize("study", PAGES)
def test_a_page_shows_every_picture_of_its_study(study):
    shown = re.findall(r"!\[\w+\]\((.+)\)", PAGES[study])
    assert sorted(shown) == sorted(str(path.relative_to(RESULTS / study)) for path in RESULTS.glob(f"{study}/*/*.png"))
    assert shown and "/work" not in PAGES[study]


def values_in(record):
    """What a comparison measured of each trial, by variant, from the table of its trials."""
    trials = pd.read_csv(record.folder / "results.csv")
    done = trials[(trials.phase == "compare") & (trials.status == "done")]
    if record.experiment == "features":  # a trial has a number for each kind of features
        return {name: done[f"{name}, 5"].dropna() for name in (variant[record.by] for variant in record.variants)}
    numbers = 1 - done.test_accuracy if record.metric == "test_error" else done[record.metric]
    return dict(list(numbers.groupby(done[record.by])))


@pytest.mark.parametrize("record", COMPARED, ids=[record.experiment for record in COMPARED])
def test_a_comparisons_table_is_that_of_its_trials(record):
    """The mean over the seeds of each variant, and Student's interval."""
    text = PAGES[record.folder.parent.name]
    values = values_in(record)
    assert len(values) == len(record.variants)
    for own in values.values():
        low, high = stats.t.interval(0.95, len(own) - 1, 100 * own.mean(), 100 * stats.sem(own))
        assert f"{100 * own.mean():.2f} [{low:.2f}, {high:.2f}]" in text


@pytest.mark.parametrize("record", RECORDS, ids=[record.folder.as_posix()[len(str(RESULTS)) :] for record in RECORDS])
def test_a_page_says_how_many_trials_left_the_first_machine(record):
    trials = pd.read_csv(record.folder / "results.csv")
    first = trials.machine[trials.same_machine].iloc[0]
    assert set(trials.machine[trials.same_machine]) == {first}
    moved = (~trials.same_machine).sum()
    said = f"Of {len(trials)} trials, {moved} ran elsewhere"
    assert (said in PAGES[record.folder.parent.name]) == bool(moved)
