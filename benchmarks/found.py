"""What the recorded studies found: the table of README.md, and a page for each study.

    python -m benchmarks.found                                             # prints the table
    python -m benchmarks.found --add=runs/sweep_blocks/... --to=mnist/macs  # keeps a finished study
    python -m benchmarks.found --write                                     # puts the table into README.md, writes pages

`benchmarks.found_records` keeps a study in `docs/results`, and `benchmarks.found_pages` writes each study's page. The
table has a row for each sweep. A recommended depth is to be believed when ten or more seeds stand behind it, when no
best learning rate lies at the edge of the grid, and when the same sweep with at least twice the epochs recommends it
too. The last three columns say so.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from absl import flags

from benchmarks import found_pages, found_records, report
from benchmarks.found_records import RESULTS
from cnn.config import SweepConfig
from cnn.study.answer import Depth
from cnn.study.swept import Swept

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN = "<!-- printed by benchmarks.found -->\n"
END = "\n<!-- end -->"

# In the order of the table; other data sets follow.
DATA = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "digits": "scikit-learn's digits"}
MATCHED = {"width": "width", "parameters": "parameters", "macs": "multiply-accumulates"}


def rows(sweeps: Sequence[Swept]) -> list[dict[str, str]]:
    """A row of the table for each sweep, in the order of `DATA`; sweeps of other data sets follow by name."""
    return [_row(swept, sweeps) for swept in sorted(sweeps, key=_place)]


def _place(swept: Swept) -> tuple[int, str]:
    names = list(DATA)
    name = swept.config.dataset
    return (names.index(name), "") if name in names else (len(names), name)


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
        "not told apart": ", ".join(map(str, swept.answer.indistinguishable)) or "-",
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
    """The depth that the same sweep recommends with at least twice the epochs, and as few of those as there are."""
    own = swept.config
    found: dict[int, int | None] = {}
    for other in sweeps:
        epochs = other.config.training.epochs
        same = replace(own, training=replace(own.training, epochs=epochs), seeds=other.config.seeds) == other.config
        if same and epochs >= 2 * own.training.epochs:
            found[epochs] = other.answer.recommended
    return f"{found[min(found)]} at {min(found)}" if found else "-"


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
    """Keep a study; or print the table, or put it into README.md and write the pages."""
    if options.add:
        found_records.add(Path(options.add), RESULTS, options.to)
        return
    records = found_records.recorded(RESULTS)
    table = report.table(rows([record for record in records if isinstance(record, Swept)]))
    if not options.write:
        print(table)
        return
    README.write_text(with_table(README.read_text(), table))
    for study, page in found_pages.pages(records).items():
        (RESULTS / study / found_pages.NAME).write_text(page)


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_bool("write", False, "put the table into README.md, and write the pages", flag_values=options)
    flags.DEFINE_string("add", None, "work folder of a finished study to keep", flag_values=options)
    flags.DEFINE_string("to", None, "STUDY/NAME under which it is kept", flag_values=options)
    flags.register_multi_flags_validator(
        ["add", "to"],
        lambda given: (given["add"] is None) == (given["to"] is None),
        "both must be given, or neither",
        flag_values=options,
    )


if __name__ == "__main__":
    report.run(main, define_flags)
