"""Does the answer depend on the data?

    python -m experiments.compare runs/sweep_blocks/digits-1f0e2a3b runs/sweep_blocks/mnist-5c6d7e8f
    python -m experiments.compare --page=compared.html DIR DIR DIR

Puts finished sweeps side by side, each named by its work folder: of several data sets, widths, ways to match costs, or
whatever else differs. Says what each sweep recommends and why, how every depth stands in every sweep, and whether the
sweeps show that no one number of blocks does for all of them. It trains nothing. --page writes an HTML page too, with
charts in which sweeps can be hidden.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from cnn.config import setting
from cnn.errors import RequestError, require, require_switch
from cnn.places import user_path
from cnn.show import page
from cnn.show.across_page import across_page
from cnn.study import across_words
from cnn.study.across import Across, across
from cnn.study.swept import swept_in
from experiments.command import leave
from experiments.command.experiment import Tool
from experiments.command.run import run_tool


@dataclass(frozen=True)
class Options:
    """What the command takes."""

    folders: tuple[str, ...] = ()
    json: bool = setting(False, "print JSON instead of tables")
    page: str = setting("", "an HTML file to write, in a folder that exists ('': none)")

    def __post_init__(self) -> None:
        require_switch("json", self.json)
        if len(self.folders) < 2:
            raise RequestError(f"folders={self.folders}: must name at least two finished folders of sweep_blocks")

    def paths(self) -> list[Path]:
        """The folders, each a different one.

        Raises:
            RequestError: a folder is named twice, whatever the way to it.
        """
        paths = [user_path("folders", folder) for folder in self.folders]
        places: dict[Path, Path] = {}
        for path in paths:
            try:
                place = path.resolve()
            except (OSError, RuntimeError, ValueError) as error:  # a circle of links, or a name that no path has
                raise RequestError(f"folder={str(path)!r}: must be a folder ({error})") from None
            if place in places:
                same = str(places[place])
                raise RequestError(f"folder={str(path)!r}: must be named once, and is the same as {same!r}")
            places[place] = path
        return paths

    def page_path(self) -> Path | None:
        """The HTML file to write; None where none is asked for.

        Raises:
            RequestError: there can be no such file.
        """
        if not self.page:
            return None
        path = user_path("page", self.page)
        fits = path.suffix == ".html" and self.page.isprintable()
        require(fits, "page", self.page, "a file of printable name that ends with .html")
        try:
            there = path.parent.is_dir() and not path.is_dir()
        except OSError as error:  # such as a name that is too long
            raise RequestError(f"page={self.page!r}: must be a file that can be written ({error.strerror})") from None
        require(there, "page", self.page, "a file in a folder that exists")
        return path

    def command(self) -> str:
        """The command line with these values."""
        flags = [*(["--json"] if self.json else []), *([f"--page={self.page}"] if self.page else [])]
        end = ["--"] if any(folder.startswith("-") for folder in self.folders) else []  # of the flags
        return shlex.join(["python", "-m", "experiments.compare", *flags, *end, *self.folders])


TOOL = Tool(name="compare", doc=__doc__, options=Options, arguments="folders")


def main(options: Options) -> int:
    """Print the sweeps side by side, and write their page where one is asked for."""
    path = options.page_path()
    found = across([swept_in(folder) for folder in options.paths()])
    if path is not None:
        page.write(across_page(found, TOOL.question, options.command()), path)
    if options.json:
        return leave.say(as_json(found))
    return leave.say("\n".join([as_text(found), *([f"Page: {path}"] if path else [])]))


def as_json(found: Across) -> str:
    """The sweeps as JSON, with the sentence that the command ends with."""
    return json.dumps(across_words.plain(found), indent=2)


def as_text(found: Across) -> str:
    """The tables, what they mean, and the answer in a sentence."""
    return "\n\n".join([across_words.tables(found), across_words.explained(found), across_words.sentence(found)])


if __name__ == "__main__":
    run_tool(TOOL, main)
