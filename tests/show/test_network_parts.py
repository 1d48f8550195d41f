"""The parts of a page about one network: sizes, filters, mistakes, confusions."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from cnn.config import NetworkConfig
from cnn.data.content import Content, Dataset, fingerprint
from cnn.network import models, summary
from cnn.show.network_parts import confusion, filter_png, image_png, layers_table, mistakes
from cnn.training.answers import Predictions


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("model", ["convnet", "resnet", "lenet5", "lenet5_1998", "mlp"])
def test_blocks_add_up_to_the_network(model):
    shape = (28, 28, 1)
    network = models.build(NetworkConfig(model=model), shape, 10)
    whole, folded = layers_table(network, shape)
    cost = summary.cost(network, shape)
    assert sum(row[2].number for row in whole.rows) == cost.parameters
    assert sum(row[3].number for row in whole.rows) == cost.macs
    assert len(folded.parts[0].rows) == len(summary.rows(network, shape))


def test_a_filter_is_blue_below_zero_and_vermilion_above():
    shown = pixels(filter_png(np.array([[[-2.0], [0.0], [2.0]]], np.float32)))
    assert shown.tolist() == [[[0x00, 0x72, 0xB2], [255, 255, 255], [0xD5, 0x5E, 0x00]]]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_stretched_to_the_largest_pixel(channels):
    image = np.full((2, 3, channels), 16, np.uint8)
    assert (pixels(image_png(image, 16)) == 255).all()


def dataset(labels, classes=3):
    images = np.zeros((len(labels), 4, 4, 1), np.uint8)
    names = tuple(f"class {number}" for number in range(classes))
    content = Content(images, np.asarray(labels, np.int32), images, np.asarray(labels, np.int32), names)
    return Dataset("mine", *content[:5], fingerprint(content), "mine")


def said(classes, sure):
    return Predictions(np.asarray(classes, np.int32), np.asarray(sure, np.float32))


def test_the_worst_mistakes_come_first():
    seen = [said([0, 1, 0, 1], [0.9, 0.6, 0.9, 0.8]), said([0, 1, 0, 0], [0.9, 0.7, 0.9, 0.9])]
    shown = mistakes(dataset([0, 0, 0, 0]), seen).images
    assert [image.description.partition(":")[0] for image in shown] == ["test image 1", "test image 3"]
    assert shown[0].lines == ("is class 0", "taken for class 1, 70 %", "2 of 2 seeds wrong")
    assert shown[1].lines[-1] == "1 of 2 seeds wrong"


def test_a_confusion_matrix_counts_all_seeds():
    table = confusion(dataset([0, 0, 1, 2]), [said([0, 1, 1, 2], [1] * 4), said([0, 0, 1, 0], [1] * 4)])
    assert [[cell.number for cell in row[1:]] for row in table.rows] == [[3, 1, 0], [0, 2, 0], [1, 0, 1]]


def test_of_many_classes_the_commonest_confusions_are_listed():
    labels = np.arange(30)
    wrong = labels.copy()
    wrong[[3, 7]] = 5
    table = confusion(dataset(labels, 30), [said(wrong, np.ones(30))])
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["class 3", "class 5", "1"],
        ["class 7", "class 5", "1"],
    ]


def test_large_images_do_not_make_a_large_page():
    own = dataset([0] * 24)
    noise = np.random.default_rng(0).integers(0, 256, (24, 224, 160, 3), np.uint8)
    shown = mistakes(dataclasses.replace(own, test_images=noise, train_images=noise), [said([1] * 24, [1] * 24)]).images
    assert 8 <= len(shown) <= 24 and sum(len(image.png) for image in shown) <= 100_000
    assert pixels(shown[0].png).shape == (56, 40, 3)


@pytest.mark.parametrize("classes", [3, 30])
def test_where_nothing_is_wrong_nothing_is_empty(classes):
    own = dataset(np.arange(classes), classes)
    right = said(np.arange(classes), np.ones(classes))
    assert mistakes(own, [right]) is None
    table = confusion(own, [right])
    shaded = [cell for row in table.rows for cell in row if cell.shade] if table else []
    assert len(shaded) == (3 if classes == 3 else 0) and not any(cell.wrong for cell in shaded)


def test_the_commonest_confusion_is_the_darkest():
    table = confusion(dataset([0] * 100 + [1]), [said([0] * 97 + [1, 1, 2, 1], np.ones(101))])
    assert [cell.shade for cell in table.rows[0][1:]] == pytest.approx([0.35 * 0.97, 0.5, 0.25])
    assert [cell.wrong for cell in table.rows[0][1:]] == [False, True, True]


def test_without_predictions_there_is_nothing_to_show():
    assert mistakes(dataset([0]), []) is None and confusion(dataset([0]), []) is None
