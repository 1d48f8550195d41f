"""Finished sweeps compared through the command: real ones, and what is refused in one line."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.experiments.test_bad_data import images
from tests.experiments.test_errors import NO_FOLDERS
from tests.experiments.test_hostile import NAMES, UNPRINTABLE, printed

pytestmark = pytest.mark.thorough

SMALL = ("--epochs=1", "--batch_size=32", "--hidden=16", "--blocks=0,1", "--learning_rates=1e-2", "--seeds=2")
SWEEPS = {  # of each work folder
    "w4": ("sweep_blocks", *SMALL, "--width=4"),
    "w8": ("sweep_blocks", *SMALL, "--width=8"),
    "own": ("sweep_blocks", "--dataset=own.npz", *SMALL, "--width=4", "--batch_size=8", "--validation_fraction=0.2"),
    "trained": ("train", "--epochs=1", "--width=4"),
}


@pytest.fixture(scope="module")
def folders(answering, tmp_path_factory):
    """Two sweeps on digits, one on images of our own, and a training."""
    folder = tmp_path_factory.mktemp("compare")
    np.savez(folder / "own.npz", **images())
    for workdir, run in SWEEPS.items():
        done = answering.ask(folder, *run, f"--workdir={workdir}")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def asked(answering, folders):
    return lambda *flags: answering.ask(folders, "compare", *flags)


def test_sweeps_of_two_widths(asked, folders):
    done = asked("w4", "w8")
    assert (done.returncode, done.stderr) == (0, "")
    by_sweep, by_depth, said, sentence = done.stdout.rstrip("\n").split("\n\n")
    assert by_sweep.splitlines()[2].startswith("| width=4 ")
    assert by_depth.splitlines()[0].startswith("| blocks | width=4")
    assert "width=4: w4\nwidth=8: w8" in said and "Equal in all: dataset=digits, model=convnet, match=width" in said
    assert "depend" in sentence and "width" in sentence and "the data" not in sentence
    assert max(map(len, f"{by_sweep}\n{by_depth}\n{said}".splitlines())) <= 100
    for workdir in ("w4", "w8"):
        answer = json.loads((folders / workdir / "answer.json").read_text())
        assert f"{100 * answer['depths'][1]['test_mean']:.2f}" in by_depth


def test_sweeps_of_two_data_sets_as_json(asked, folders):
    done = asked("--json", "w4", "own")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert [sweep["name"] for sweep in found["sweeps"]] == ["digits", "own.npz"]
    assert found["common"]["width"] == 4 and found["sweeps"][1]["settings"]["batch_size"] == 8
    answer = json.loads((folders / "own" / "answer.json").read_text())
    del answer["seal"]
    assert found["sweeps"][1]["answer"] == answer
    assert found["sentence"] == asked("w4", "own").stdout.rstrip("\n").split("\n\n")[-1]


def test_nothing_is_written(asked, folders):
    before = {path: path.stat().st_mtime_ns for path in folders.rglob("*")}
    assert asked("w4", "w8", "own").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in folders.rglob("*")} == before


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "folders=(): must name at least two finished folders of sweep_blocks"),
        (("w4",), "folders=('w4',): must name at least two"),
        (("w4", "w4"), "folder='w4': must be named once"),
        (("w4", "./w8/../w4"), "folder='w8/../w4': must be named once, and is the same as 'w4'"),
        (("w4", "link"), "folder='link': must be named once, and is the same as 'w4'"),
        (("w4", "trained"), "folder='trained': must be a finished folder of sweep_blocks, not of train"),
        (("w4", "nowhere"), "folder='nowhere': must be a finished folder of sweep_blocks"),
        (("w4", "w8/trials"), "folder='w8/trials': must be a finished folder of sweep_blocks"),
        (("w4", "own.npz"), "own.npz/config.json: cannot be read"),
        (("w4", "circle"), "circle"),
        (("w4", "x" * 300), "cannot be read"),
        (("w4", "~nobody-of-this-name/x"), "must name a user"),
        (("w4", "w8", "--jsno"), "nearest: json"),
        (("w4", "w8", "--json=2"), "must be true or false"),
        (("w4", "w8", "--epochs=3"), "flag='epochs': must be a flag of this command"),
        *((("w4", "w8", f"--compiled_dir={text}"), accepted) for text, accepted in NO_FOLDERS),
    ],
)
def test_what_cannot_be_asked_is_one_line(asked, folders, arguments, said):
    for name, target in {"link": "w4", "circle": "circle"}.items():
        if not (folders / name).is_symlink():
            os.symlink(target, folders / name)
    done = asked(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and said in done.stderr, done.stderr


def test_a_sweep_that_has_grown_and_not_run_is_refused(asked, answering, folders):
    """As one that was stopped: its settings ask for more seeds than its answer rests on."""
    shutil.copytree(folders / "w8", folders / "grown", dirs_exist_ok=True)
    config = json.loads((folders / "grown" / "config.json").read_text())
    (folders / "grown" / "config.json").write_text(json.dumps({**config, "seeds": 3}))
    done = asked("w4", "grown")
    assert done.returncode == 2 and "folder='grown': its sweep has not finished" in done.stderr
    again = answering.ask(folders, *SWEEPS["w8"], "--seeds=3", "--workdir=grown")
    assert again.returncode == 0 and asked("w4", "grown").returncode == 0


@pytest.mark.parametrize("name", [name for name in (*NAMES, *UNPRINTABLE[:-1]) if name != ".."])
def test_a_folder_of_that_name(asked, folders, name):
    """It is shown, and never obeyed."""
    folder = folders / "above" / name.replace("/", "_")
    if not folder.exists():
        shutil.copytree(folders / "w8", folder)
    done = asked("w4", f"above/{folder.name}", "w8")
    assert (done.returncode, done.stderr) == (0, "") and printed(done.stdout), done.stderr
    alone = asked("w4", f"above/{folder.name}", "--json")
    assert alone.returncode == 0 and json.loads(alone.stdout)["sweeps"][1]["folder"] == f"above/{folder.name}"


def test_help_and_a_process_of_its_own(command, asked, folders):
    said = asked("--help")
    assert (said.returncode, said.stderr) == (0, "") and said.stdout.startswith("Does the answer depend on the data?")
    assert "--[no]json:" in said.stdout and "--compiled_dir:" in said.stdout
    flags = (str(folders / "w4"), str(folders / "w8"))
    alone = command("compare", *flags)
    assert (alone.returncode, alone.stdout, alone.stderr) == (0, asked(*flags).stdout, "")
