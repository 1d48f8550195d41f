"""Tables of answers, comparisons and plans: their cells, their width, and what is said below them."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn.network.summary import Cost
from cnn.study import tables
from cnn.study.comparison import compare
from cnn.study.plan import plan_study
from cnn.study.run import Overview, PhaseOverview, VariantOverview
from cnn.study.tables import Column
from tests.study.small import CONFIG, study
from tests.study.trials import MAX, STRIDE, answered, compared, compared_pooling, row


def cells(table):
    """The cells of one table, line by line, without the rule below the head."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [lines[0], *lines[2:]]


def test_answer():
    printed = tables.answer_tables(answered(compared({1: [0.96, 0.98], 2: [0.96, 0.99], 3: [None]})))
    table, tests = map(cells, printed.split("\n\n"))
    assert table[0] == ["blocks", "test %", "val %", "n", "rate", "parameters", "MACs", "seconds"]
    # 0.97 +- 12.7062 x 0.01 and 0.975 +- 12.7062 x 0.015; differences 0, 0.01: t = 1, p = 1 - 2 atan(1) / pi = 0.5.
    # 2 is best by 0.005, with SE 0.005, so 1 is within reach.
    assert table[1:] == [
        ["1 *", "97.00 [84.29, 100.00]", "97.00", "2", "0.001", "101", "1,001", "1.0"],
        ["2", "97.50 [78.44, 100.00]", "97.50", "2", "0.001", "102", "1,002", "1.0"],
        ["3", "-", "-", "0 of 1", "0.001", "103", "1,003", "-"],
    ]
    assert tests == [
        ["blocks", "short", "allowed", "difference", "p"],
        ["1 *", "0.50", "0.50", "-", "-"],
        ["2", "0.00", "0.13", "0.50 [-5.85, 6.85]", "0.5"],  # 0.05 of an error of 2.5 %; 0.005 +- 12.7062 x 0.005
        ["3", "-", "-", "-", "-"],
    ]


def test_answer_of_one_seed_has_no_interval_and_no_column_of_p_values():
    table = tables.answer_tables(answered(compared({1: [0.9], 2: [0.97]})))
    assert "[" not in table and "p" not in cells(table.split("\n\n")[1])[0]


def test_answer_of_one_depth_is_one_table():
    assert "\n\n" not in tables.answer_tables(answered(compared({1: [0.9, 0.91]})))


def test_comparison():
    text = tables.comparison_tables(compared_pooling({"max": MAX, "stride": [0.95, None, 0.95]}))
    first, second = map(cells, text.split("\n\n"))
    assert first[0] == ["pooling", "test %", "difference", "p", "n", "rate", "parameters"]
    assert second[0] == ["pooling", "MACs", "seconds"]
    assert first[1][2:5] == ["-", "-", "3"]
    assert first[2][0] == "stride" and first[2][4] == "2 of 3"
    assert second[1:] == [["max", "1,000", "1.0"], ["stride", "1,000", "1.0"]]


@pytest.mark.parametrize("other", [[None, None, None], [None, 0.9]])
def test_what_is_unknown_is_a_dash(other):
    text = tables.comparison_tables(compared_pooling({"max": [0.9, None], "stride": other}))
    assert "| -" in text and "- |" in text and "difference" not in text  # unknown everywhere


def test_differences_that_are_written_as_0_have_no_sign():
    text = tables.comparison_tables(compared_pooling({"max": MAX, "average": [value - 0.00001 for value in MAX]}))
    assert "0.00" in text and "-0.00" not in text


def test_other_measurements_have_a_column_each():
    rows = [row(blocks=name, test=0.9, moved_1=0.5) for name in ("max", "stride")]
    comparison = compare(rows, column="pooling", reference="max", others=("moved_1",))
    head = cells(tables.comparison_tables(comparison, {"test_accuracy": "as it is %", "moved_1": "moved %"}))[0]
    assert head[:3] == ["pooling", "as it is %", "moved %"]


def test_a_metric_of_another_name_has_its_own_head():
    rows = [row(blocks=name, test_error=0.1) for name in ("lenet5", "lenet5_1998")]
    comparison = compare(rows, column="model", reference="lenet5", metric="test_error")
    assert cells(tables.comparison_tables(comparison))[0][1] == "test error %"


def test_a_comparison_of_much_is_split_and_each_part_begins_with_the_first_column():
    measured = {f"moved_{pixels}": 0.9 for pixels in range(6)}
    rows = [
        row(blocks=name, seed=seed, test=0.9 + 0.01 * seed, **{key: 0.5 + 0.1 * seed for key in measured})
        for name in ("convnet", "convnet, permuted")
        for seed in (0, 1)
    ]
    comparison = compare(rows, column="network", reference="convnet", others=tuple(measured))
    titles = {"test_accuracy": "test %", **{name: f"{name} %" for name in measured}}
    parts = tables.comparison_tables(comparison, titles).split("\n\n")
    assert len(parts) > 1 and all(cells(part)[0][0] == "network" for part in parts)
    assert all([line[0] for line in cells(part)[1:]] == ["convnet", "convnet, permuted"] for part in parts)
    heads = [head for part in parts for head in cells(part)[0][1:]]
    assert heads[:7] == list(titles.values()) and len(set(heads)) == len(heads)


def test_counts_are_shortened_where_the_table_would_be_too_wide():
    blocks = Column("blocks", ["0", "1"])
    counts = Column("MACs", ["1,222,333,444", "404,321"], right=True)
    assert "1,222,333,444" in tables.render([blocks, counts])
    wide = tables.render([blocks, Column("test %", ["x" * 38] * 2), Column("y" * 38, ["z", "z"]), counts])
    assert "1.22G" in wide and "404k" in wide and "\n\n" not in wide


def test_columns_that_are_zero_or_empty_everywhere_are_left_out():
    columns = [Column("a", ["0", "0"]), Column("b", ["0", "0.0"]), Column("c", [None, None]), Column("d", ["0", "1"])]
    assert cells(tables.render(columns))[0] == ["a", "d"]
    assert cells(tables.render([*columns[:1], Column("b", ["0", "0"], kept=True)]))[0] == ["a", "b"]


texts = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="|"), min_size=1, max_size=120)
some_columns = st.integers(1, 4).flatmap(
    lambda lines: st.lists(
        st.tuples(texts, st.lists(texts | st.none(), min_size=lines, max_size=lines), st.booleans()),
        min_size=1,
        max_size=12,
    )
)


@given(some_columns)
@settings(deadline=None)
def test_no_table_is_wider_than_100_characters(columns):
    text = tables.render([Column(*column) for column in columns])
    assert max(map(len, text.splitlines())) <= 100
    widths = [{len(line) for line in table.splitlines()} for table in text.split("\n\n")]
    assert all(len(width) == 1 for width in widths)


def test_what_occurs_is_explained_and_nothing_else():
    table = tables.answer_tables(answered(compared({1: [0.96, 0.98], 2: [0.96, 0.99]})))
    assert tables.explained(table, "1 block").splitlines() == [
        "*: the recommended number of blocks.",
        "[a, b]: 95 % interval of the mean over seeds (Student's t), for these images and this learning rate.",
        "val %: mean accuracy on validation images, which alone choose the number of blocks.",
        "short: by how many points a depth falls short of the best one on validation images.",
        "allowed: by how many it may; the smallest depth that falls short by no more is recommended.",
        "difference: to 1 block on test images, in points, paired by seed; each interval for itself.",
        "p: paired t-test of that difference, Holm-adjusted for all tests; below 0.05 the two are told apart.",
        "n: seeds that the means rest on.",
        "rate: learning rate; of several, the one with the best mean on validation images.",
        "MACs: multiply-accumulates of one image forward.",
        "seconds: training time of one trial, mean over seeds.",
        "-: unknown, or no comparison.",
    ]
    compared_to_max = tables.explained(
        tables.comparison_tables(compared_pooling({"max": MAX, "stride": STRIDE})), "max"
    )
    assert (
        "difference: to max on test images, in points, paired by seed; each interval for itself." in compared_to_max
        and "*" not in compared_to_max
    )
    assert tables.explained(tables.render([Column("blocks", ["0"]), Column("MACs", ["9.61k"])])).splitlines() == [
        "MACs: multiply-accumulates of one image forward.",
        "k, M, G: thousand, million, thousand million.",
    ]
    assert max(map(len, compared_to_max.splitlines())) <= 100
    unfinished = tables.explained(tables.answer_tables(answered(compared({1: [0.96, None], 2: [0.97, 0.98]}))))
    assert "n of m: of m seeds, n succeeded; the others diverged, collapsed or failed" in unfinished


def test_overview(digits):
    phases = (PhaseOverview("tune", 24, 3), PhaseOverview("compare", 20, 0))
    convnet = VariantOverview("convnet", 16, 128, Cost(22_602, 100_608))
    lenet = VariantOverview("lenet5", None, None, Cost(61_706, 416_520))
    plan = plan_study(study(digits, dataclasses.replace(CONFIG, learning_rates=())))
    planned = Overview(plan, phases, (convnet, lenet))
    first, rates, second = tables.overview_table(planned).split("\n\n")
    assert rates == "Learning rates: 0.001, 0.003, 0.01, 0.03; while a best one lies at the edge, up to 2 steps more."
    assert cells(first) == [["phase", "trials", "done"], ["tune", "24", "3"], ["compare", "20", "0"]]
    assert cells(second) == [
        ["blocks", "width", "hidden", "parameters", "MACs"],
        ["convnet", "16", "128", "22,602", "100,608"],
        ["lenet5", "-", "-", "61,706", "416,520"],
    ]
