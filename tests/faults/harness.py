"""Real runs in child processes, what is done to them, and whether what they leave is the same to the bit."""

import dataclasses
import itertools
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orbax.checkpoint as ocp
import pandas as pd

TRAIN = (
    "train",
    *("--epochs=3", "--batch_size=256", "--width=4", "--hidden=8", "--dropout=0.2", "--shift=1", "--flip"),
    *("--validation_fraction=0.1", "--learning_rate=3e-3", "--checkpoint_seconds=0"),
)
SWEEP = (
    "sweep_blocks",
    *("--epochs=2", "--batch_size=512", "--width=4", "--hidden=8", "--dropout=0.2", "--shift=1"),
    *("--blocks=0,1", "--learning_rates=1e-3,1e-2", "--seeds=2", "--tuning_seeds=1", "--checkpoint_seconds=0"),
)
# What each writes last:
LAST = {"train": "report.html", "sweep_blocks": "report.html"}
# What a child does before it becomes the run. No file grows beyond so many bytes, as on a full disk:
SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
# Root too may read and write only where permissions allow it (PR_CAPBSET_DROP of CAP_DAC_OVERRIDE, _DAC_READ_SEARCH):
OBEDIENT = "import ctypes; os.geteuid() or [ctypes.CDLL(None).prctl(24, right, 0, 0, 0) for right in (1, 2)]"


STARTED = []  # by the test that runs now


def start(run, folder, *flags, compiled, first="", **options):
    """The experiment in a child process that writes into a folder; warnings are errors there too."""
    name, *given = run
    where = (f"--workdir={folder}", f"--compiled_dir={compiled}")
    arguments = [sys.executable, "-W", "error", "-m", f"experiments.{name}", *given, *where, *flags]
    if first:
        begin = f"import os, sys; {first}; os.execv(sys.argv[1], sys.argv[1:])"
        arguments = [sys.executable, "-W", "error", "-c", begin, *arguments]
    environment = {key: value for key, value in os.environ.items() if key not in ("TFDS_DATA_DIR", "PYTHONPATH")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(arguments, env=environment, **pipes, **options)
    STARTED.append(process)
    return process


def mostly_evaluation(folder):
    """A training of two steps, then an evaluation of 29,700 validation images; its data set lies in the folder."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (30_000, 32, 32, 1), dtype=np.uint8)
    labels = random.integers(0, 10, 30_000)
    arrays = {"x_train": images, "y_train": labels, "x_test": images[:100], "y_test": np.arange(100) % 10}
    np.savez(folder / "many.npz", **arrays)
    flags = ("--blocks=0", "--hidden=12288", "--batch_size=256", "--validation_fraction=0.99", "--epochs=2")
    return ("train", f"--dataset={folder / 'many.npz'}", *flags, "--checkpoint_seconds=3600")


def end_all():
    """End the children that a failed test has left, so that it disturbs no other test."""
    while STARTED:
        with STARTED.pop() as process:  # the end of the block closes its pipes and waits for it
            process.kill()


def finish(process, status=0):
    """Wait for a child that must end with a status; its output and its errors."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    return out, err


def is_time(name):
    """Whether a value of this name depends on how long something took."""
    return "second" in name or name == "share_of_matrix_product"


def timeless(result):
    """A trial's result without what depends on how long something took."""
    names = [field.name for field in dataclasses.fields(result)]
    return dataclasses.replace(result, **dict.fromkeys(filter(is_time, names)))


def without_seconds(value):
    """JSON without what may differ: times and rates, the seal of a file with them, and what made it."""
    if isinstance(value, dict):
        kept = {name: part for name, part in value.items() if name not in ("provenance", "seal")}
        return {name: without_seconds(part) for name, part in kept.items() if not is_time(name)}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def parameters(folder):
    """Every array of the newest checkpoint, and its number of steps."""
    steps = max(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    state = ocp.StandardCheckpointer().restore(folder.absolute() / str(steps) / "state")
    return steps, state


def content(path):
    """What a file holds, without seconds."""
    if path.suffix == ".json":
        return without_seconds(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [without_seconds(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        table = pd.read_csv(path)
        return table[[name for name in table.columns if not is_time(name)]].to_dict("records").__repr__()
    if path.suffix == ".html":  # a page also names its folder and its command, and shows seconds in charts
        text = path.read_text()
        assert text.endswith("</html>\n") or text.endswith("</html>")
        data = text.partition('id="data">')[2].partition("</script>")[0]
        return without_seconds(json.loads(data))
    return path.read_bytes()


def files(folder):
    """The files of a run that must be alike, by their names in its folder."""
    named = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    kept = {str(path.relative_to(folder)): path for path in named if "checkpoints" not in path.parts}
    return {name: path for name, path in kept.items() if path.suffix != ".png"}  # a picture shows seconds


def assert_same(folder, whole):
    """Two runs left the same files, with the same content to the bit, but for seconds; and nothing half-written."""
    left = files(folder)
    right = files(whole)
    assert left.keys() == right.keys()
    for name, path in left.items():
        assert content(path) == content(right[name]), name
    if (whole / "checkpoints").exists():
        steps, state = parameters(folder / "checkpoints")
        whole_steps, whole_state = parameters(whole / "checkpoints")
        assert steps == whole_steps
        left = dict(leaves(state))
        right = dict(leaves(whole_state))
        assert left.keys() == right.keys() and len(left) > 10
        for name, value in left.items():
            np.testing.assert_array_equal(value, right[name], err_msg=name)
    elif (folder / "trials").exists():
        assert not list(folder.glob("trials/*/checkpoints/*.orbax*"))


def leaves(tree, prefix=""):
    """The arrays of a nested dict or list, by their paths."""
    if isinstance(tree, (dict, list, tuple)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for name, value in items:
            yield from leaves(value, f"{prefix}/{name}")
    elif tree is not None:
        yield prefix, np.asarray(tree)


class Kill(NamedTuple):
    """What was there when a process was killed: checkpoints that it had written itself, and where it had come to."""

    own: int
    phase: str


def saved(folder):
    """The checkpoints in a folder, those of its trials too."""
    walked = os.walk(folder)  # which passes over what is removed meanwhile
    kept = [(parent, names) for parent, names, _ in walked if os.path.basename(parent) == "checkpoints"]
    return {f"{parent}/{name}" for parent, names in kept for name in names if name.isdecimal()}


class Delays:
    """Kills after random delays: one in four from the start on, the others from a random checkpoint of its own on."""

    def __init__(self, seed, seconds):
        self.random = random.Random(seed)
        self.seconds = seconds

    def wait(self, process, folder, compiled):
        """Return when it is time to kill, with the phase that was reached."""
        there = saved(folder)
        own = set()
        early = self.random.random() < 0.25
        wanted = 0 if early else self.random.randint(1, 6)
        while process.poll() is None and len(own) < wanted:
            own |= saved(folder) - there
            time.sleep(0.002)
        end = time.monotonic() + self.random.uniform(0, self.seconds if early else 0.1)
        while process.poll() is None and time.monotonic() < end:
            own |= saved(folder) - there
            time.sleep(0.002)
        return Kill(len(own), "random")


class Writes:
    """Kills at the moment a file is being written: at a random one of the next temporary names to appear."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def wait(self, process, folder, compiled):
        """Return when it is time to kill, with the phase that was reached."""
        sightings = self.random.randint(1, 12)
        seen = set()
        there = saved(folder)
        while process.poll() is None and len(seen) < sightings:
            for parent, folders, names in os.walk(folder):
                half = [name for name in (*folders, *names) if "orbax-checkpoint-tmp" in name or len(name) > 34]
                seen.update(f"{parent}/{name}" for name in half)
        return Kill(len(saved(folder) - there), "write")


class Compiles:
    """Kills while the first program is compiled: the network's table is printed, and nothing compiled is kept yet."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def wait(self, process, folder, compiled):
        """Return when it is time to kill, with the phase that was reached."""
        select.select([process.stdout], [], [], 120)
        end = time.monotonic() + self.random.uniform(0, 0.3)
        while process.poll() is None and time.monotonic() < end and not list(compiled.glob("*-cache")):
            time.sleep(0.002)
        printed = bool(select.select([process.stdout], [], [], 0)[0])
        nothing_kept = not list(compiled.glob("*-cache"))
        phase = "compile" if printed and nothing_kept else "other"
        return Kill(len(saved(folder)), phase)


def kill_until_done(run, folder, compiled, when, kills):
    """SIGKILL a run again and again, then let it finish; the kills that hit a process with work left to do."""
    hits = []
    while len(hits) < kills and not (folder / LAST[run[0]]).exists():
        process = start(run, folder, compiled=compiled)
        kill = when.wait(process, folder, compiled)
        process.kill()
        _, err = process.communicate(timeout=60)
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0, err
            return hits
        hits.append(kill)
    finish(start(run, folder, compiled=compiled))
    return hits


def survive(run, tmp_path, whole, compiled, when, kills):
    """Kill so often in all, in as many folders as that takes; each must end as the untouched run did. The kills."""
    landed = []
    empty = 0
    for number in itertools.count():
        folder = Path(tmp_path) / f"killed-{number}"
        hits = kill_until_done(run, folder, compiled, when, kills - len(landed))
        assert_same(folder, whole)
        landed += hits
        if len(landed) == kills:
            return landed
        empty = 0 if hits else empty + 1
        assert empty < 5, f"{empty} runs one after another ended before a kill: {len(landed)} of {kills} kills"


class Stop(NamedTuple):
    """A stop of a process with work left to do: by which signal, when, and how long the process took to leave."""

    number: int
    phase: str  # what the process had come to: begun, opened its work folder, or trained an epoch
    saved: bool  # whether it left a checkpoint; else it left at once
    seconds: float


STOPS = {signal.SIGINT: "interrupted", signal.SIGTERM: "interrupted", signal.SIGHUP: "the terminal was closed"}


def handles(process, number=signal.SIGTERM):
    """Whether a process handles a signal by now; before, the signal ends it as it would end any other program."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def opened(process, folder, since):
    """Whether a process has its work folder."""
    try:
        return json.loads((folder / ".writer.json").read_text())["process"] == process.pid
    except (FileNotFoundError, ValueError):
        return False


def trained(process, folder, since):
    """Whether a process has trained an epoch, of any trial."""
    return any(os.stat(path).st_mtime > since for path in folder.rglob("metrics.jsonl"))


PHASES = {"begun": lambda *_: True, "opened": opened, "trained": trained}


def wait_for(process, condition):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def interrupted(err, number=signal.SIGTERM):
    """The command that the one line of a stopped run names; progress may say lines of its own before it."""
    *before, line = err.splitlines()
    said, _, command = line.partition("; this continues: ")
    assert said == STOPS[number] and not any("Traceback" in line or "ignored" in line for line in before), err
    return command


def stop_until_done(run, folder, compiled, random, seconds, stops, stopped):
    """Stop a run again and again at random moments, then let it finish; add the stops that met work left to do.

    The signals take turns. One stop in four comes within `seconds` of the start, one within `seconds` after the run
    has its work folder, and two after its first epoch.
    """
    while len(stopped) < stops and not (folder / LAST[run[0]]).exists():
        number = list(STOPS)[len(stopped) % len(STOPS)]
        phase = random.choice(["begun", "opened", "trained", "trained"])
        since = time.time()
        process = start(run, folder, compiled=compiled)
        while not handles(process):
            time.sleep(0.002)
        while process.poll() is None and not PHASES[phase](process, folder, since):
            time.sleep(0.002)
        end = time.monotonic() + random.uniform(0, seconds)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        ended = (folder / LAST[run[0]]).exists()
        there = saved(folder)
        sent = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        took = time.monotonic() - sent
        if ended and process.returncode == 0:
            break
        assert process.returncode == 128 + number, f"a stop was lost: status {process.returncode} after {number}: {err}"
        interrupted(err, number)
        if not ended:
            stopped.append(Stop(number, phase, bool(saved(folder) - there), took))
    finish(start(run, folder, compiled=compiled))


def stay_the_same(run, tmp_path, whole, compiled, random, seconds, stops):
    """Stop so often in all, in as many folders as that takes; each must end as the untouched run did. The stops."""
    stopped = []
    for folder in (Path(tmp_path) / f"stopped-{number}" for number in itertools.count()):
        stop_until_done(run, folder, compiled, random, seconds, stops, stopped)
        assert_same(folder, whole)
        if len(stopped) == stops:
            return stopped


class Untouched(NamedTuple):
    """A run that nobody disturbed: its folder, and how long it takes with everything compiled."""

    folder: object
    seconds: float


def untouched(run, tmp_path_factory, compiled):
    folders = [tmp_path_factory.mktemp("untouched") / name for name in ("cold", "warm")]
    for folder in folders:
        started = time.monotonic()
        finish(start(run, folder, compiled=compiled))
    assert_same(*folders)  # the same command gives the same numbers twice
    return Untouched(folders[1], time.monotonic() - started)
