"""The picture of an answer: its size, its ink and its words."""

import itertools

import numpy as np
import pytest

from cnn.show import style
from cnn.show.answer import accuracy_vs_blocks
from cnn.study.answer import answer
from tests.show.looking import extent, ink, rendered
from tests.show.trials import trials

pytestmark = pytest.mark.thorough


def figure_of(accuracies, known_costs=True, dataset="mnist"):
    rows = trials(accuracies, known_costs)
    return accuracy_vs_blocks(answer(rows, dataset=dataset, match="width", margin=0.05), rows)


def pixels(*given, **options):
    return rendered(figure_of(*given, **options))


@pytest.mark.parametrize(
    "accuracies, recommended, diverged",
    [
        pytest.param({0: [0.94, 0.95], 1: [0.98, 0.985], 2: [0.981, 0.985]}, True, False, id="usual"),
        pytest.param({1: [0.98]}, True, False, id="one depth, one seed"),
        pytest.param({1: [0.97, 0.97], 2: [0.98, None]}, True, True, id="some diverged"),
        pytest.param({1: [None, None], 2: [None, None]}, False, True, id="all diverged"),
    ],
)
def test_picture(accuracies, recommended, diverged):
    image = pixels(accuracies)
    assert image.shape == (900, 1350, 3)
    assert image.std() > 0.05
    assert (ink(image, style.BLUE) > 100) == recommended  # only the recommended depth is blue
    assert (ink(image, style.PURPLE) > 20) == recommended  # validation means, where a trial finished
    assert (ink(image, style.VERMILION) > 100) == diverged
    assert ink(image, style.GREEN) > 100  # cost is known in any case


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


def test_unknown_costs_are_left_out():
    image = pixels({1: [0.98, 0.985]}, known_costs=False)
    assert ink(image, style.GREEN) == 0 and ink(image, style.BLUE) > 100


def test_the_name_of_a_data_set_is_no_formula():
    assert ink(pixels({1: [0.98, 0.985]}, dataset=r"$\frac$"), style.BLUE) > 100


@pytest.mark.parametrize("depths", [4, 5, 12])
def test_words_of_two_depths_never_overlap(depths):
    figure = figure_of({blocks: [0.98, None, 0.97, 0.985, 0.975] for blocks in range(depths)})
    rendered(figure)  # which gives the texts their places
    texts = figure.axes[0].texts
    for row in ([text for text in texts if words in text.get_text()] for words in ("%", "diverged")):
        assert len(row) == depths
        ends = [extent(text) for text in row]
        assert all(right < left for (_, right), (left, _) in itertools.pairwise(ends))
