"""The picture of an answer: its columns, their numbers, and what each mark shows."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex

from cnn.show import style
from cnn.show.answer import accuracy_vs_blocks
from cnn.study.answer import answer
from tests.show.looking import extent, ink, rendered
from tests.show.trials import trials

pytestmark = pytest.mark.thorough


def figure_of(accuracies, known_costs=True, dataset="mnist", **options):
    rows = trials(accuracies, known_costs)
    return accuracy_vs_blocks(answer(rows, dataset=dataset, match="width", margin=0.05, **options), rows)


def pixels(*given, **options):
    return rendered(figure_of(*given, **options))


def lines(figure):
    """The words of each row from left to right, rows from the top, with their colours."""
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    heights = sorted({round(text.get_position()[1], 3) for text in texts})
    rows = ([text for text in texts if round(text.get_position()[1], 3) == height] for height in heights)
    return [[(text.get_text(), to_hex(text.get_color())) for text in row] for row in rows]


def cells(figure, name):
    """The words of the row of that name, without the name."""
    return next([text for text, _ in row[1:]] for row in lines(figure) if row[0][0] == name)


@pytest.mark.parametrize(
    "accuracies, recommended, diverged",
    [
        pytest.param({0: [0.94, 0.95], 1: [0.98, 0.985], 2: [0.981, 0.985]}, True, False, id="usual"),
        pytest.param({1: [0.98]}, True, False, id="one depth, one seed"),
        pytest.param({1: [0.98], 2: [0.99]}, True, False, id="one seed"),
        pytest.param({1: [0.97, 0.97], 2: [0.98, None]}, True, True, id="some diverged"),
        pytest.param({1: [None, None], 2: [None, None]}, False, True, id="all diverged"),
        pytest.param({1: [1.0, 1.0], 2: [1.0, 1.0]}, True, False, id="no error at all"),
        pytest.param({blocks: [0.9, 0.91 + 0.01 * blocks] for blocks in range(8)}, True, False, id="eight depths"),
    ],
)
def test_picture(accuracies, recommended, diverged):
    image = pixels(accuracies)
    assert image.shape[1] == 1500 and 800 < image.shape[0] < 1100
    assert image.std() > 0.05
    assert (ink(image, style.BLUE.lower()) > 100) == recommended  # only the recommended depth is blue
    assert (ink(image, style.GREEN.lower()) > 100) == recommended  # what is allowed, where a trial finished
    assert (ink(image, style.VERMILION.lower()) > 100) == diverged


def test_blue_stands_in_the_column_of_the_recommended_depth():
    def middle(accuracies):
        image = pixels(accuracies)
        blue = np.abs(image - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=-1) < 0.02
        return np.median(np.nonzero(blue)[1])

    shallow = middle({1: [0.98, 0.985], 2: [0.98, 0.985]})
    deep = middle({1: [0.90, 0.91], 2: [0.98, 0.985]})
    assert deep - shallow > 300


def test_same_answer_same_picture():
    accuracies = {1: [0.98, 0.985], 2: [0.98, 0.985]}
    assert np.array_equal(pixels(accuracies), pixels(accuracies))


def test_the_question_and_its_answer_stand_above():
    figure = figure_of({0: [0.90, 0.91], 1: [0.96, 0.97], 2: [0.961, 0.969]})
    assert figure.get_suptitle() == "How many CONV-RELU-POOL blocks for mnist? Use 1"
    first, second, *_ = lines(figure)
    assert first[0][0].startswith("1 block is the smallest depth that is good enough on validation images: mean test")
    assert second[0][0].startswith("On test images, 1 block cannot be told apart from 0 and 2 blocks (a true")
    assert figure_of({0: [None]}).get_suptitle() == "How many CONV-RELU-POOL blocks for mnist? No trial succeeded"


def test_each_column_has_its_numbers():
    """Differences 1 - 0: 0.07, 0.05: mean 0.06, SE 0.01; 1 - 2: 0.005, -0.005. 0.05 of the error of 3 % are 0.15."""
    figure = figure_of({0: [0.90, 0.92], 1: [0.97, 0.97], 2: [0.965, 0.975], 3: [0.99, None]})
    assert cells(figure, "CONV-RELU-POOL blocks") == ["0", "1", "2", "3"]
    assert cells(figure, "points short of the best") == ["6.00", "0.00", "0.00"]
    assert cells(figure, "points that are allowed") == ["1.00", "0.15", "0.50"]
    assert cells(figure, "good enough?") == ["no", "yes: taken", "yes", "not ranked"]
    assert cells(figure, "mean test accuracy, %") == ["91.00", "97.00", "97.00", "99.00"]
    # 0.91 +- 12.7062 x 0.01, cut to what an accuracy can be; equal seeds and one seed have no interval
    assert cells(figure, "its 95 % interval over seeds") == ["78.29 to 100.00", "90.65 to 100.00"]
    assert cells(figure, "parameters") == ["1.00k", "2.00k", "3.00k", "4.00k"]
    assert cells(figure, "multiply-accumulates") == ["50.0k", "100k", "150k", "200k"]
    assert cells(figure, "trials that diverged") == ["\u2715 1 of 2"]


def test_only_what_is_known_has_a_row():
    names = [row[0][0] for row in lines(figure_of({1: [0.98], 2: [0.99]}, known_costs=False))]
    assert "parameters" not in names and "its 95 % interval over seeds" not in names
    assert not any("diverged" in name or "resampled" in name for name in names)
    right = np.ones((2, 100), bool)
    resampled = figure_of({1: [0.98, 0.98], 2: [0.98, 0.98]}, val_correct={1: right, 2: right})
    assert cells(resampled, "taken on resampled data") == ["100 %", "0 %"]


def test_the_bars_are_the_shortfalls_beside_what_is_allowed():
    decision = figure_of({0: [0.95, 0.97], 1: [0.96, 0.97], 2: [0.98, 0.98]}).axes[1]
    assert [round(bar.get_height(), 6) for bar in decision.patches] == [2.0, 1.5, 0.0]
    # SE of the differences 0.03, 0.01 and 0.02, 0.01; for the best depth 0.05 of its error of 2 %
    allowed = [line.get_segments()[0][0][1] for line in decision.collections if hasattr(line, "get_segments")]
    assert np.allclose(allowed, [1.0, 0.5, 0.1])
    dots = [each.get_offsets()[:, 1] for each in decision.collections if len(each.get_offsets()) > 1]
    assert np.allclose(dots, [[3, 1], [2, 1]])  # by seed
    assert [text.get_text() for text in decision.texts] == ["allowed"]


def test_a_bar_that_is_far_too_long_is_cut():
    decision = figure_of({0: [0.50, 0.51], 1: [0.969, 0.968], 2: [0.98, 0.98]}).axes[1]
    low, high = decision.get_ylim()
    assert 1.15 < high < 3 and decision.patches[0].get_height() == high  # of 47.5 points
    gaps = [line for line in decision.lines if line.get_color() == "white"]
    assert len(gaps) == 2 and all(low < y < high for line in gaps for y in line.get_ydata())
    dots = [each for each in decision.collections if len(each.get_offsets()) > 1]
    assert len(dots) == 1  # of the bar that is whole


def test_a_thin_line_joins_the_networks_of_a_seed():
    test = figure_of({0: [0.94, 0.95, 0.96], 1: [0.98, None, 0.985]}).axes[2]
    joined = [line.get_ydata() for line in test.lines if len(line.get_ydata()) == 2]
    assert np.allclose(joined, [[94, 98], [95, np.nan], [96, 98.5]], equal_nan=True)
    dots = [each.get_offsets()[:, 1] for each in test.collections if len(each.get_offsets()) == 3]
    assert np.allclose(np.ma.filled(dots, np.nan), [[94, 95, 96], [98, np.nan, 98.5]], equal_nan=True)


def test_an_interval_far_beyond_the_seeds_is_cut_with_an_arrow():
    """0.975 +- 12.7062 x 0.005: seeds must stay apart in the picture."""
    test = figure_of({1: [0.97, 0.98], 2: [0.97, 0.98]}).axes[2]
    low, high = test.get_ylim()
    assert 95 < low < 97 and 98 < high < 100
    marks = [line.get_marker() for line in test.lines]
    assert marks.count("v") == marks.count("^") == 2
    whole = figure_of({1: [0.97, 0.98, 0.97, 0.98], 2: [0.9, 0.92, 0.9, 0.92]}).axes[2]
    assert not {"v", "^"} & {line.get_marker() for line in whole.lines}


@pytest.mark.parametrize("match, words", [("width", "equal width"), ("macs", "equal multiply-accumulates")])
def test_the_foot_says_what_the_depths_share_and_what_is_allowed(match, words):
    rows = trials({1: [0.98, 0.985], 2: [0.98, 0.985]})
    figure = accuracy_vs_blocks(answer(rows, dataset="mnist", match=match, margin=0.05), rows)
    foot = figure.axes[0].texts[-1].get_text()
    assert words in foot and "5 % of the best depth's validation error, or the standard error" in foot
    assert "parameters can fall" not in foot  # they grow with the depth here


def test_the_name_of_a_data_set_is_no_formula():
    assert ink(pixels({1: [0.98, 0.985]}, dataset=r"$\frac$"), style.BLUE) > 100


def test_of_a_long_name_the_end_is_shown():
    title = figure_of({1: [0.98]}, dataset="/a/long/folder" * 20 + "/pets").get_suptitle()
    assert "for ..." in title and title.endswith("/folder/pets? Use 1")


@pytest.mark.parametrize("depths", [4, 5, 8, 12])
def test_words_of_two_depths_never_overlap(depths):
    figure = figure_of({blocks: [0.98, None, 0.97, 0.985, 0.975] for blocks in range(depths)})
    rendered(figure)  # which gives the texts their places
    texts = figure.axes[0].texts
    for words in ("9 to", "1 of 5", "ranked", "50k"):
        row = [text for text in texts if words in text.get_text()]
        assert len(row) >= depths - 1 or words != "1 of 5"
        ends = [extent(text) for text in row]
        assert all(right < left for (_, right), (left, _) in itertools.pairwise(ends))
