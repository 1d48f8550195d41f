"""Sweeps side by side: their names, how each depth stands, and when the answer is said to depend on what differs."""

import dataclasses
import gc
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cnn.study import across_words
from cnn.study.across import LONGEST, across
from cnn.study.words import percent
from tests.study.sweeps import CLOSE, DEEP, SHALLOW, swept

pytestmark = pytest.mark.thorough


def named(*sweeps):
    return [sweep.name for sweep in across(sweeps).sweeps]


def sides(found):
    """How each depth stands in each sweep."""
    return {blocks: [standing.side for standing in found.standings(blocks)] for blocks in found.depths}


def said(*sweeps):
    return across_words.sentence(across(sweeps))


def test_a_sweep_is_named_by_as_few_settings_as_tell_it_apart():
    assert named(swept(CLOSE, "digits"), swept(CLOSE, "mnist", width=8)) == ["digits", "mnist"]
    assert named(swept(CLOSE, width=8), swept(CLOSE, width=16)) == ["width=8", "width=16"]
    three = (swept(CLOSE, "digits", width=8), swept(CLOSE, width=8), swept(CLOSE, width=16))
    assert named(*three) == ["digits, width=8", "mnist, width=8", "mnist, width=16"]
    two = (swept(CLOSE, width=8, dropout=0.5), swept(CLOSE, width=8), swept(CLOSE, dropout=0.5))
    assert named(*two) == ["width=8, dropout=0.5", "width=8, dropout=0", "width=32, dropout=0.5"]
    changed = (swept(CLOSE, "x.npz", fingerprint="a1"), swept(CLOSE, "x.npz", fingerprint="b2"))
    assert named(*changed) == ["images a1", "images b2"]
    grown = (swept({1: [0.9, 0.91]}), swept({1: [0.9, 0.91, 0.92]}))
    assert named(*grown) == ["seeds=2", "seeds=3"]


def test_where_no_setting_tells_sweeps_apart_their_folders_do():
    assert named(swept(CLOSE, folder="a"), swept(CLOSE, folder="b")) == ["1: a", "2: b"]
    long = "/a/very/long/path/of/a/folder" * 20
    names = named(swept(CLOSE, f"{long}/a.npz"), swept(CLOSE, f"{long}/b.npz"))
    assert all(name.startswith("...") and len(name) == LONGEST for name in names) and names[1].endswith("/b.npz")
    alike = named(swept(CLOSE, f"{long}/a.npz"), swept(CLOSE, f"{long[:-1]}s/{'a' * LONGEST}"), swept(CLOSE, "a" * 99))
    assert len(set(alike)) == 3


def test_settings_that_differ_and_those_in_common():
    found = across([swept(CLOSE, "digits", width=8), swept({1: [0.9, 0.91]}, width=16)])
    assert found.varied == ("dataset", "width", "seeds", "blocks")
    assert [dict(sweep.settings) for sweep in found.sweeps] == [
        {"dataset": "digits", "width": 8, "seeds": 4, "blocks": [1, 2, 3]},
        {"dataset": "mnist", "width": 16, "seeds": 2, "blocks": [1]},
    ]
    assert found.common["match"] == "width" and found.common["epochs"] == 10 and found.common["hidden"] == 128
    assert found.other_data and not across([swept(CLOSE, width=8), swept(CLOSE)]).other_data
    renamed = across([swept(CLOSE, "a.npz", fingerprint="1"), swept(CLOSE, "b.npz", fingerprint="1")])
    assert renamed.varied == ("dataset",) and not renamed.other_data


def test_how_each_depth_stands():
    found = across([swept(CLOSE, "digits", deeper_fits=False), swept({**DEEP, 4: [0.961, 0.96, 0.96, None]})])
    assert sides(found) == {
        1: ["use", "worse"],
        2: ["alike", "worse"],
        3: ["alike", "use"],
        4: ["does not fit", "alike"],  # not ranked, and not to be told apart on the seeds it has
    }
    assert found.recommended == (1, 3) and found.serving == (3,) and not found.depends
    unknown = across([swept({1: [0.9, 0.91]}), swept({1: [0.9, 0.91], 2: [None, None], 3: [0.8, 0.81]}, width=8)])
    assert sides(unknown)[2] == ["unknown", "unknown"]


def test_p_values_count_every_sweep():
    """A depth that its own sweep tells apart may be told apart no more beside many others."""
    close = swept({1: [0.960, 0.968, 0.958, 0.961], 2: [0.970, 0.970, 0.972, 0.969]}, "digits")
    (first,) = [depth for depth in close.answer.depths if depth.blocks == 1]
    assert first.p_adjusted < 0.05 < 10 * first.p_adjusted < 1
    two = across([close, swept(DEEP)])
    assert two.standings(1)[0].p == 2 * first.p_adjusted
    deep = swept(DEEP)
    others = [dataclasses.replace(deep, folder=Path(f"other{number}")) for number in range(29)]
    ten = across([close, *others[:9]])
    assert ten.standings(1)[0].p == 10 * first.p_adjusted and ten.standings(1)[0].side == "alike"
    assert across([close, *others]).standings(1)[0].p == 1


def test_where_no_depth_is_worse_a_family_of_sweeps_rules_one_out_in_at_most_5_percent(monkeypatch):
    """Of 200 sets of three sweeps, whose depths all have the same true accuracy."""
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels does at each call, which takes longer than all else
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        accuracies = random.normal(0.95, 0.005, (3, 4, 5)).round(4).tolist()
        found = across([swept(dict(enumerate(own)), f"set{number}") for number, own in enumerate(accuracies)])
        wrong += any("worse" in there for there in sides(found).values())
    assert 0 < wrong <= stats.binom.ppf(1 - 1e-4, 200, 0.05)


def test_the_answer_depends_where_every_depth_is_ruled_out():
    found = across([swept(SHALLOW, "digits"), swept(DEEP)])
    assert sides(found) == {1: ["use", "worse"], 2: ["worse", "worse"], 3: ["worse", "use"]}
    assert found.depends and found.left == ()
    text = across_words.sentence(found)
    assert text.startswith(
        "The answer depends on the data: the recommended numbers of blocks differ (digits: 1; mnist: 3), and none does "
        "for all sweeps. On test images, 1 block is worse by 6.00 points (95 % interval "
    )
    assert "in sweep mnist, p < 0.001; 3 blocks are worse by 6.00 points" in text and "in sweep digits, p" in text
    assert text.endswith("Every other depth is ruled out by a sweep too.")


def test_a_middle_depth_that_does_for_all_is_enough_against_it():
    """Each sweep finds the other's choice worse, but neither finds 2 blocks worse."""
    middle = [0.9604, 0.9600, 0.9600, 0.9598]
    first = swept({1: [0.960, 0.961, 0.959, 0.961], 2: middle, 3: DEEP[1]}, "digits")
    second = swept({1: DEEP[1], 2: [0.957, 0.961, 0.955, 0.961], 3: [0.962, 0.962, 0.962, 0.961]})
    found = across([first, second])
    assert sides(found) == {1: ["use", "worse"], 2: ["alike", "alike"], 3: ["worse", "use"]}
    assert not found.depends and found.serving == (2,)
    text = said(first, second)
    assert "do not show that the answer depends on the data: no sweep finds 2 blocks worse than its own" in text
    assert "Yet not every recommended number is enough in every sweep: 1 block is worse by 6." in text
    assert " in sweep mnist, p < 0.001; 3 blocks are worse by " in text
    assert text.endswith(" in sweep digits, p < 0.001.")


def test_a_choice_that_does_for_all_is_not_ruled_out_in_words():
    first, second = swept(CLOSE, "digits"), swept(DEEP)
    assert across([first, second]).left == (3,)
    assert "(digits: 1; mnist: 3)" in said(first, second)
    only = said(first, second).split("Yet not every recommended number is enough in every sweep: ")[1]
    assert only.startswith("1 block is worse by 6.00 points") and "3 blocks" not in only


def test_a_depth_that_a_sweep_knows_nothing_about_is_not_ruled_out():
    found = (swept({1: SHALLOW[1], 2: SHALLOW[2]}, "digits"), swept(DEEP))
    assert across(found).left == (3,) and across(found).serving == () and not across(found).depends
    assert "depends on the data: digits has no result for 3 blocks. Yet not every recommended" in said(*found)
    several = (swept({1: SHALLOW[1]}, "digits"), swept({1: DEEP[1], 2: DEEP[3], 3: DEEP[3]}))
    assert "digits has no result for 2 and 3 blocks. Yet " in said(*several)
    fits = (swept({1: CLOSE[1], 2: CLOSE[2]}, "digits", deeper_fits=False), swept({2: DEEP[3], 3: [0.98] * 4}))
    assert across(fits).left == (1,) and "all sweeps" not in said(*fits)
    assert said(*fits).endswith("in every sweep: 3 blocks are too many for the images of sweep digits.")
    unfit = (swept({1: SHALLOW[1], 2: SHALLOW[2]}, "digits", deeper_fits=False), swept(DEEP))
    assert across(unfit).depends and "3 blocks are too many for the images of sweep digits" in said(*unfit)


def test_sweeps_that_agree_show_no_difference():
    text = said(swept(DEEP, width=8), swept(DEEP, width=16))
    assert text.startswith(
        "Every sweep recommends 3 blocks, so these sweeps do not show that the answer depends on width"
    )
    assert "depends on anything." in said(swept(DEEP, folder="a"), swept(DEEP, folder="b"))


@pytest.mark.parametrize(
    "first, second, what",
    [
        ({"dataset": "digits"}, {}, "the data"),
        ({"width": 8}, {"width": 16}, "width"),
        ({"dataset": "digits", "width": 8}, {}, "the data and width"),
        ({"width": 8}, {"dropout": 0.5}, "width and dropout"),
        ({"fingerprint": "other"}, {}, "the data"),
        ({"fingerprint": "other", "width": 8}, {}, "the data and width"),
    ],
)
def test_what_the_answer_depends_on(first, second, what):
    text = said(swept(SHALLOW, **first), swept(DEEP, **second))
    assert text.startswith(f"The answer depends on {what}: ")
    several = " and " in what
    assert (
        text.endswith("What differs does so all at once; sweeps that differ in one thing alone would say what matters.")
        == several
    )


def test_where_single_things_differ_too_nothing_is_confounded():
    factorial = (swept(SHALLOW, width=8), swept(DEEP, width=16), swept(DEEP, width=16, dropout=0.5))
    assert "depends on width and dropout" in said(*factorial) and "at once" not in said(*factorial)


def test_sweeps_without_a_recommendation():
    none = swept({1: [None], 2: [None]}, "digits")
    text = said(none, swept(DEEP))
    assert text.startswith("Without a recommendation, since no trial succeeded: digits.")
    assert "no two recommendations to compare" in text
    assert not across([none, swept(DEEP), swept(SHALLOW, "cifar10")]).serving
    row = across_words.tables(across([none, swept(DEEP)])).splitlines()[2]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["digits", "-", "-", "-", "-", "-"]
    assert "digits. Every other sweep recommends 3 blocks" in said(none, swept(DEEP), swept(DEEP, "cifar10"))


def test_one_seed_rules_nothing_out():
    text = said(swept({1: [0.9], 2: [0.97]}, "digits"), swept({1: [0.97], 2: [0.9]}))
    assert "do not show that the answer depends on the data: no sweep finds 1 or 2 blocks worse than its own" in text


def cells(table):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [lines[0], *lines[2:]]


def test_tables():
    found = across([swept(CLOSE, "digits", deeper_fits=False), swept({0: DEEP[1], **DEEP}, width=8)])
    by_sweep, by_depth = map(cells, across_words.tables(found).split("\n\n"))
    assert by_sweep[0] == ["sweep", "width", "use", "test %", "n", "not worse", "next smaller"]
    tests = [sweep.answer.best.summary.test for sweep in found.sweeps]
    interval = [percent(test.mean, test.low, test.high) for test in tests]
    assert by_sweep[1:] == [
        ["digits", "32", "1", interval[0], "4", "2, 3", "-"],
        ["mnist", "8", "3", interval[1], "4", "none", "2: 2.00 > 0.20"],  # 0.05 of an error of 4 %
    ]
    assert by_depth == [
        ["blocks", "digits", "mnist"],
        ["0", "-", "90.00 (-6.00) worse"],
        ["1", "97.05 use", "90.00 (-6.00) worse"],
        ["2", "97.05 (+0.00)", "94.00 (-2.00) worse"],
        ["3", "97.05 (+0.00)", "96.00 use"],
    ]


def test_what_stands_below_the_tables():
    text = across_words.explained(across([swept(CLOSE, "digits"), swept(CLOSE, width=8)]))
    assert "and for the 2 sweeps (Bonferroni)" in " ".join(text.split())
    assert "Equal in all: model=convnet, match=width, epochs=10, blocks=1,2,3, seeds=4, margin=0.05." in text
    assert text.endswith("digits: runs/digits\nmnist: runs/mnist") and max(map(len, text.splitlines())) <= 100


def test_many_sweeps_are_at_most_100_characters_wide():
    found = across([swept(DEEP, f"/a/long/path/of/a/data/set/number{number}", width=8 + number) for number in range(9)])
    tables = across_words.tables(found)
    assert max(map(len, tables.splitlines())) <= 100
    assert all(sweep.name in tables for sweep in found.sweeps)


def test_hostile_names_stay_names():
    found = across([swept(CLOSE, "a|b\n\x1b[31m", folder="x\ny"), swept(CLOSE, r"$\frac$ <script>")])
    parts = [across_words.tables(found), across_words.explained(found), across_words.sentence(found)]
    assert all(line.isprintable() for part in parts for line in part.splitlines())
    assert r"a\|b\n\x1b[31m" in parts[0] and "x\\ny" in parts[1]


def test_as_plain_values():
    found = across([swept(CLOSE, "digits", deeper_fits=False), swept({**DEEP, 4: DEEP[3]})])
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [sweep["name"] for sweep in plain["sweeps"]] == ["digits", "mnist"]
    assert plain["sweeps"][1]["answer"]["recommended_blocks"] == 3
    assert plain["common"]["match"] == "width" and plain["depends"] is False and plain["found_worse_in_none"] == [3]
    worse = plain["depths"][0]["sweeps"]["mnist"]
    assert worse["side"] == "worse" and worse["p_adjusted"] < 0.001 and worse["difference"]["n"] == 4
    assert plain["depths"][3]["sweeps"]["digits"] == {"side": "does not fit"}
