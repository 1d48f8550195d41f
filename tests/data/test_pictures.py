"""Picture files against NumPy: colours, alpha, 16 bits, orientation and size by hand; damaged and foreign files."""

import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from cnn.data import pictures

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7), np.uint8)
WIDE = RNG.integers(0, 65536, (5, 7)).astype(np.uint16)
FEW = RNG.integers(0, 4, (5, 7), np.uint8)
COLOURS = np.array([[10, 20, 30], [200, 100, 0], [0, 0, 0], [255, 255, 255]], np.uint8)
GREYS = np.array([[7, 7, 7], [99, 99, 99], [0, 0, 0], [255, 255, 255]], np.uint8)


def palette(colours):
    image = Image.new("P", (7, 5))
    image.putdata(FEW.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    return image


def on_white(colours, alpha):
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


def saved(folder, image, suffix="png", **options):
    path = folder / f"picture.{suffix}"
    image.save(path, **options)
    return path


# The image, the suffix and options of its file, then kind, grey, treatments, and the pixels by hand with a tolerance.
GOOD = {
    "grey": (Image.fromarray(GREY), "png", {}, "grey", True, (), GREY[..., None], 0),
    "one bit": (Image.fromarray(GREY > 99), "png", {}, "grey", True, (), 255 * (GREY > 99)[..., None], 0),
    "RGB": (Image.fromarray(RGB), "png", {}, "RGB", False, (), RGB, 0),
    "BMP": (Image.fromarray(RGB), "bmp", {}, "RGB", False, (), RGB, 0),
    "TIFF": (Image.fromarray(RGB), "tif", {}, "RGB", False, (), RGB, 0),
    "WebP": (Image.fromarray(RGB), "webp", {"lossless": True}, "RGB", False, (), RGB, 0),
    "PGM": (Image.fromarray(GREY), "pgm", {}, "grey", True, (), GREY[..., None], 0),
    "PPM": (Image.fromarray(RGB), "ppm", {}, "RGB", False, (), RGB, 0),
    "palette": (palette(COLOURS), "png", {}, "palette", False, (), COLOURS[FEW], 0),
    "grey palette": (palette(GREYS), "png", {}, "palette", True, (), GREYS[FEW][..., :1], 0),
    "GIF": (palette(COLOURS), "gif", {}, "palette", False, (), COLOURS[FEW], 0),
    "transparent colour": (
        *(palette(COLOURS), "gif", {"transparency": 2}, "palette", False, ("alpha",)),
        *(on_white(COLOURS[FEW], np.where(FEW == 2, 0, 255)), 0),
    ),
    "alpha": (
        *(Image.fromarray(np.dstack([RGB, ALPHA])), "png", {}, "RGB", False, ("alpha",)),
        *(on_white(RGB, ALPHA), 1),
    ),
    "grey with alpha": (
        *(Image.fromarray(np.dstack([GREY, ALPHA]), "LA"), "png", {}, "grey", True, ("alpha",)),
        *(on_white(GREY[..., None], ALPHA), 1),
    ),
    "16 bits": (Image.fromarray(WIDE), "png", {}, "16-bit grey", True, (), np.round(WIDE[..., None] / 257), 0),
    "16 bits in TIFF": (Image.fromarray(WIDE), "tif", {}, "16-bit grey", True, (), np.round(WIDE[..., None] / 257), 0),
    "several frames": (
        *(Image.fromarray(GREY), "gif", {"save_all": True, "append_images": [Image.fromarray(255 - GREY)]}),
        *("palette", True, ("frames",), GREY[..., None], 0),
    ),
}


@pytest.mark.parametrize("image, suffix, options, kind, grey, treatments, expected, off", GOOD.values(), ids=GOOD)
def test_kinds_of_pictures(tmp_path, image, suffix, options, kind, grey, treatments, expected, off):
    path = saved(tmp_path, image, suffix, **options)
    assert pictures.header(path) == pictures.Header((5, 7), kind, grey, treatments)
    found = pictures.pixels(path, channels=1 if grey else 3)
    assert found.dtype == np.uint8 and found.shape == expected.shape
    np.testing.assert_allclose(found.astype(int), expected, atol=off)
    if grey:
        np.testing.assert_array_equal(pictures.pixels(path, channels=3), np.repeat(found, 3, axis=-1))


def test_a_jpeg_is_near_what_was_saved(tmp_path):
    smooth = np.linspace(0, 255, 64 * 48 * 3).reshape(64, 48, 3).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(smooth), "jpg", quality=95)
    np.testing.assert_allclose(pictures.pixels(path, 3).astype(int), smooth, atol=8)
    cmyk = saved(tmp_path, Image.fromarray(smooth).convert("CMYK"), "jpeg", quality=95)
    assert pictures.header(cmyk).kind == "CMYK"
    np.testing.assert_allclose(pictures.pixels(cmyk, 3).astype(int), smooth, atol=8)


# What each orientation of EXIF says was done to the picture, undone by NumPy.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("pixels", [GREY, RGB, WIDE], ids=["grey", "RGB", "16 bits"])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation(tmp_path, pixels, suffix, orientation):
    if suffix == "webp":
        pixels = RGB
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path, Image.fromarray(pixels), suffix, exif=exif, **options)
    expected = UPRIGHT[orientation](np.round(pixels / 257) if pixels.dtype == np.uint16 else pixels)
    head = pictures.header(path)
    assert head.size == expected.shape[:2] and head.treatments == (() if orientation == 1 else ("turned",))
    found = pictures.pixels(path, 3 if pixels.ndim == 3 else 1)
    np.testing.assert_array_equal(found.squeeze(), expected)


@pytest.mark.parametrize("pixels", [GREY, WIDE], ids=["grey", "16 bits"])
def test_an_orientation_that_stands_in_xmp(tmp_path, pixels):
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    path = saved(tmp_path, Image.fromarray(pixels), pnginfo=text)
    expected = UPRIGHT[6](np.round(pixels / 257) if pixels.dtype == np.uint16 else pixels)
    assert pictures.header(path).treatments == ("turned",)
    np.testing.assert_array_equal(pictures.pixels(path, 1).squeeze(), expected)


def test_a_transparent_value_of_16_bits_is_white(tmp_path):
    path = saved(tmp_path, Image.fromarray(WIDE), transparency=int(WIDE[2, 3]))
    assert pictures.header(path).treatments == ("alpha",)
    expected = np.where(WIDE[2, 3] == WIDE, 255, np.round(WIDE / 257))
    np.testing.assert_array_equal(pictures.pixels(path, 1)[..., 0], expected)


def test_a_smaller_size_is_free_of_aliases(tmp_path):
    """Stripes of one pixel become grey, where nearest neighbours would keep black or white."""
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    found = pictures.pixels(saved(tmp_path, Image.fromarray(stripes)), 1, (16, 16))
    assert found.shape == (16, 16, 1) and abs(found.astype(int) - 127).max() < 16
    sides = pictures.pixels(saved(tmp_path, Image.fromarray(GREY)), 3, (4, 9))
    assert sides.shape == (4, 9, 3)
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (10, 1))  # Lanczos keeps a ramp, but for its ends
    wide = pictures.pixels(saved(tmp_path, Image.fromarray(ramp)), 1, (10, 20))[5, 2:-2, 0]
    np.testing.assert_allclose(wide, ramp[5].reshape(20, 3).mean(axis=1)[2:-2], atol=1)


def test_colour_becomes_grey_by_its_luma(tmp_path):
    found = pictures.pixels(saved(tmp_path, Image.fromarray(RGB)), 1)[..., 0]
    np.testing.assert_allclose(found, RGB @ [0.299, 0.587, 0.114], atol=1)


def write(path, content):
    path.write_bytes(content)
    return path


BAD = {
    "empty": (lambda folder: write(folder / "a.png", b""), "no picture of the formats"),
    "text": (lambda folder: write(folder / "a.png", b"no picture"), "no picture of the formats"),
    "missing": (lambda folder: folder / "a.png", "No such file"),
    "32 bits": (lambda folder: saved(folder, Image.fromarray(np.full((4, 4), -1, np.int32)), "tif"), "from -1 to -1"),
    "floats": (lambda folder: saved(folder, Image.fromarray(GREY / np.float32(255)), "tif"), "mode is F, must be grey"),
    "LAB": (lambda folder: saved(folder, Image.new("LAB", (4, 4)), "tif"), "mode is LAB, must be grey"),
    "another format": (lambda folder: saved(folder, Image.fromarray(RGB), "ico"), "no picture of the formats"),
}


@pytest.mark.parametrize("make, reason", BAD.values(), ids=BAD)
def test_what_cannot_be_read(tmp_path, make, reason):
    path = make(tmp_path)
    with pytest.raises(pictures.Unreadable, match=reason) as caught:
        pictures.header(path)
        pictures.pixels(path, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif", "ppm"])
def test_a_cut_file_never_gives_other_pixels(tmp_path, suffix):
    whole = saved(tmp_path, Image.fromarray(RGB), suffix).read_bytes()
    expected = pictures.pixels(tmp_path / f"picture.{suffix}", 3)
    refused = 0
    with pictures.quiet():
        for length in range(len(whole)):
            path = write(tmp_path / f"cut.{suffix}", whole[:length])
            try:
                np.testing.assert_array_equal(pictures.pixels(path, 3), expected)
            except pictures.Unreadable:
                refused += 1
    assert refused >= 0.8 * len(whole)


def test_a_turned_bit_in_a_png_never_gives_other_pixels(tmp_path):
    whole = saved(tmp_path, Image.fromarray(RGB)).read_bytes()
    refused = 0
    with pictures.quiet():
        for place in range(len(whole)):
            turned = bytearray(whole)
            turned[place] ^= 1 << place % 8
            try:
                np.testing.assert_array_equal(pictures.pixels(write(tmp_path / "a.png", bytes(turned)), 3), RGB)
            except pictures.Unreadable:
                refused += 1
    assert refused >= 0.8 * len(whole)


def test_too_many_pixels_are_refused(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pictures.quiet(), pytest.raises(pictures.Unreadable, match="35 pixels"):
        pictures.header(path)


def test_pillow_is_quiet_inside_the_block_alone(tmp_path, caplog):
    whole = bytearray(saved(tmp_path, Image.fromarray(RGB), "tif").read_bytes())
    whole[-40:] = bytes(40)
    with pictures.quiet():
        warnings.warn("hidden", UserWarning, stacklevel=1)
    with pytest.warns(UserWarning, match="shown"):
        warnings.warn("shown", UserWarning, stacklevel=1)
    assert not caplog.records
