"""Which class does a trained network see in your pictures?

    python -m experiments.predict --workdir=DIR picture.png folder_of_pictures

DIR is a folder of `train`, or of `sweep_blocks`, whose recommended depth answers. Names the three likeliest classes of
each picture, with their probabilities. A picture is stretched to the size that the network learned from, and becomes
grey or coloured as the network wants. The network takes light on dark or dark on light as its own images were:
`--invert` exchanges both.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from cnn.config import setting
from cnn.errors import RequestError, printable, require_switch
from cnn.places import user_path
from cnn.progress import automatic
from cnn.study.chosen import trained_in
from cnn.trained import predict
from cnn.trained.network import Trained
from cnn.trained.predict import LIKELIEST, Prediction
from experiments.command import leave
from experiments.command.experiment import Tool
from experiments.command.run import run_tool


@dataclass(frozen=True)
class Options:
    """What the command takes."""

    images: tuple[str, ...] = ()
    workdir: str = setting("", "folder of train, or of sweep_blocks, that holds the trained network")
    invert: bool = setting(False, "exchange dark and light")
    json: bool = setting(False, "print JSON instead of a table")

    def __post_init__(self) -> None:
        require_switch("invert", self.invert)
        require_switch("json", self.json)
        if not self.workdir:
            raise RequestError("workdir='': must be a folder of train or of sweep_blocks (--workdir=DIR)")
        if not self.images:
            raise RequestError("images=(): must name at least one picture or a folder of pictures")


TOOL = Tool(name="predict", doc=__doc__, options=Options, arguments="images")


def main(options: Options) -> int:
    """Print the answer for each picture; a file that cannot be read is a line, and the status says so."""
    trained = trained_in(user_path("workdir", options.workdir))
    progress = automatic()
    paths = predict.picture_files(map(Path, options.images), progress)
    if not paths:
        raise RequestError(f"images={options.images}: must hold a picture")
    answers = list(predict.predict(trained, paths, invert=options.invert, progress=progress))
    printed = leave.say(as_json(answers) if options.json else as_text(trained, answers))
    problems = [answer for answer in answers if answer.problem]
    for answer in problems:
        leave.tell_error(f"{answer.path}: {answer.problem}")
    return leave.FAILED if problems else printed


def as_json(answers: list[Prediction]) -> str:
    """The answers as a JSON list: of each file its classes with their probabilities, or its problem."""
    return json.dumps([_plain(answer) for answer in answers], indent=2)


def _plain(answer: Prediction) -> dict[str, object]:
    if answer.problem is not None:
        return {"file": str(answer.path), "problem": answer.problem}
    likeliest = [{"class": likely.name, "probability": round(likely.probability, 6)} for likely in answer.likeliest]
    return {"file": str(answer.path), "likeliest": likeliest}


def as_text(trained: Trained, answers: list[Prediction]) -> str:
    """Which network answers, and a table of its answers."""
    rows = [
        [
            printable(str(answer.path)),
            *(f"{printable(likely.name)} {100 * likely.probability:.1f} %" for likely in answer.likeliest),
        ]
        for answer in answers
        if answer.problem is None
    ]
    count = min(LIKELIEST, len(trained.class_names))
    heads = ["picture", *["likeliest", "then", "then"][:count]]
    table = tabulate(rows, heads, disable_numparse=True) if rows else "no picture could be read"
    return f"{trained.words}\n\n{table}"


if __name__ == "__main__":
    run_tool(TOOL, main)
