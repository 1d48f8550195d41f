"""Which pictures a folder holds, by part and class, before any is opened.

Hidden files and folders are left out. So are files that have no picture's suffix, links that lead out of the folder or
nowhere, and what is no regular file; a listing counts them.

Example:
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for path in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", "dog/.hidden.png", "dog/notes.txt"):
    ...     (root / path).parent.mkdir(exist_ok=True)
    ...     (root / path).touch()
    >>> found = listed("pets", root)
    >>> found.classes, [Path(path).name for path in found.parts[""]["dog"]], found.left_out()
    (['cat', 'dog'], ['1.png', '2.png'], " (left out: 1 without a picture's suffix, such as 'dog/notes.txt')")
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cnn.errors import refuse_dataset

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PARTS = ("train", "test")
LAYOUT = "FOLDER/CLASS/PICTURE, or FOLDER/train/CLASS/PICTURE and FOLDER/test/CLASS/PICTURE"
_OUTSIDE = "behind a link that leads out of the folder"
_NOWHERE = "behind a link that leads nowhere"
_LOOSE = "beside the class folders"
_IRREGULAR = "that is no regular file"
_OTHER = "without a picture's suffix"


@dataclass
class Listing:
    """The pictures of a folder, before any is opened.

    Attributes:
        root: the folder, without links in its path.
        parts: for each part (`""` is a whole folder without parts) the classes, and the paths of each class's pictures.
        skipped: what was left out, by reason.
        key: identifies the pictures: the paths, sizes and times of all of them.
    """

    root: Path
    parts: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    key: str = ""

    def shown(self, entry: os.DirEntry[str]) -> str:
        """The path of an entry inside the folder."""
        return entry.path[len(str(self.root)) + 1 :]

    def skip(self, reason: str, entry: os.DirEntry[str]) -> None:
        """Leave an entry out."""
        self.skipped.setdefault(reason, []).append(self.shown(entry))

    @property
    def classes(self) -> list[str]:
        """The sorted names of the classes."""
        return list(next(iter(self.parts.values())))

    def left_out(self) -> str:
        """What was left out, in brackets that follow a sentence; an empty text where nothing was."""
        said = [f"{len(paths):,} {reason}, such as {paths[0]!r}" for reason, paths in self.skipped.items()]
        return f" (left out: {'; '.join(said)})" if said else ""


def listed(name: str, root: Path) -> Listing:
    """The pictures of a folder, of which none is opened.

    Args:
        name: the data set's name, for messages.
        root: the folder.

    Raises:
        RequestError: the folder has another layout, a class has fewer than two pictures, or there are not two classes.
    """
    listing = Listing(root.resolve())
    digest = hashlib.sha256(os.fsencode(listing.root))
    entries = list(_entries(listing, listing.root))
    if {entry.name for entry in entries if entry.is_dir()}.issuperset(PARTS):
        for part in PARTS:
            folders = _entries(listing, listing.root / part)
            listing.parts[part] = _classes(name, listing, folders, digest.update)
        for entry in entries:
            if entry.name not in PARTS:
                listing.skip(_LOOSE, entry)
    else:
        listing.parts[""] = _classes(name, listing, entries, digest.update)
    listing.key = digest.hexdigest()[:12]
    _require_learnable(name, listing)
    return listing


def _classes(
    name: str, listing: Listing, folders: Iterable[os.DirEntry[str]], note: Callable[[bytes], None]
) -> dict[str, list[str]]:
    """The classes of a part, and each class's pictures."""
    classes = {}
    for folder in folders:
        if not folder.is_dir():
            listing.skip(_LOOSE, folder)
            continue
        if not folder.name.isprintable():  # tables and messages show it
            refuse_dataset(name, f"the class folder {folder.name!r}", "of printable name")
        classes[folder.name] = list(_pictures(name, listing, folder, note))
    return classes


def _pictures(name: str, listing: Listing, folder: os.DirEntry[str], note: Callable[[bytes], None]) -> Iterator[str]:
    """The pictures of a class; `note` is told the path, the size and the times of each."""
    for entry in _entries(listing, folder):
        if entry.is_dir():
            refuse_dataset(name, f"{listing.shown(entry)!r} is a folder in a class folder{listing.left_out()}", LAYOUT)
        if not entry.is_file():
            listing.skip(_IRREGULAR, entry)
        elif not entry.name.lower().endswith(SUFFIXES):
            listing.skip(_OTHER, entry)
        else:
            status = entry.stat()
            # A program can restore the time of the last write; the time of the inode's last change tells on it.
            times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
            note(os.fsencode(f"\n{listing.shown(entry)}\n{status.st_size} {times}"))
            yield entry.path


def _entries(listing: Listing, folder: os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, sorted by name, without hidden entries and without links that lead out or nowhere."""
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        reason = _astray(listing, entry) if entry.is_symlink() else None
        if reason:
            listing.skip(reason, entry)
        else:
            yield entry


def _astray(listing: Listing, link: os.DirEntry[str]) -> str | None:
    """Why a link is not followed; None where it leads to something inside the folder."""
    target = Path(os.path.realpath(link.path))
    if not target.is_relative_to(listing.root):
        return _OUTSIDE
    return None if target.exists() else _NOWHERE


def _require_learnable(name: str, listing: Listing) -> None:
    """Refuse what cannot be learnt from."""
    left_out = listing.left_out()
    learnt = next(iter(listing.parts.values()))
    where = f" in {PARTS[0]}" if len(listing.parts) == 2 else ""
    if len(learnt) < 2:
        found = f"only the class {listing.classes[0]!r}" if learnt else "no class folders"
        refuse_dataset(name, f"has {found}{where}{left_out}", f"at least 2 classes, as {LAYOUT}")
    few = [label for label, pictures in learnt.items() if len(pictures) < 2]
    if few:
        more = f", and {len(few) - 1} more classes have fewer than 2" if few[1:] else ""
        found = f"the class {few[0]!r} has {len(learnt[few[0]])} pictures{where}{more}{left_out}"
        refuse_dataset(name, found, f"at least 2 for each class; their names end with {', '.join(SUFFIXES)}")
    tested = listing.parts.get("test", learnt)
    unknown = [label for label in tested if label not in learnt]
    if unknown:
        more = f", and {len(unknown) - 1} more," if unknown[1:] else ""
        refuse_dataset(
            name, f"the class {unknown[0]!r}{more} is in test and not in train", "classes that occur in train"
        )
    if not any(tested.values()):
        refuse_dataset(name, f"has no pictures in test{left_out}", "at least one")
