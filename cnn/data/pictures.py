"""Picture files: what a file's header says, and its pixels as the networks take them.

Pillow decodes. A picture is turned as its EXIF orientation says. What is transparent is laid on white. Grey values of
16 bits are scaled to 8. Of several frames the first one counts. Palettes, CMYK and YCbCr become RGB. Where another size
is asked for, Lanczos resampling makes it, which takes each pixel of a larger picture into account.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> path = Path(tempfile.mkdtemp()) / "half.png"
    >>> Image.new("RGBA", (3, 2), (0, 0, 0, 128)).save(path)
    >>> header(path)
    Header(size=(2, 3), kind='RGB', grey=False, treatments=('alpha',))
    >>> pixels(path, channels=3).shape, pixels(path, channels=1)[0, 0].tolist(), pixels(path, 1, (4, 6)).shape
    ((2, 3, 3), [127], (4, 6, 1))
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cnn import files
from cnn.errors import first_line

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # of Pillow: those that it reads well, without helpers
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # an older Pillow has no I;16 for a PNG
_KINDS = {  # of Pillow's modes; a mode that is not here is refused
    **dict.fromkeys(("1", "L", "LA"), "grey"),
    **dict.fromkeys(_SIXTEEN_BITS, "16-bit grey"),
    **dict.fromkeys(("RGB", "RGBA", "RGBX"), "RGB"),
    **dict.fromkeys(("P", "PA"), "palette"),
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
}
_TURNED = range(2, 9)  # the orientations of EXIF but the usual one
_EXCHANGED = range(5, 9)  # those that exchange height and width


class Unreadable(ValueError):
    """A file is no picture that can be read; the message says why, without the file's name."""


class Header(NamedTuple):
    """What the header of a picture file says.

    Attributes:
        size: (height, width), after the turn that EXIF asks for.
        kind: how the file holds colours: grey, 16-bit grey, RGB, palette, CMYK or YCbCr.
        grey: whether the picture is grey. A palette of grey colours is.
        treatments: what else happens to its pixels: `alpha` is laid on white, it is `turned`, it has several `frames`.
    """

    size: tuple[int, int]
    kind: str
    grey: bool
    treatments: tuple[str, ...]


def header(path: str | os.PathLike[str]) -> Header:
    """What a file's header says; the pixels are not decoded, but for TIFF and for palettes.

    Raises:
        Unreadable: the file is no picture of these formats, or is damaged.
    """
    with _opened(path) as image:
        # Not `image.getexif()`, which decodes a whole PNG.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        if image.format == "TIFF" or image.mode in ("P", "PA"):
            image.load()  # Pillow turns a TIFF when it loads it
        exchanged = orientation in _EXCHANGED and image.format != "TIFF"
        found = {
            "alpha": image.has_transparency_data,
            "turned": orientation in _TURNED,
            "frames": getattr(image, "is_animated", False),
        }
        kind = _KINDS[image.mode]
        return Header(
            size=image.size if exchanged else image.size[::-1],
            kind=kind,
            grey=_grey_palette(image) if kind == "palette" else kind in ("grey", "16-bit grey"),
            treatments=tuple(name for name, given in found.items() if given),
        )


def pixels(path: str | os.PathLike[str], channels: int, size: tuple[int, ...] = ()) -> np.ndarray:
    """The pixels of a picture: uint8 [height, width, channels].

    Args:
        path: the file.
        channels: 1 for grey, by the luma of ITU-R 601-2 where the picture has colours; 3 for RGB.
        size: (height, width) of the result; empty for the picture's own size. The whole picture is stretched to it.

    Raises:
        Unreadable: the file is no picture of these formats, or is damaged.
    """
    with _opened(path) as image:
        image.load()
        image = _eight_bits(image) if image.mode in _SIXTEEN_BITS else image
        ImageOps.exif_transpose(image, in_place=True)
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(image.convert("RGBA"))
            image = white
        if image.mode in ("P", "PA"):
            image = image.convert("RGB")
        image = image.convert("L" if channels == 1 else "RGB")
        if size and image.size != size[::-1]:
            image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
        return np.asarray(image).reshape(*image.size[::-1], channels)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let Pillow neither warn nor log inside the block, and refuse pictures of so many pixels that it would warn.

    One block serves all threads of a process, so enter it once and outside of them.
    """
    logger = logging.getLogger("PIL")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    try:
        # Pillow maps a file that it opens itself into memory, and then turns the lines of some TIFFs wrongly.
        with files.opened(path) as file, Image.open(file, formats=FORMATS) as image:
            if image.mode not in _KINDS:
                raise Unreadable(f"its mode is {image.mode}, must be grey, RGB or a palette of 8 bits, or 16-bit grey")
            yield image
    except (Unreadable, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Unreadable(f"no picture of the formats {', '.join(FORMATS)}") from None
    except OSError as error:
        raise Unreadable(error.strerror or first_line(error)) from error
    except Exception as error:  # Pillow raises errors of many types at damaged bytes
        raise Unreadable(first_line(error)) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey values from 0 to 65535 as values from 0 to 255, rounded; the one value that is transparent becomes white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise Unreadable(f"its values go from {values.min()} to {values.max()}, must be from 0 to 65535")
    transparent = image.info.get("transparency")
    values[values == transparent] = 65535
    scaled = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    scaled.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return scaled


def _grey_palette(image: Image.Image) -> bool:
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())
