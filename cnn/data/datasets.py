"""Data sets by name: the sources, and `load`, which asks them.

A kind of data set is one file in `cnn.data.sources`, which ends with its `SOURCE`, and one name in `NAMED` or `PATHS`
below; `cnn.data.sources.digits` is the shortest example. Decoded arrays are kept in a cache folder and memory-mapped.
Heavy libraries are imported only where they are needed: a data set that is in the cache loads without them.

Example:
    >>> digits = load("digits")
    >>> digits.train_images.shape, digits.test_images.shape, digits.classes
    ((1437, 8, 8, 1), (360, 8, 8, 1), 10)
"""

import difflib
import os
from pathlib import Path
from typing import NoReturn

from cnn.data import cache, records
from cnn.data.content import Content, Dataset, Entry, Options, Source, fingerprint, largest_pixel
from cnn.data.sources import digits, folder, npz, tfds
from cnn.errors import RequestError
from cnn.places import user_path
from cnn.progress import Progress

NAMED = (digits.SOURCE, tfds.SOURCE)
PATHS = (npz.SOURCE, folder.SOURCE)
# Asked in this order: mnist/a.npz has the form of a TFDS name, and is a path. A folder comes last, since a name that is
# both a folder here and a known data set means the data set.
SOURCES = (npz.SOURCE, *NAMED, folder.SOURCE)
_PHRASES = [source.accepts for source in (*NAMED, *PATHS)]
ACCEPTED = f"{', '.join(_PHRASES[:-1])}, or {_PHRASES[-1]}"


def load(
    name: str,
    *,
    image_size: tuple[int, ...] = (),
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    progress: Progress = Progress(),
) -> Dataset:
    """A data set by its name.

    Args:
        name: `digits` (see `cnn.data.sources.digits`), `NAME[/CONFIG][:VERSION]` of TensorFlow Datasets, the path of an
            `.npz` (see `cnn.data.sources.npz`), or the path of a folder of pictures (see `cnn.data.sources.folder`). A
            name that is both a data set and a folder means the data set; `./NAME` means the folder.
        image_size: (height, width) to which the pictures of a folder are resized; other data sets refuse it.
        data_dir: where TensorFlow Datasets keeps its data; by default `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
            A data set that is not prepared there is downloaded.
        cache_dir: where decoded arrays are kept; by default `cnn.data.cache.default_folder()`.
        progress: shows downloads and decoding.

    Raises:
        RequestError: the name is unknown, or the data is damaged or cannot be learnt from; one line says what would be
            accepted.
        OSError: a download failed; one line names it.

    Example:
        >>> digits = load("digits")
        >>> digits.image_shape, digits.class_names[:3], digits.largest_pixel
        ((8, 8, 1), ('0', '1', '2'), 16)
    """
    root = user_path("cache_dir", cache_dir) if cache_dir else cache.default_folder()
    options = Options(data_dir, image_size, progress, records.rooms(root))
    for source in SOURCES:
        entry = _found(source, name, options) if source.takes(name) else None
        if entry is None:
            continue
        content, mark = _read(name, entry, root, progress)
        if content.note:
            progress.line(f"{name}: {content.note}")
        white = largest_pixel(content) if entry.largest_pixel is None else entry.largest_pixel
        return Dataset(name, *content[:5], mark, entry.slug, white)
    _refuse_unknown(name)


def _read(name: str, entry: Entry, root: Path, progress: Progress) -> tuple[Content, str]:
    """The content of a data set and its fingerprint, from the cache where it is kept there."""
    try:
        if entry.key is None:
            content = entry.read()
            return content, fingerprint(content)
        content, mark = cache.load(root, entry.key, entry.read, progress, entry.reopen)
    except records.NoRoomError as error:
        fault = f"its decoded images take {error}, for which neither the memory nor cache_dir={str(root)!r} has room"
        accepted = "smaller, or have a cache_dir on a disk with twice that free"
        raise RequestError(f"dataset={name!r}: {fault}; must be {accepted}") from None
    parts = (content.train_images, content.test_images)
    for part in parts:
        if isinstance(part, records.Records):
            size = sum(each.nbytes for each in parts)
            no_room = f"no room for {size:,} bytes of images in memory or, twice, in {root}"
            progress.line(f"{name}: {no_room}; so {len(part):,} images are decoded whenever a step takes them")
    return content, mark


def _found(source: Source, name: str, options: Options) -> Entry | None:
    """What a source finds that takes the name. If a folder of that name is here too, a line says how to ask for it."""
    hidden = os.path.isdir(name) and source is not folder.SOURCE
    if options.image_size and not source.resizes and not hidden:
        _refuse_image_size(name, options)
    try:
        entry = source.find(name, options)
    except RequestError as error:
        raise RequestError(f"{error}; ./{name} is the folder here") if hidden else error from None
    if entry is not None and hidden:
        if options.image_size:
            _refuse_image_size(name, options)
        options.progress.line(f"{name} is the data set; ./{name} is the folder here")
    return entry


def _refuse_image_size(name: str, options: Options) -> NoReturn:
    size = ",".join(map(str, options.image_size))
    raise RequestError(
        f"image_size={size}: dataset={name!r} is no folder of pictures; must be given with such a folder alone"
    )


def base_name(name: str) -> str:
    """The data set's name without configuration and version; a path stays as it is.

    Example:
        >>> base_name("mnist:3.0.1"), base_name("emnist/letters"), base_name("mnist/some.npz")
        ('mnist', 'emnist', 'mnist/some.npz')
    """
    return next((source.base_name(name) for source in SOURCES if source.takes(name)), name)


def _refuse_unknown(name: str) -> NoReturn:
    known = [listed for source in SOURCES for listed in source.known()]
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)[0]
    of_no_form = not any(source.takes(name) for source in NAMED)
    forms = f" ({', '.join(source.forms for source in SOURCES if source.forms)})" if of_no_form else ""
    raise RequestError(f"dataset={name!r}: must be {ACCEPTED}{forms}; nearest: {nearest}")
