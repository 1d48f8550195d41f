"""Real processes with broken streams or a hostile environment: the work is done, or one line says what is wrong."""

import os
import subprocess
import sys

import pytest

from tests.faults.harness import TRAIN, assert_same, finish, start

pytestmark = pytest.mark.thorough

FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))"


def shell(line, folder):
    """The status, the output and the errors of a shell's line, in which `run` is `python -m experiments.NAME`."""
    run = f'run() {{ "{sys.executable}" -W error -m experiments."$@"; }}'
    arguments = ["bash", "-o", "pipefail", "-c", f"{run}; {line}"]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=folder, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "line, status",
    [
        ("run sweep_blocks --help | true", 1),  # as with `head`, but the reader has left for sure
        ("run train --epoch=3 2>/dev/full", 2),
        ("run train --epoch=3 2>&-", 2),
    ],
)
def test_a_shell_sees_the_status_and_no_noise(tmp_path, line, status):
    assert shell(line, tmp_path) == (status, "", "") and list(tmp_path.iterdir()) == []


def test_a_current_folder_that_is_gone(tmp_path):
    done = shell("mkdir d; cd d; rmdir ../d; run train --epochs=1", tmp_path)
    assert done == (2, "", "error: the current folder is gone; must be started in one that is there\n")


def test_help_where_python_drops_docstrings(tmp_path):
    status, out, err = shell("PYTHONOPTIMIZE=2 run predict --help", tmp_path)
    assert (status, err) == (0, "") and "--[no]invert" in out


@pytest.mark.parametrize("broken", [">/dev/full 2>/dev/full", pytest.param(">&- 2>&- <&-", marks=pytest.mark.slow)])
def test_a_training_is_done_and_saved_all_the_same(train, compiled, tmp_path, broken):
    status, out, err = shell(f"run {' '.join(TRAIN)} --workdir=w --compiled_dir={compiled} {broken}", tmp_path)
    assert (status, out, err) == (1, "", "")
    assert_same(tmp_path / "w", train.folder)


@pytest.mark.parametrize(
    "variable, value",
    [
        ("JAX_ENABLE_X64", "maybe"),
        ("JAX_PLATFORMS", "nonsense"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("JAX_LOGGING_LEVEL", "nonsense"),
                ("JAX_DEFAULT_DEVICE", "nonsense"),
                ("JAX_PLATFORM_NAME", "nonsense"),
                ("JAX_NO_EXECUTION", "1"),
            )
        ),
    ],
)
def test_a_variable_that_jax_refuses(compiled, tmp_path, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    _, err = finish(start(TRAIN, tmp_path / "w", compiled=compiled), 2)
    assert err.startswith(f"error: {variable}={value!r}: ") and err.count("\n") == 1
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("files", [5, 10])
def test_a_limit_of_few_open_files(compiled, tmp_path, files):
    """The first is too low for the imports, the second for a checkpoint."""
    _, err = finish(start(TRAIN, tmp_path / "w", compiled=compiled, first=FEW_FILES.format(files)), 1)
    *_, line = err.splitlines()
    assert line.startswith(f"error: {os.strerror(24)}") and err.count("error: ") == 1
    assert not any(noise in err for noise in ("Traceback", "Warning", "ignored"))


@pytest.mark.slow
def test_what_the_environment_asks_of_pictures_is_not_heeded(compiled, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True")
    run = ("sweep_blocks", "--epochs=1", "--blocks=0", "--seeds=1", "--learning_rates=1e-2", "--width=4")
    out, _ = finish(start(run, tmp_path / "w", compiled=compiled, cwd=tmp_path))
    assert "Picture: " in out and (tmp_path / "w" / "accuracy_vs_blocks.png").exists()


@pytest.mark.slow
def test_a_check_for_numbers_that_are_not_finite_makes_no_failure_of_a_divergence(compiled, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_DEBUG_NANS", "1")
    out, _ = finish(start((*TRAIN, "--learning_rate=1e30"), tmp_path / "w", compiled=compiled))
    assert "Diverged: the loss was not finite" in out
