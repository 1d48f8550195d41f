"""What the page's part "try it" needs."""

import json

import pytest

from cnn.show.try_it import try_it
from cnn.trained.live import NotLive
from tests.show import trying
from tests.show.trying import some_set
from tests.trained.exported import make


def test_the_first_test_image_of_each_class_is_shown():
    part = try_it(make(), some_set())
    assert [example.label for example in part.examples] == [0, 1, 2]
    assert part.examples[0].pixels == some_set().test_images[2].tobytes()
    assert (part.largest_pixel, part.drawing) == (255, None)


@pytest.mark.parametrize("classes, shape, count", [(30, (8, 8, 1), 20), (10, (64, 64, 3), 6), (3, (300, 300, 3), 0)])
def test_test_images_are_few_and_small(classes, shape, count):
    assert len(try_it(make(), some_set(classes, shape)).examples) == count


def test_json_of_digits():
    _, part = trying.on_digits()
    values = json.loads(json.dumps(part.to_json(), allow_nan=False))
    assert values["largest_pixel"] == 16 and values["drawing"]["centred"] == "box"
    assert [example["label"] for example in values["examples"]] == [*range(10)]
    assert set(values["network"]) >= {"steps", "weights", "mean", "deviation", "class_names"}


def test_a_network_that_cannot_run_says_why():
    part = try_it(make(objects=1), some_set())
    assert isinstance(part.network, NotLive)
    html = trying.html(part)
    assert part.network.reason in html and "try-data" not in html


def test_names_are_text_in_the_page():
    _, part = trying.on_digits()
    html = trying.html(trying.renamed(part, ["</script><script>alert(1)</script>", *"123456789"]))
    assert "<script>alert" not in html and r"\u003cscript\u003ealert(1)" in html
