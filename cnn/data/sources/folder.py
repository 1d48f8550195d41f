"""A folder of pictures, with a folder for each class.

`FOLDER/train/CLASS/PICTURE` and `FOLDER/test/CLASS/PICTURE`, or `FOLDER/CLASS/PICTURE`, of which a fixed fifth is the
test part (see `cnn.data.sources.fifth`). Classes and pictures are sorted by name; `cnn.data.sources.listing` says what
is left out. Where all pictures are grey, images have 1 channel, else 3; `cnn.data.pictures` says how pixels are read.

Decoded arrays are kept in the cache under a key that depends on each picture's path, size and times. So a start that
finds them there opens no picture. What the pictures are, and what was done to them, is kept with them.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (root / name).mkdir()
    ...     for number in range(5):
    ...         Image.new("L", (8, 6), number).save(root / name / f"{number}.png")
    >>> content = read("pets", listed("pets", root))
    >>> content.train_images.shape, content.test_images.shape, content.class_names
    ((8, 6, 8, 1), (2, 6, 8, 1), ('cat', 'dog'))
"""

import collections
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from cnn import machine
from cnn.data.content import Content, Entry, Options, Source, file_name
from cnn.data.records import IN_MEMORY, Room
from cnn.data.sources.fifth import without_fifth
from cnn.data.sources.listing import LAYOUT, PARTS, Listing, listed
from cnn.errors import refuse_dataset, require
from cnn.places import user_path
from cnn.progress import Progress, Work

if TYPE_CHECKING:  # Pillow is imported only where a picture is opened
    from cnn.data.pictures import Header

CHUNK = 16  # pictures that a thread reads at a time: a stop waits for no more
SHOWN = 5  # sizes, or damaged files, that a message names
_TREATED = {
    "alpha": "{} with alpha laid on white",
    "turned": "{} turned as their EXIF orientation says",
    "frames": "of {} with several frames the first taken",
}


def read(
    name: str,
    listing: Listing,
    image_size: tuple[int, ...] = (),
    progress: Progress = Progress(),
    room: Room = IN_MEMORY,
) -> Content:
    """Decode the pictures of a folder. The note says what they are, and what was done to them.

    Args:
        name: the data set's name, for messages.
        listing: the pictures.
        image_size: (height, width) that each picture gets; empty where they have one size.
        progress: shows how far the work is.
        room: for the decoded pictures.

    Raises:
        RequestError: a picture cannot be read, or there are several sizes and no `image_size`.
    """
    from cnn.data import pictures

    paths = [path for part in listing.parts.values() for label in part.values() for path in label]
    damaged: dict[str, str] = {}
    with pictures.quiet():
        with progress.task(f"looking at {name}", total=len(paths)) as task:
            headers = dict(_each(pictures.header, paths, damaged, task))
        if not headers:
            _refuse_damaged(name, listing, damaged)
        sizes = collections.Counter(header.size for header in headers.values())
        if len(sizes) > 1 and not image_size:
            _refuse_sizes(name, sizes)
        channels = 1 if all(header.grey for header in headers.values()) else 3
        arrays: list[np.ndarray] = []
        for part, (examples, labels) in zip(PARTS, _examples(listing), strict=True):
            images = room((len(examples), *(image_size or next(iter(sizes))), channels))
            with progress.task(f"decoding {name} {part}", total=len(examples)) as task:
                decode = functools.partial(pictures.pixels, channels=channels, size=image_size)
                for place, decoded in _each(decode, examples, damaged, task):
                    if decoded.shape == images.shape[1:]:
                        images[place] = decoded
                    else:  # an orientation that follows the pixels in the file
                        damaged[examples[place]] = f"{_size(decoded.shape)} pixels, which its header does not say"
            arrays += [images, labels]
    if damaged:
        _refuse_damaged(name, listing, damaged)
    size = f"{_size(image_size)} by Lanczos resampling" if image_size and set(sizes) != {image_size} else ""
    train_images, train_labels, test_images, test_labels = arrays
    note = _described(list(headers.values()), channels, size)
    return Content(train_images, train_labels, test_images, test_labels, tuple(listing.classes), note)


def _examples(listing: Listing) -> list[tuple[list[str], np.ndarray]]:
    """The paths and the labels [n] of the training part and of the test part, class by class."""
    number = {label: place for place, label in enumerate(listing.classes)}
    parts = []
    for part in listing.parts.values():
        labels = [number[label] for label, pictures in part.items() for _ in pictures]
        parts.append(([path for pictures in part.values() for path in pictures], np.array(labels, np.int32)))
    if len(parts) == len(PARTS):
        return parts
    ((paths, whole),) = parts
    return [([paths[place] for place in places], whole[places]) for places in without_fifth(whole)]


def _each(
    function: Callable[[str], Any], paths: Sequence[str], damaged: dict[str, str], task: Work
) -> Iterator[tuple[int, Any]]:
    """What `function` returns for each path, with the path's place; one that cannot be read goes to `damaged`.

    Threads share the work: Pillow lets others run while it decodes or resizes.
    """
    from cnn.data import pictures

    def chunk(start: int) -> list[Any]:
        results: list[Any] = []
        for path in paths[start : start + CHUNK]:
            try:
                results.append(function(path))
            except pictures.Unreadable as error:
                results.append(error)
        return results

    pool = ThreadPoolExecutor(machine.cores())
    try:
        starts = range(0, len(paths), CHUNK)
        for start, results in zip(starts, pool.map(chunk, starts), strict=True):
            for place, result in enumerate(results, start):
                if isinstance(result, pictures.Unreadable):
                    damaged[paths[place]] = str(result)
                else:
                    yield place, result
            task.advance(len(results))
    finally:
        pool.shutdown(cancel_futures=True)


def _described(headers: "list[Header]", channels: int, size: str) -> str:
    """What the pictures are, and what was done to them."""
    kinds = collections.Counter(header.kind for header in headers).most_common()
    treated = collections.Counter(treatment for header in headers for treatment in header.treatments)
    mixture = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
    done = [
        f"{len(headers):,} pictures ({mixture}) as images of {channels} {'channel' if channels == 1 else 'channels'}"
    ]
    done += [text.format(f"{treated[name]:,}") for name, text in _TREATED.items() if treated[name]]
    scaled = sum(header.kind == "16-bit grey" for header in headers)
    done += [f"{scaled:,} scaled from 16 bits to 8"] if scaled else []
    done += [f"resized to {size}"] if size else []
    return "; ".join(done)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def _refuse_sizes(name: str, sizes: "collections.Counter[tuple[int, int]]") -> NoReturn:
    listed = ", ".join(f"{_size(size)} ({count:,})" for size, count in sizes.most_common(SHOWN))
    more = f", and {len(sizes) - SHOWN} more" if len(sizes) > SHOWN else ""
    common = ",".join(map(str, sizes.most_common(1)[0][0]))
    accepted = f"of one size, or be resized by --image_size=HEIGHT,WIDTH, such as --image_size={common}"
    refuse_dataset(name, f"its pictures have {len(sizes)} sizes, height x width: {listed}{more}", accepted)


def _refuse_damaged(name: str, listing: Listing, damaged: dict[str, str]) -> NoReturn:
    first, *others = sorted(damaged)
    shown = [f"{os.path.relpath(path, listing.root)!r} ({damaged[path]})" for path in others[: SHOWN - 1]]
    more = [f"and {len(damaged) - SHOWN:,} more"] if len(damaged) > SHOWN else []
    nor = f", nor {', '.join([*shown, *more])}" if shown else ""
    found = f"{os.path.relpath(first, listing.root)!r} cannot be read ({damaged[first]}){nor}"
    refuse_dataset(name, found, "pictures that Pillow reads, or be removed")


def _takes(name: str) -> bool:
    return any(separator in name for separator in (os.sep, os.altsep) if separator) or os.path.isdir(name)


def _find(name: str, options: Options) -> Entry | None:
    """The folder of that path. A missing one is an error only where the name can be nothing but a path."""
    require(name.isprintable(), "dataset", name, "a path of printable characters")  # messages and titles quote the name
    root = user_path("dataset", name)
    if not root.is_dir():
        if name.startswith((".", "~")) or root.is_absolute():
            refuse_dataset(name, "no such folder", f"the path of {LAYOUT}")
        return None
    listing = listed(name, root)
    if listing.skipped:
        options.progress.line(f"{name}: some files are not read{listing.left_out()}")
    size = "x".join(map(str, options.image_size)) or "own"
    read_it = functools.partial(read, name, listing, options.image_size, options.progress, options.room)
    return Entry(file_name(listing.root.name) or "folder", read_it, f"folder-{listing.key}-{size}")


SOURCE = Source(
    accepts="the path of a folder of class folders",
    takes=_takes,
    find=_find,
    resizes=True,
)
