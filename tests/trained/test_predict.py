"""Answers for picture files, against the network's probabilities for the same pixels."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from cnn.data import pictures
from cnn.errors import RequestError
from cnn.trained.predict import picture_files, predict
from tests.trained.untrained import DEVIATION, MEAN, make

SHAPE = (8, 6)


def classifier(channels, largest_pixel=255):
    """A network of random weights for pictures of so many channels."""
    trained = make(blocks=1)
    width = trained.variables["params"]["block1"]["conv1"]["kernel"][:, :, :1].repeat(channels, axis=2)
    params = {**trained.variables["params"], "block1": {"conv1": {"kernel": width, "bias": np.zeros(4, np.float32)}}}
    return dataclasses.replace(
        trained,
        largest_pixel=largest_pixel,
        variables={"params": params},
        mean=MEAN[:1].repeat(channels),
        deviation=DEVIATION[:1].repeat(channels),
        image_shape=(*SHAPE, channels),
    )


def pixels(seed, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (*SHAPE, channels), np.uint8)


def expected(trained, images):
    rows = trained.probabilities(np.stack(images))
    return [sorted(zip(trained.class_names, row.tolist(), strict=True), key=lambda pair: -pair[1]) for row in rows]


@pytest.mark.parametrize("invert", [False, True])
def test_each_picture_has_its_three_likeliest_classes(tmp_path, invert):
    trained = classifier(3)
    images = [pixels(seed) for seed in range(130)]  # more than a batch
    paths = [tmp_path / f"{seed:03}.png" for seed in range(130)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    answers = list(predict(trained, paths, invert=invert))
    assert [answer.path for answer in answers] == paths
    asked = [255 - image if invert else image for image in images]
    for answer, likeliest in zip(answers, expected(trained, asked), strict=True):
        assert [likely.name for likely in answer.likeliest] == [name for name, _ in likeliest]
        np.testing.assert_allclose([likely.probability for likely in answer.likeliest], [p for _, p in likeliest], 1e-5)


def test_colours_and_sizes_become_those_of_the_network(tmp_path):
    grey = pixels(0, 1)
    Image.fromarray(np.repeat(grey, 3, axis=2)).save(tmp_path / "coloured.png")
    Image.fromarray(np.kron(grey[..., 0], np.ones((5, 5), np.uint8))).save(tmp_path / "large.bmp")
    Image.fromarray(grey[..., 0]).save(tmp_path / "grey.png")
    trained = classifier(1)
    coloured, large, same = (predict(trained, [tmp_path / name]) for name in ("coloured.png", "large.bmp", "grey.png"))
    assert next(coloured).likeliest == next(same).likeliest == tuple(expected(trained, [grey])[0])
    assert len(next(large).likeliest) == 3


def test_white_becomes_that_of_the_network(tmp_path):
    trained = classifier(1, largest_pixel=16)
    image = np.linspace(0, 16, 48).round().astype(np.uint8).reshape(*SHAPE, 1)
    Image.fromarray((image[..., 0].astype(int) * 255 // 16).astype(np.uint8)).save(tmp_path / "digit.png")
    (answer,) = predict(trained, [tmp_path / "digit.png"])
    assert answer.likeliest == tuple(expected(trained, [image])[0])


def test_a_wrong_file_has_a_problem_and_the_others_are_answered(tmp_path):
    Image.fromarray(pixels(0)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "c.png").write_text("no picture")
    Image.fromarray(pixels(1)).save(tmp_path / "e.png")
    paths = [tmp_path / f"{name}.png" for name in "abcde"]
    answers = list(predict(classifier(3), paths))
    assert [bool(answer.likeliest) for answer in answers] == [True, False, False, False, True]
    assert [answer.problem is None for answer in answers] == [True, False, False, False, True]
    assert answers[3].problem == "No such file or directory"


def bitmap(path, side):
    """A picture of so many black pixels, in a small file."""
    Image.new("1", (side, side)).save(path)


@pytest.mark.parametrize("side", [10_000, 15_000], ids=["a warning of Pillow", "its error"])
def test_a_picture_of_too_many_pixels_is_refused_and_the_others_are_answered(tmp_path, side):
    bitmap(tmp_path / "bomb.png", side)
    Image.fromarray(pixels(0)).save(tmp_path / "good.png")
    bomb, good = predict(classifier(3), [tmp_path / "bomb.png", tmp_path / "good.png"])
    assert f"{side * side} pixels" in bomb.problem and "\n" not in bomb.problem and good.likeliest


def test_a_picture_that_memory_does_not_hold_is_refused_and_the_others_are_answered(tmp_path, monkeypatch):
    read = pictures.pixels

    def short(path, *arguments):
        if path.stem == "large":
            raise MemoryError
        return read(path, *arguments)

    monkeypatch.setattr(pictures, "pixels", short)
    for name in ("large", "small"):
        Image.fromarray(pixels(0)).save(tmp_path / f"{name}.png")
    large, small = predict(classifier(3), [tmp_path / "large.png", tmp_path / "small.png"])
    assert large.problem == "it needs more memory than there is" and small.likeliest


def test_a_folder_stands_for_its_pictures(tmp_path, recorder):
    for name in ("b/2.PNG", "b/1.png", "a.png", ".hidden.png", ".git/x.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = picture_files([tmp_path, tmp_path / "none.png"], recorder)
    assert [str(path.relative_to(tmp_path)) for path in files] == ["a.png", "b/1.png", "b/2.PNG", "none.png"]
    assert recorder.lines == []


def test_links_that_are_not_followed_are_counted(tmp_path, recorder):
    """Of a picture, of a folder, and one that leads nowhere; no line for those that would be left out anyway."""
    folder = tmp_path / "pictures"
    (folder / "b").mkdir(parents=True)
    (folder / "a.png").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.png").touch()
    for name, target in {"b/l.png": folder / "a.png", "m": tmp_path / "elsewhere", "n.gif": tmp_path / "no"}.items():
        (folder / name).symlink_to(target)
    for name in (".hidden.png", "notes.txt"):
        (folder / name).symlink_to(folder / "a.png")
    assert picture_files([folder], recorder) == [folder / "a.png"]
    assert recorder.lines == [f"3 links are not followed in {str(folder)!r}, such as 'b/l.png'"]
    (folder / "m").unlink()
    (folder / "n.gif").unlink()
    picture_files([folder, folder / "b" / "l.png"], recorder)
    assert recorder.lines[1:] == [f"1 link is not followed in {str(folder)!r}, such as 'b/l.png'"]


def test_a_network_that_locates_objects_is_refused(tmp_path):
    trained = classifier(3)
    scene = dataclasses.replace(trained.config.scene, objects=1)
    locating = dataclasses.replace(trained, config=dataclasses.replace(trained.config, scene=scene))
    Image.fromarray(pixels(0)).save(tmp_path / "a.png")
    with pytest.raises(RequestError, match=r"^objects=1: must be 0, for a class of each image$"):
        list(predict(locating, [tmp_path / "a.png"]))
