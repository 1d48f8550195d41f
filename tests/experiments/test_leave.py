"""What a command says where its streams or its environment are broken, and its exit status."""

import io
import os
import sys

import pytest

from cnn import progress
from experiments.command import leave

QUICK = ("--epochs=1", "--width=4", "--hidden=8", "--batch_size=256")  # in case that it is not refused


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def pipe_without_a_reader():
    reading, writing = os.pipe()
    os.close(reading)
    return open(writing, "w")


BROKEN = {
    "full": lambda: open("/dev/full", "w"),  # noqa: SIM115  closed by the fixture
    "closed": closed,
    "absent": lambda: None,
    "no reader": pipe_without_a_reader,
}
each_broken = pytest.mark.parametrize("broken", BROKEN)


@pytest.fixture
def stream(broken):
    made = BROKEN[broken]()
    yield made
    if isinstance(made, io.TextIOWrapper):
        with pytest.raises(OSError):  # else it was not broken
            made.close()


@each_broken
def test_output_that_cannot_be_printed_is_a_status(monkeypatch, capsys, broken, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    assert leave.say("the table") == leave.FAILED
    line = capsys.readouterr().err
    assert line.count("\n") == (0 if broken == "no reader" else 1)
    assert line == "" or line.startswith("error: standard output cannot be written: ")


@each_broken
@pytest.mark.parametrize("error, status", [(leave.RequestError("x"), 2), (OSError("x"), 1), (TypeError("x"), 1)])
def test_an_error_that_cannot_be_printed_is_a_status(monkeypatch, capsys, stream, error, status):
    def main():
        raise error

    monkeypatch.setattr(sys, "stderr", stream)
    assert leave.status(main) == status
    assert capsys.readouterr().out == ""


@each_broken
@pytest.mark.parametrize("terminal", ["0", "1"], ids=["lines", "bars"])
def test_progress_that_cannot_be_shown_stops_nothing(monkeypatch, capsys, stream, terminal):
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)  # whether rich takes the stream for a terminal
    if terminal == "1":
        monkeypatch.setenv("FORCE_COLOR", "1")  # the same before rich 14
    monkeypatch.setattr(sys, "stderr", stream)
    shown = progress.automatic()
    expected = progress.Progress if stream is None else (progress.Lines, progress.Bars)[int(terminal)]
    assert type(shown) is expected
    shown.line("a line")
    with shown.task("training", 3) as task:
        for _ in range(3):
            task.next = 0.0
            task.advance(note="é")
    assert task.done == 3 and capsys.readouterr().out == ""


def test_what_an_encoding_lacks_is_escaped(monkeypatch):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="ascii") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    assert leave.say("Folder: wé") == leave.DONE
    leave.tell("error: wé")
    written = [stream.buffer.getvalue() for stream in streams.values()]
    assert written == [b"Folder: w\\xe9\n", b"error: w\\xe9\n"]


@pytest.fixture
def odd(tmp_path):
    """A folder whose name is no UTF-8."""
    folder = os.fsencode(tmp_path) + b"/x\xff"
    os.mkdir(folder)
    return os.fsdecode(folder)


def refused(done, *parts):
    line = done.stderr
    assert done.returncode == 2 and line.startswith("error: ") and line.count("\n") == 1, line
    assert done.stdout == "" and all(part in line for part in parts), line


@pytest.mark.parametrize("name", ["train", "sweep_blocks"])
def test_a_current_folder_that_is_no_utf8(answering, odd, name):
    refused(answering.ask(odd, name, *QUICK), "workdir='", "x\\udcff': must be in UTF-8")
    refused(answering.ask(odd, name, *QUICK, "--workdir=w"), "workdir='", "x\\udcff/w': must be in UTF-8")
    assert os.listdir(odd) == []


@pytest.mark.parametrize("variables", [("XDG_CACHE_HOME",), ("HOME", "XDG_CACHE_HOME")])
def test_a_cache_folder_that_is_no_utf8(ask, odd, variables):
    values = dict.fromkeys(variables, "") | {variables[0]: odd}
    refused(ask("train", *QUICK, **values), "compiled_dir='", "x\\udcff", "must be in UTF-8")
    assert os.listdir(odd) == []


def test_a_folder_of_compiled_programs_that_cannot_be_made_is_said_once(ask, tmp_path):
    (tmp_path / "file").touch()
    done = ask("train", *QUICK, "--workdir=w", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written: programs that this run compiles are not kept") == 1


def test_a_refused_command_makes_no_folder_of_compiled_programs(ask, tmp_path):
    refused(ask("train", "--batch_size=2000", "--compiled_dir=c"), "batch_size=2000")
    assert list(tmp_path.iterdir()) == []


def test_a_flag_file_that_names_itself(ask, tmp_path):
    (tmp_path / "own.txt").write_text("--epochs=1\n--flagfile=own.txt\n")
    refused(ask("train", "--flagfile=own.txt"), "flagfile='own.txt': must not name itself")
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]


@pytest.mark.parametrize(
    "text, said", [("", "no more is free"), ("Unable to allocate 9 GiB", "Unable to allocate 9 GiB")]
)
def test_a_lack_of_memory_is_a_line(capsys, text, said):
    def main():
        raise MemoryError(text)

    assert leave.status(main) == leave.FAILED
    assert capsys.readouterr().err == f"error: the memory is not enough: {said}; a smaller network or batch may fit\n"


def test_an_error_that_names_no_variable_of_jax_keeps_its_trace(monkeypatch, capsys):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")

    def main():
        raise RuntimeError("a defect")

    assert leave.status(main) == leave.FAILED and "Traceback" in capsys.readouterr().err
