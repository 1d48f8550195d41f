"""How long a folder of pictures takes to load: the first time, when each picture is decoded, and from the cache.

    TFDS_DATA_DIR=... python -m benchmarks.folder_of_pictures --dataset=mnist --pictures=50000

Training images of a data set are written as PNG files into a temporary folder, which has a folder for each class. Each
load is a process of its own, and its seconds are those of `datasets.load`, after the imports. A first load finds an
empty cache, a next load finds the arrays. The files are in the system's file cache, since they have just been written.
The table has the median, the lowest and the highest in brackets.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import processes, report
from cnn.data import datasets

LOAD = """
import json, sys, time
from cnn.data import datasets
before = time.perf_counter(), time.process_time()
found = datasets.load(sys.argv[1], cache_dir=sys.argv[2])
after = time.perf_counter(), time.process_time()
print(json.dumps([after[0] - before[0], after[1] - before[1], len(found.train_images) + len(found.test_images)]))
"""


def write_pictures(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write each image as `FOLDER/LABEL/NUMBER.png`."""
    from PIL import Image

    for label in np.unique(labels):
        (folder / str(label)).mkdir()
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image.squeeze()).save(folder / str(label) / f"{number:06}.png")


def measure(folder: Path, pictures: int, rounds: int) -> list[dict[str, Any]]:
    """A row for the first load and one for the next: seconds and processor seconds of `datasets.load` in each round."""
    first: list[list[float]] = []
    next: list[list[float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for loads in (first, next):
                *seconds, count = json.loads(processes.python("-c", LOAD, str(folder), cache).output)
                if count != pictures:
                    raise ValueError(f"{count} pictures loaded, {pictures} written")
                loads.append(seconds)
    return [
        {"load": name, "seconds": [wall for wall, _ in loads], "processor_seconds": [used for _, used in loads]}
        for name, loads in {"first": first, "next": next}.items()
    ]


def main(options: flags.FlagValues) -> None:
    """Write the pictures, measure, print the table, and write it where asked."""
    source = datasets.load(options.dataset)
    images = source.train_images[: options.pictures]
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), images, source.train_labels[: options.pictures])
        rows = measure(Path(folder), len(images), options.rounds)
    shown = [
        {
            "load": row["load"],
            "seconds": report.spread(row["seconds"], 2),
            "processor seconds": report.spread(row["processor_seconds"], 2),
        }
        for row in rows
    ]
    shape = "x".join(map(str, source.image_shape))
    print(f"{report.table(shown)}\n\n{len(images):,} pictures of {shape}, {options.rounds} rounds")
    settings = {"dataset": options.dataset, "pictures": len(images), "rounds": options.rounds}
    report.write(options.output, settings, {"rows": rows})


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_string("dataset", "mnist", "data set whose training images are written", flag_values=options)
    flags.DEFINE_integer("pictures", 50_000, "at most so many pictures", lower_bound=100, flag_values=options)
    flags.DEFINE_integer("rounds", 5, "loads of each kind", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
