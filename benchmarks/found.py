"""What the recorded sweeps found: the table of README.md, and a page for each study.

    python -m benchmarks.found                                             # prints the table
    python -m benchmarks.found --add=runs/sweep_blocks/... --to=mnist/macs  # keeps a finished sweep
    python -m benchmarks.found --write                                     # puts the table into README.md, writes pages

A folder `docs/results/STUDY/SWEEP` holds what a finished sweep left: its settings, its answer, its trials and its
picture. The table has a row for each of them. A depth's rank is to be believed when ten or
more seeds stand behind it, when no best learning rate lies at the edge of the grid, and when the same sweep with twice
the epochs finds the same. The last three columns say so. `benchmarks.found_pages` writes each study's page.
"""

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from absl import flags

from benchmarks import found_pages, report
from cnn.config import MATCHES, NetworkConfig, SweepConfig
from cnn.study.answer import Depth
from cnn.study.swept import Swept, swept_in

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
README = ROOT / "README.md"
KEPT = ("config.json", "answer.json", "results.csv", "accuracy_vs_blocks.png")
BEGIN = "<!-- printed by benchmarks.found -->\n"
END = "\n<!-- end -->"

DATA = {"digits": "scikit-learn's digits", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
MATCHED = {"width": "width", "parameters": "parameters", "macs": "multiply-accumulates"}


def recorded(folder: Path) -> list[Swept]:
    """The finished sweeps in a folder of results: study by study, the usual head and equal widths first.

    Raises:
        RequestError: a folder there does not hold a finished sweep.
    """
    sweeps = [swept_in(path.parent) for path in folder.glob("*/*/config.json")]
    return sorted(sweeps, key=_place)


def _place(swept: Swept) -> tuple[object, ...]:
    own = swept.config
    network = own.network
    usual = NetworkConfig()
    unusual = (network.normalization != usual.normalization, network.head != usual.head, MATCHES.index(own.match))
    return swept.folder.parent.name, own.dataset, *unusual, own.training.epochs, own.validation_fraction


def add(folder: Path, to: Path) -> None:
    """Keep a finished sweep: four small files of its work folder, without what names this machine's folders and host.

    Args:
        folder: the sweep's work folder.
        to: `docs/results/STUDY/SWEEP`; what is there is replaced.

    Raises:
        RequestError: the folder does not hold a finished sweep.
    """
    swept_in(folder)
    to.mkdir(parents=True, exist_ok=True)
    for name in KEPT[1:]:
        shutil.copyfile(folder / name, to / name)
    settings = json.loads((folder / KEPT[0]).read_text())
    provenance = settings["provenance"]
    provenance.pop("host")
    provenance["command"] = _portable(provenance["command"])
    (to / KEPT[0]).write_text(json.dumps(settings, indent=2) + "\n")


def _portable(command: str) -> str:
    """A command without the folders of the machine where it ran."""
    _, *arguments = shlex.split(command)
    return shlex.join(["python", *(each for each in arguments if not each.startswith(("--workdir=", "--data_dir=")))])


def rows(sweeps: Sequence[Swept]) -> list[dict[str, str]]:
    """A row of the table for each sweep."""
    return [_row(swept, sweeps) for swept in sweeps]


def _row(swept: Swept, sweeps: Sequence[Swept]) -> dict[str, str]:
    best = swept.answer.best
    if best is None:
        raise ValueError(f"{swept.folder}: recommends no depth")
    network = swept.config.network
    return {
        "data": DATA.get(swept.config.dataset, swept.config.dataset) + _share(swept.config),
        "equal": MATCHED[swept.config.match],
        "normalisation": network.normalization,
        "head": network.head,
        "epochs": str(swept.config.training.epochs),
        "use": f"**{best.blocks} block{'s' * (best.blocks != 1)}**",
        "test accuracy": _accuracy(best),
        "also fine": ", ".join(map(str, swept.answer.indistinguishable)) or "-",
        "picks": "-" if best.pick_share is None else f"{best.pick_share:.0%}",
        "n": str(best.summary.n),
        "rates": _rates(swept),
        "longer": _longer(swept, sweeps),
    }


def _share(config: SweepConfig) -> str:
    """The share of the training images that learn, where it is not the usual one."""
    usual = SweepConfig().validation_fraction
    share = 1 - config.validation_fraction
    return "" if config.validation_fraction == usual else f", {share:.0%} of the images"


def _accuracy(depth: Depth) -> str:
    test = depth.summary.test
    if test.mean is None or test.low is None or test.high is None:
        raise ValueError(f"{depth.blocks} blocks: an interval takes two seeds or more")
    return f"{100 * test.mean:.2f} % ({100 * test.low:.2f} to {100 * test.high:.2f})"


def _rates(swept: Swept) -> str:
    """Whether every depth's best learning rate lies inside the grid."""
    grid = swept.answer.learning_rates
    if len(grid) < 2:
        return "one"
    edges = {grid[0], grid[-1]}
    at_edge = [depth.blocks for depth in swept.answer.depths if depth.summary.learning_rate in edges]
    return f"edge at {', '.join(map(str, at_edge))}" if at_edge else "inside"


def _longer(swept: Swept, sweeps: Sequence[Swept]) -> str:
    """The depth that the same sweep of at least twice the epochs recommends."""
    own = swept.config
    for other in sweeps:
        epochs = other.config.training.epochs
        same = replace(own, training=replace(own.training, epochs=epochs), seeds=other.config.seeds) == other.config
        if same and epochs >= 2 * own.training.epochs:
            return f"{other.answer.recommended} at {epochs}"
    return "-"


def with_table(text: str, table: str) -> str:
    """A text whose table between the marks is this one.

    Example:
        >>> with_table(f"a\\n{BEGIN}old{END}\\nb", "new") == f"a\\n{BEGIN}new{END}\\nb"
        True
    """
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{table}{END}{after}"


def main(options: flags.FlagValues) -> None:
    """Keep a sweep; or print the table, or put it into README.md and write the pages."""
    if options.add:
        add(Path(options.add), RESULTS / options.to)
        return
    sweeps = recorded(RESULTS)
    table = report.table(rows(sweeps))
    if not options.write:
        print(table)
        return
    README.write_text(with_table(README.read_text(), table))
    for study, page in found_pages.pages(sweeps).items():
        (RESULTS / study / found_pages.NAME).write_text(page)


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_bool("write", False, "put the table into README.md, and write the pages", flag_values=options)
    flags.DEFINE_string("add", None, "work folder of a finished sweep to keep", flag_values=options)
    flags.DEFINE_string("to", None, "STUDY/SWEEP under which it is kept", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
