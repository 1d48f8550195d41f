"""Folders of pictures: what is read from good ones, what is left out, what is refused, and what the cache notices."""

import os
import shutil

import numpy as np
import pytest
from PIL import ExifTags, Image

from cnn.data import cache, datasets
from cnn.data.sources import folder, listing
from cnn.errors import RequestError


def pixels(label, number, shape=(6, 5)):
    """A picture that its class and its number identify."""
    return np.random.default_rng([label, number]).integers(0, 256, shape, np.uint8)


def write(root, counts=(10, 10, 10), shape=(6, 5), start=0):
    """Class folders c0, c1, ... with so many PNG files."""
    for label, count in enumerate(counts):
        (root / f"c{label}").mkdir(parents=True)
        for number in range(start, start + count):
            Image.fromarray(pixels(label, number, shape)).save(root / f"c{label}" / f"{number:03}.png")
    return root


def load(root, recorder, **options):
    return datasets.load(str(root), cache_dir=root.parent / "cache", progress=recorder, **options)


def rows(images, labels):
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)], ids=["grey", "RGB"])
def test_parts(tmp_path, recorder, shape):
    """Order is by class, then by file name; grey pictures have one channel."""
    write(tmp_path / "pets" / "train", (3, 2), shape)
    write(tmp_path / "pets" / "test", (2, 1), shape, start=5)
    found = load(tmp_path / "pets", recorder)
    channels = (1,) if len(shape) == 2 else ()
    train = np.stack([pixels(*which, shape) for which in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))])
    test = np.stack([pixels(*which, shape) for which in ((0, 5), (0, 6), (1, 5))])
    np.testing.assert_array_equal(found.train_images, train.reshape(*train.shape, *channels))
    np.testing.assert_array_equal(found.test_images, test.reshape(*test.shape, *channels))
    assert found.train_labels.tolist() == [0, 0, 0, 1, 1] and found.test_labels.tolist() == [0, 0, 1]
    assert found.class_names == ("c0", "c1") and found.slug == "pets" and found.name == str(tmp_path / "pets")
    kind = "grey" if len(shape) == 2 else "RGB"
    assert recorder.lines == [
        f"{found.name}: 8 pictures (8 {kind}) as images of {3 if kind == 'RGB' else '1'} channel"
        f"{'s' if kind == 'RGB' else ''}"
    ]
    labels = [task.label.rpartition(" ")[0] for task in recorder.tasks]
    assert [(task.done, task.total) for task in recorder.tasks] == [(8, 8), (5, 5), (3, 3)] and "decoding" in labels[1]


@pytest.mark.parametrize("counts", [(10, 10, 10), (40, 10), (2, 2), (2, 50, 3), (2,) * 9], ids=str)
def test_a_fifth_is_the_test_part(tmp_path, recorder, counts):
    found = load(write(tmp_path / "pets", counts), recorder)
    size = max(-(-sum(counts) // 5), len(counts))
    assert len(found.test_labels) == size and len(found.train_labels) == sum(counts) - size
    expected = [(pixels(label, number).tobytes(), label) for label, n in enumerate(counts) for number in range(n)]
    assert sorted(rows(found.train_images, found.train_labels) + rows(found.test_images, found.test_labels)) == sorted(
        expected
    )
    tested = np.bincount(found.test_labels, minlength=len(counts))
    assert np.all(np.bincount(found.train_labels) >= 1) and np.all(
        abs(tested - size * np.array(counts) / sum(counts)) <= 1
    )
    again = folder.read("pets", listing.listed("pets", tmp_path / "pets"))
    np.testing.assert_array_equal(again.test_images, found.test_images)


def test_mixed_pictures_have_three_channels_and_are_described(tmp_path, recorder):
    root = write(tmp_path / "pets", (8, 7))
    grey = pixels(0, 99)
    colour = pixels(0, 98, (6, 5, 3))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 3
    Image.fromarray(colour).save(root / "c1" / "a.png")
    Image.fromarray(np.dstack([colour, grey])).save(root / "c1" / "b.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(root / "c1" / "c.png")
    Image.fromarray(grey).save(root / "c1" / "d.png", exif=turned)
    Image.fromarray(colour).quantize(4).save(
        root / "c1" / "e.gif", save_all=True, append_images=[Image.new("L", (5, 6))]
    )
    found = load(root, recorder)
    assert found.image_shape == (6, 5, 3)
    load(root, recorder)
    line, again = recorder.lines  # at each load, of which the second opens no picture
    assert line == again and len(recorder.tasks) == 3
    assert line == (
        f"{root}: 20 pictures (16 grey, 2 RGB, 1 16-bit grey, 1 palette) as images of 3 channels; 1 with alpha laid on "
        "white; 1 turned as their EXIF orientation says; of 1 with several frames the first taken; "
        "1 scaled from 16 bits to 8"
    )
    images = np.concatenate([found.train_images, found.test_images])
    for expected in (colour, np.repeat(grey[..., None], 3, axis=-1), np.repeat(grey[::-1, ::-1, None], 3, axis=-1)):
        assert (images == expected).all(axis=(1, 2, 3)).sum() == 1


def test_several_sizes(tmp_path, recorder):
    root = write(tmp_path / "pets", (10, 10))
    for number, shape in enumerate([(4, 4), (4, 4), (9, 9), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6)]):
        Image.fromarray(pixels(1, number, shape)).save(root / "c1" / f"other{number}.png")
    with pytest.raises(RequestError) as caught:
        load(root, recorder)
    assert str(caught.value) == (
        f"dataset={str(root)!r}: its pictures have 8 sizes, height x width: 6x5 (20), 4x4 (2), 9x9 (1), 1x2 (1), "
        "1x3 (1), and 3 more; must be of one size, or be resized by --image_size=HEIGHT,WIDTH, such as --image_size=6,5"
    )
    assert not (tmp_path / "cache").exists() and len(recorder.tasks) == 1  # nothing was decoded
    found = load(root, recorder, image_size=(6, 5))
    assert found.image_shape == (6, 5, 1) and recorder.lines[-1].endswith("; resized to 6x5 by Lanczos resampling")
    kept = {image.tobytes() for image in np.concatenate([found.train_images, found.test_images])}
    assert {
        pixels(label, number).tobytes() for label in (0, 1) for number in range(10)
    } <= kept  # of that size: as they are
    other = load(root, recorder, image_size=(3, 8))
    assert other.image_shape == (3, 8, 1) and other.fingerprint != found.fingerprint


def test_what_is_left_out_is_said(tmp_path, recorder):
    root = write(tmp_path / "pets" / "train", (5, 5)).parent
    write(root / "test", (5, 5))
    expected = load(root, recorder).fingerprint
    outside = write(tmp_path / "outside", (2, 2))
    (root / ".hidden").mkdir()
    (root / "train" / ".cache").mkdir()
    (root / "train" / "c0" / ".thumb.png").write_bytes(b"")
    (root / "labels.csv").touch()
    (root / "valid").mkdir()
    (root / "train" / "notes.txt").touch()
    (root / "train" / "c0" / "Thumbs.db").touch()
    (root / "train" / "c1" / "archive.zip").touch()
    os.mkfifo(root / "train" / "c0" / "pipe.png")
    (root / "train" / "c0" / "out.png").symlink_to(outside / "c0" / "000.png")
    (root / "train" / "c2").symlink_to(outside / "c1")
    (root / "test" / "c0" / "null.png").symlink_to("/dev/null")
    (root / "test" / "c0" / "gone.png").symlink_to(root / "test" / "c0" / "nowhere.png")
    (root / "test" / "c1" / "loop.png").symlink_to(root / "test" / "c1" / "loop.png")
    recorder.lines.clear()
    found = load(root, recorder)
    assert found.fingerprint == expected and found.class_names == ("c0", "c1")
    line, _ = recorder.lines
    assert len(recorder.tasks) == 3  # from the cache: nothing that is left out changes the key
    assert line == (
        f"{root}: some files are not read (left out: 2 without a picture's suffix, such as 'train/c0/Thumbs.db'; "
        "3 behind a link that leads out of the folder, such as 'train/c0/out.png'; 1 that is no regular file, such as "
        "'train/c0/pipe.png'; 3 beside the class folders, such as 'train/notes.txt'; "
        "2 behind a link that leads nowhere, such as 'test/c0/gone.png')"
    )


def test_links_inside_the_folder_are_followed(tmp_path, recorder):
    root = write(tmp_path / "pets", (5, 5))
    (root / "c1" / "link.png").symlink_to(root / "c0" / "000.png")
    (tmp_path / "alias").symlink_to(root)
    found = load(tmp_path / "alias", recorder)
    assert len(found.train_labels) + len(found.test_labels) == 11 and found.slug == "pets"


def test_a_class_may_be_called_train(tmp_path, recorder):
    root = write(tmp_path / "vehicles", (5, 5))
    (root / "c0").rename(root / "train")
    assert load(root, recorder).class_names == ("c1", "train")


def damage_first(root, content=b"no picture"):
    (root / "c0" / "000.png").write_bytes(content)
    whole = (root / "c1" / "001.png").read_bytes()
    (root / "c1" / "001.png").write_bytes(whole[: len(whole) - 30])


def parts(root):
    """Give the folder a training and a test part."""
    for part in ("train", "test"):
        shutil.copytree(root, root.parent / "parts" / part)
    shutil.rmtree(root)
    (root.parent / "parts").rename(root)


def rename_test_class(root):
    parts(root)
    (root / "test" / "c2").rename(root / "test" / "unknown")


def empty_test(root):
    parts(root)
    for path in (root / "test").glob("*/*"):
        path.unlink()


def link_train(root):
    parts(root)
    (root / "train").rename(root.parent / "elsewhere")
    (root / "train").symlink_to(root.parent / "elsewhere")


BAD = {
    "no folder": (lambda root: shutil.rmtree(root), "no such folder; must be the path of FOLDER/CLASS/PICTURE"),
    "a file": (lambda root: (shutil.rmtree(root), root.touch()), "no such folder"),
    "empty": (lambda root: (shutil.rmtree(root), root.mkdir()), "has no class folders; must be at least 2 classes"),
    "loose pictures": (
        lambda root: [path.rename(root / f"{path.parent.name}{path.name}") for path in root.glob("*/*")],
        "the class 'c0' has 0 pictures, and 2 more classes have fewer than 2 (left out: 12 beside the class folders",
    ),
    "one class": (lambda root: [shutil.rmtree(root / name) for name in ("c0", "c2")], "has only the class 'c1'; must"),
    "an empty class": (lambda root: (root / "d").mkdir(), "the class 'd' has 0 pictures; must be at least 2 for each"),
    "a class of one": (
        lambda root: [path.unlink() for path in (root / "c1").glob("00[1-9].png")],
        "the class 'c1' has 1 pictures; must be at least 2 for each class; their names end with .bmp, .gif, .jpeg",
    ),
    "no picture's suffix": (
        lambda root: [path.rename(path.with_suffix(".raw")) for path in (root / "c2").iterdir()],
        "the class 'c2' has 0 pictures (left out: 4 without a picture's suffix, such as 'c2/000.raw')",
    ),
    "a folder in a class": (
        lambda root: (root / "c1" / "more").mkdir(),
        "'c1/more' is a folder in a class folder; must",
    ),
    "train alone": (
        lambda root: (parts(root), shutil.rmtree(root / "test")),
        "'train/c0' is a folder in a class folder; must be FOLDER/CLASS/PICTURE, or FOLDER/train/CLASS/PICTURE and",
    ),
    "train elsewhere": (link_train, "(left out: 1 behind a link that leads out of the folder, such as 'train')"),
    "an unknown class": (
        rename_test_class,
        "the class 'unknown' is in test and not in train; must be classes that occur",
    ),
    "an empty test part": (empty_test, "has no pictures in test; must be at least one"),
    "a name with a line feed": (
        lambda root: (root / "c1").rename(root / "c\n1"),
        r"the class folder 'c\n1'; must be of printable name",
    ),
    "damaged": (damage_first, "'c0/000.png' cannot be read (no picture of the formats PNG, JPEG,"),
    "damaged pixels": (
        lambda root: damage_first(root, (root / "c0" / "001.png").read_bytes()),
        "'c1/001.png' cannot be read (",
    ),
}


@pytest.mark.parametrize("damage, said", BAD.values(), ids=BAD)
def test_refused(tmp_path, recorder, damage, said):
    root = write(tmp_path / "pets", (4, 4, 4))
    damage(root)
    with pytest.raises(RequestError) as caught:
        load(root, recorder)
    message = str(caught.value)
    assert message.startswith(f"dataset={str(root)!r}: ") and said in message and "\n" not in message, message
    assert not (tmp_path / "cache").exists() and recorder.lines == []


def test_damaged_pictures_are_named(tmp_path, recorder):
    """Those that have no header, and those that have one and are cut, together."""
    root = write(tmp_path / "pets", (4, 4, 4))
    damage_first(root)
    with pytest.raises(
        RequestError, match=r"'c0/000.png' cannot be read \(.*\), nor '[^']*' \(.*\); must be pictures that"
    ):
        load(root, recorder)
    for path in root.glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(
        RequestError, match=r"'c0/000.png' cannot be read \(.*\), nor .*'c1/000.png' .*, and 7 more; must be"
    ):
        load(root, recorder)


def replaced(path):
    """Other pixels in a file of the same size and the same time of its last write."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "changed": lambda root: Image.fromarray(pixels(7, 7)).save(root / "c0" / "000.png"),
    "changed, with size and time restored": lambda root: replaced(root / "c0" / "000.pgm"),
    "added": lambda root: Image.fromarray(pixels(7, 7)).save(root / "c0" / "new.png"),
    "removed": lambda root: (root / "c0" / "000.png").unlink(),
    "renamed": lambda root: (root / "c0" / "000.png").rename(root / "c0" / "zzz.png"),
    "moved to another class": lambda root: (root / "c0" / "000.png").rename(root / "c1" / "zzz.png"),
    "renamed class": lambda root: (root / "c0").rename(root / "d"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_cache_notices(tmp_path, recorder, monkeypatch, change):
    root = write(tmp_path / "pets" / "train", (5, 5)).parent
    write(root / "test", (5, 5))
    Image.fromarray(pixels(9, 9)).save(root / "train" / "c0" / "000.pgm")
    first = load(root, recorder)
    opened = []
    monkeypatch.setattr(folder, "read", lambda *_: opened.append(True))
    assert load(root, recorder).fingerprint == first.fingerprint and not opened  # from the cache
    monkeypatch.undo()
    change(root / "train")
    if (root / "train" / "d").exists():
        (root / "test" / "c0").rename(root / "test" / "d")
    found = load(root, recorder)
    assert found.fingerprint != first.fingerprint
    again = folder.read("pets", listing.listed("pets", root))
    assert cache.fingerprint(again) == found.fingerprint


def test_a_start_from_the_cache_imports_nothing_heavy(tmp_path, recorder):
    from tests.data.test_datasets import load_in_fresh_process

    root = write(tmp_path / "pets")
    first = load(root, recorder)
    assert load_in_fresh_process(str(root), tmp_path / "cache")[1] == first.fingerprint


def test_a_data_set_of_the_same_name_comes_first(tmp_path, recorder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "mnist", "pets"):
        write(tmp_path / name)
    options = {"cache_dir": "cache", "data_dir": "none", "progress": recorder}
    assert datasets.load("digits", **options).classes == 10
    assert recorder.lines == ["digits is the data set; ./digits is the folder here"]
    for name in ("./digits", "./mnist", "pets", "pets/", "./pets", str(tmp_path / "mnist")):
        found = datasets.load(name, **options)
        assert found.class_names == ("c0", "c1", "c2") and found.name == name
    with pytest.raises(RequestError, match=r"^image_size=6,5: dataset='digits' is no folder of pictures"):
        datasets.load("digits", image_size=(6, 5), **options)
    with pytest.raises(RequestError, match=r"^dataset='beans': .*; \./beans is the folder here$"):
        write(tmp_path / "beans")
        datasets.load("beans", **options)


@pytest.mark.parametrize("name", ["digits", "mnist", "no.npz", "mnist/x"])
def test_a_size_is_for_folders_alone(tmp_path, name):
    with pytest.raises(
        RequestError, match=rf"^image_size=28,28: dataset='{name}' is no folder of pictures; must be given"
    ):
        datasets.load(name, image_size=(28, 28), cache_dir=tmp_path, data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_stop_waits_for_no_more_than_a_few_pictures(tmp_path, recorder, monkeypatch):
    """Where the reading fails between two chunks, those that no thread has begun are given up."""
    from cnn.data import pictures

    root = write(tmp_path / "pets", (200, 200))
    looked = []
    whole = pictures.header
    monkeypatch.setattr(pictures, "header", lambda path: (looked.append(path), whole(path))[1])

    class Stopped(Exception):
        pass

    def stop(self, amount=1, note=""):
        raise Stopped

    monkeypatch.setattr("cnn.progress.Work.advance", stop)
    with pytest.raises(Stopped):
        load(root, recorder)
    count = len(looked)
    assert count < 400
