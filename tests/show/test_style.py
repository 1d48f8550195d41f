"""What all pictures share: a figure, a file that appears whole or not at all, and names that are text."""

import gc
import inspect
import weakref

import numpy as np
import pytest
from matplotlib.figure import Figure

from cnn.show import answer, comparison, network, style, trace
from tests.show.looking import extent

NAME = r"$\frac$"  # as a formula it would be an error
PICTURES = [
    function
    for module in (answer, comparison, network, trace)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_")
]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.__name__)
def test_every_picture_is_a_figure_that_its_caller_writes(picture):
    signature = inspect.signature(picture)
    assert signature.return_annotation == "Figure" and "path" not in signature.parameters


def test_a_written_figure_that_nobody_holds_is_freed():
    figure = network.filters(np.ones((3, 3, 1, 4)))
    style.png(figure)
    kept = weakref.ref(figure)
    del figure
    gc.collect()
    assert kept() is None


def test_a_name_is_no_formula():
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label=NAME)
    style.headline(figure, NAME)
    style.legend(axes)
    style.png(figure)
    assert figure.get_suptitle() == NAME and axes.get_legend().get_texts()[0].get_text() == NAME


def test_a_long_headline_is_smaller_so_that_it_fits():
    figure = Figure()
    style.headline(figure, "short")
    assert figure.texts[0].get_fontsize() == 14
    style.headline(figure, "/a/long/path/of/a/folder/" * 5)
    left, right = extent(figure.texts[-1])
    assert 0 < left < right < figure.bbox.width


def test_a_name_in_another_script_is_no_error():
    figure = Figure()
    style.headline(figure, "\u6587\u5b57")
    assert style.png(figure)
