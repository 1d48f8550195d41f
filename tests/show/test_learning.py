"""Charts of how networks learned: means of seeds, errors on a log scale, chosen learning rates."""

import dataclasses

import pytest

from cnn.show.learning import Curves, curves_of, learning_curves, rates_chart
from cnn.study.results import summarize
from cnn.training.metrics import Epoch
from tests.show.trials import trials


def values(chart, layer):
    return chart.spec["layer"][layer]["data"]["values"]


@pytest.mark.parametrize("validated, images", [(True, "validation"), (False, "training")])
def test_curves_are_of_validation_images_where_there_are_some(validated, images):
    epochs = [Epoch(number, train_accuracy=0.5, val_accuracy=0.25 if validated else None) for number in (1, 2)]
    curves = curves_of("1 block", 1, {0: epochs, 1: epochs})
    accuracy = 0.25 if validated else 0.5
    assert curves.images == images and curves.seeds == {seed: {1: accuracy, 2: accuracy} for seed in (0, 1)}


def test_epochs_that_are_not_validated_have_no_point():
    validated = {3: 0.25, 6: 0.25}
    epochs = [Epoch(number, train_accuracy=0.5, val_accuracy=validated.get(number)) for number in range(1, 7)]
    choice = learning_curves([curves_of("mine", 1, {0: epochs, 1: epochs})])
    panels = choice.options["accuracy"]
    assert values(panels.charts[0], 1) == [{"epoch": [3, 6], "value": [25.0, 25.0]}]
    assert panels.charts[0].spec["layer"][1]["encoding"]["x"]["scale"]["domain"] == [1, 6]
    assert [row[0].text for row in panels.table.rows] == ["3", "6"]


def test_a_seed_without_a_validated_epoch_is_left_out():
    ended = [Epoch(1, train_accuracy=0.5), Epoch(2, train_accuracy=0.5, val_accuracy=0.25)]
    assert curves_of("mine", 1, {0: ended, 1: ended[:1]}).seeds == {0: {2: 0.25}}


@pytest.mark.parametrize("own, dots", [({5: 0.9}, True), ({4: 0.8, 5: 0.9}, False)])
def test_one_point_is_no_line_and_has_a_dot(own, dots):
    choice = learning_curves([Curves("mine", 1, {0: own, 1: own}, "validation")])
    thin = choice.options["accuracy"].charts[0].spec["layer"][0]["mark"]
    assert bool(thin["point"]) == dots


def test_the_mean_is_of_the_epochs_that_every_seed_has():
    seeds = {0: {1: 0.5, 2: 0.9, 3: 1.0}, 1: {1: 0.7, 2: 0.8}}
    choice = learning_curves([Curves("mine", 1, seeds, "validation")])
    accuracy, error = (panels.charts[0] for panels in choice.options.values())
    assert values(accuracy, 1)[0] == {"epoch": [1, 2], "value": [60.0, 85.0]}
    assert values(accuracy, 0)[0]["value"] == [50.0, 90.0, 100.0]
    assert values(error, 0)[0]["value"] == [50.0, 10.0, None]  # an error of 0 has no place on a log scale
    assert error.spec["layer"][0]["encoding"]["y"]["scale"]["type"] == "log"


@pytest.mark.parametrize("seeds", [{}, {0: {}}, {0: {1: 1.0}}], ids=["no seed", "no epoch", "no error"])
def test_a_variant_without_curves_has_a_panel_all_the_same(seeds):
    choice = learning_curves([Curves("mine", 1, seeds, "validation")])
    assert [len(panels.charts) for panels in choice.options.values()] == [1, 1]


def test_panels_share_their_axis():
    several = [Curves("low", 1, {0: {1: 0.1}}, "validation"), Curves("high", 2, {0: {1: 0.9}}, "validation")]
    for panels in learning_curves(several).options.values():
        domains = [chart.spec["layer"][0]["encoding"]["y"]["scale"]["domain"] for chart in panels.charts]
        assert domains[0] == domains[1]


def test_the_chosen_rate_is_ringed_and_an_edge_is_flagged():
    tuned = [
        dataclasses.replace(row, phase="tune", learning_rate=rate)
        for rate, accuracies in {1e-3: [0.9, 0.92], 1e-2: [0.8, None], 1.0: [None, None]}.items()
        for row in trials({1: accuracies})
    ]
    chart = rates_chart(tuned, summarize([*tuned, *trials({1: [0.9]})]), "blocks")
    assert [each["rate"] for each in values(chart, 2)] == [0.001]
    assert [each["edge"] for each in values(chart, 3)] == ["at the edge"]
    assert [[cell.text for cell in row[1:]] for row in chart.table.rows] == [
        ["0.001", "91.00", "2", "0", "yes"],
        ["0.01", "80.00", "1", "1", ""],
        ["1", "\u2013", "0", "2", ""],  # a rate at which nothing succeeds is in the table
    ]
