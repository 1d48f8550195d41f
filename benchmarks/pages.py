"""How long a sweep's page takes to be written and to be drawn by a browser, and how large it is.

    python -m benchmarks.pages
    python -m benchmarks.pages --seeds=7 --rounds=5

For each number of seeds, a sweep on digits runs to its end: 4 depths, 2 learning rates, 2 tuning seeds. So 7 seeds make
44 trials, and 246 make 1,000. Then the page is made and written, and headless Chromium opens the file. It is drawn when
every chart has its marks; the time counts from the order to open the file. The table has medians, the lowest and the
highest in brackets. It needs the extra [test], and Chromium on the path.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import report
from benchmarks.turns import Unavailable
from cnn.config import NetworkConfig, SweepConfig, TrainingConfig
from cnn.data import datasets
from cnn.show import page
from experiments import sweep_blocks
from experiments.command.experiment import Finished

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DEPTHS = (0, 1, 2, 3)
RATES = (1e-3, 3e-3)


def swept(seeds: int, epochs: int, folder: Path) -> Finished:
    """A finished sweep."""
    config = SweepConfig(
        blocks=DEPTHS,
        learning_rates=RATES,
        seeds=seeds,
        network=NetworkConfig(width=16),
        training=TrainingConfig(epochs=epochs),
    )
    return sweep_blocks.EXPERIMENT.run(config, datasets.load("digits"), folder)


def written(finished: Finished, rounds: int) -> list[float]:
    """The seconds to make the page and to write it, again and again."""
    seconds = []
    drawn = {path.stem: path.read_bytes() for path in finished.pictures}
    for _ in range(rounds):
        start = time.perf_counter()
        page.write(finished.report.page(sweep_blocks.EXPERIMENT.question, "command", drawn), finished.page)
        seconds.append(time.perf_counter() - start)
    return seconds


def drawn(path: Path, rounds: int) -> list[float]:
    """The seconds until a browser has drawn the page, each time in a new window of one browser.

    Raises:
        Unavailable: there is no browser, or nothing that drives it.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise Unavailable(f"needs the extra [test] ({error})") from error
    if found is None:
        raise Unavailable(f"none of {', '.join(BROWSERS)} is on the path")
    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for _ in range(rounds):
            window = browser.new_page()
            start = time.perf_counter()
            window.goto(path.absolute().as_uri())
            window.evaluate("page.drawn")
            seconds.append(time.perf_counter() - start)
            window.close()
        browser.close()
    return seconds


def main(options: flags.FlagValues) -> None:
    """Run the sweeps, measure, print the table, and write it where asked."""
    rows: list[dict[str, Any]] = []
    for seeds in map(int, options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            finished = swept(seeds, options.epochs, Path(folder))
            rows.append(
                {
                    "trials": len(finished.results.rows),
                    "megabytes": finished.page.stat().st_size / 1e6,
                    "written": written(finished, options.rounds),
                    "drawn": drawn(finished.page, options.rounds),
                }
            )
    cells = [
        {
            "trials": f"{row['trials']:,}",
            "MB": f"{row['megabytes']:.2f}",
            "written, s": report.spread(row["written"], 2),
            "drawn, s": report.spread(row["drawn"], 2),
        }
        for row in rows
    ]
    print(report.table(cells))
    settings = {"depths": DEPTHS, "rates": RATES, "epochs": options.epochs, "rounds": options.rounds}
    report.write(options.output, settings, {"pages": rows})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_list("seeds", "7,246", "numbers of seeds, each an integer", flag_values=options)
    flags.DEFINE_integer("epochs", 20, "epochs of each training", lower_bound=1, flag_values=options)
    flags.DEFINE_integer("rounds", 5, "times that a page is written and drawn", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
