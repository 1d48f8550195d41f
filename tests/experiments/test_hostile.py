"""Names that would like to be commands, markup, formulas or paths: each stays a name."""

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest

import experiments
from tests.data.sources.test_folder import write as write_pictures
from tests.experiments.test_bad_data import images
from tests.faults.harness import SMALL_FILES, TRAIN, finish, start

pytestmark = pytest.mark.thorough

SMALL = ("--epochs=1", "--width=4", "--hidden=8", "--batch_size=8")
ONE_TRIAL = ("--blocks=0", "--seeds=1", "--learning_rates=1e-3", "--validation_fraction=0.2")
NAMES = [
    "two  blanks",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned #",
    "'; touch pwned; '",
    '"quoted"',
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "&amp;",
    r"$\frac{$",
    "$x$_{^",
    "%s%n{0}",
    "-rf",
    "--epochs=9",
    "..",
    "a ~ b",
    "😀 名前",
]
UNPRINTABLE = ["a\nb", "a\tb", "a\x1b[31mb", "a\rb", "a\u202eb", "a\0b"]


def printed(text):
    """Every line that was written can be shown by a terminal as it is."""
    return all(line.isprintable() for line in text.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_that_name(ask, tmp_path, name):
    """It is learnt from, and the work folder's default name keeps to plain letters."""
    file = f"{name.replace('/', '_')}.npz"
    np.savez(tmp_path / file, **images())
    done = ask("sweep_blocks", f"--dataset={file}", *SMALL, *ONE_TRIAL)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs" / "sweep_blocks").iterdir()
    assert not set(folder.name) & set(" $`;'\"<>&%~/\\") and folder.name not in (".", "..")
    assert {path.name for path in tmp_path.iterdir()} == {file, "runs"}
    assert json.loads((folder / "answer.json").read_text())["dataset"] == file
    assert (folder / "accuracy_vs_blocks.png").stat().st_size > 10_000 and printed(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_pictures_and_a_class_of_that_name(ask, tmp_path, name):
    """The folder, a class folder and a picture have the name; none acts as anything else."""
    plain = name.replace("/", "_").strip(".") or "dots"  # a name that begins with a point is hidden
    write_pictures(tmp_path / "above" / "pets", (10, 10), shape=(8, 8))
    pets = (tmp_path / "above" / "pets").rename(tmp_path / "above" / plain)
    (pets / "c1").rename(pets / plain)
    (pets / plain / "000.png").rename(pets / plain / f"{plain}.png")
    done = ask("sweep_blocks", f"--dataset=./above/{plain}", *SMALL, *ONE_TRIAL)
    assert done.returncode == 0 and printed(done.stdout) and printed(done.stderr), done.stderr
    (folder,) = (tmp_path / "runs" / "sweep_blocks").iterdir()
    assert not set(folder.name) & set(" $`;'\"<>&%~/\\") and folder.name not in (".", "..")
    assert {path.name for path in tmp_path.iterdir()} == {"above", "runs"}
    assert json.loads((folder / "answer.json").read_text())["dataset"] == f"./above/{plain}"


@pytest.mark.parametrize("name", UNPRINTABLE[:-1])
def test_what_a_terminal_cannot_show_in_a_folder_of_pictures(ask, tmp_path, name):
    """A class is refused, a picture is named in a form that can be shown."""
    write_pictures(tmp_path / "pets", (10, 10), shape=(8, 8))
    (tmp_path / "pets" / "c1" / "000.png").rename(tmp_path / "pets" / "c1" / f"{name}.png").write_bytes(b"damaged")
    (tmp_path / "pets" / "c1" / f"{name}.txt").touch()
    done = ask("train", "--dataset=./pets", *SMALL)
    assert done.returncode == 2 and "cannot be read" in done.stderr and printed(done.stderr), done.stderr
    (tmp_path / "pets" / "c1").rename(tmp_path / "pets" / name)
    done = ask("train", "--dataset=./pets", *SMALL)
    assert done.returncode == 2 and "must be of printable name" in done.stderr and printed(done.stderr), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


@pytest.mark.parametrize("name", NAMES)
def test_a_work_folder_of_that_name(ask, tmp_path, name):
    folder = tmp_path / "above" / name.replace("/", "_")
    folder.parent.mkdir()
    np.savez(tmp_path / "own.npz", **images())
    done = ask("train", "--dataset=own.npz", *SMALL, f"--workdir=above/{folder.name}")
    assert done.returncode == 0, done.stderr
    assert (folder / "result.json").exists() and printed(done.stdout)
    assert {path.name for path in tmp_path.iterdir()} <= {"own.npz", "above", "result.json", "config.json"} | {
        path.name for path in folder.iterdir()
    }


@pytest.mark.parametrize("name", UNPRINTABLE)
@pytest.mark.parametrize("flag", ["dataset", "workdir", "data_dir", "cache_dir", "compiled_dir"])
def test_what_a_terminal_cannot_show_is_refused(ask, tmp_path, flag, name):
    done = ask("train", f"--{flag}={name}.npz", *SMALL)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and printed(done.stderr), done.stderr
    assert flag in done.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*NAMES, *UNPRINTABLE[:-1]])
def test_an_unknown_flag_of_that_name(ask, tmp_path, name):
    done = ask("train", f"--{name}", "--epochs=0")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and printed(done.stderr), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_line_that_continues_can_be_pasted(monkeypatch, tmp_path):
    """A shell gives the program each argument as it was."""
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    arguments = [f"--workdir={name}" for name in (*NAMES, *UNPRINTABLE[:-1])]
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-W", "error", "-c", program, *arguments])
    done = subprocess.run(experiments.again(), shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert json.loads(done.stdout) == arguments and done.stderr == "" and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_line_that_continues_keeps_blanks(shared_cache, tmp_path):
    """On a full disk: the line names the work folder as it was given."""
    folder = tmp_path / "two  blanks"
    process = start(TRAIN, folder, compiled=shared_cache / "faults", first=SMALL_FILES.format(900))
    _, err = finish(process, 1)
    assert f"--workdir={folder}" in shlex.split(err.strip().splitlines()[-1].partition("this continues: ")[2])
