"""The list of experiments, and the console script that runs them by name."""

import subprocess
import sys

import pytest

import experiments.__main__ as main
from experiments.command import flags
from tests.experiments.test_errors import EXPERIMENTS

pytestmark = pytest.mark.thorough

TOOLS = ("predict", "export", "compare")  # which train nothing
SCRIPT = "import sys; from experiments.__main__ import main; sys.exit(main())"  # as its entry point does


@pytest.fixture
def script(tmp_path):
    """Runs the console script in an empty folder, as a shell does."""

    def run(*arguments):
        started = [sys.executable, "-W", "error", "-c", SCRIPT, *arguments]
        return subprocess.run(started, capture_output=True, text=True, cwd=tmp_path, timeout=300)

    return run


def test_every_experiment_asks_a_question():
    questions = main.questions()
    assert questions.keys() == {*EXPERIMENTS, *TOOLS}
    assert all(question.endswith("?") for question in questions.values())


def test_help_is_asked_for_as_of_an_experiment():
    assert set(main.HELP) == {*flags.HELP, *flags.FULL_HELP}


@pytest.mark.parametrize("asked", [[sys.executable, "-W", "error", "-m", "experiments"]], ids=["python -m experiments"])
def test_the_list(script, tmp_path, asked):
    done = subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"{name} " in done.stdout and question in done.stdout for name, question in main.questions().items())
    listed = script()
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, done.stdout, "")


def test_the_console_script_runs_an_experiment(script, ask, tmp_path):
    """With the status and the line of the experiment's own command."""
    alone = script("sweep_blocks", "--epochs=0")
    asked = ask("sweep_blocks", "--epochs=0")
    assert (alone.returncode, alone.stdout, alone.stderr) == (2, asked.stdout, asked.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["swep_blocks", "--flag", "__main__", "command", "a\x1b[31mb", ""])
def test_an_unknown_experiment(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", ["conv-relu-pool", name, "--epochs=1"])
    monkeypatch.setattr(main.experiments, "own_process", lambda: None)
    with pytest.raises(SystemExit) as left:
        main.main()
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: experiment=") and err.count("\n") == 1 and err[:-1].isprintable()
    assert all(known in err for known in (*EXPERIMENTS, *TOOLS))
    assert name != "swep_blocks" or err.endswith("nearest: sweep_blocks\n")
