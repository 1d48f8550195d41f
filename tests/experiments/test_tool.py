"""A command with flags of its own: their values, the arguments beside them, and what is refused, in one line."""

import asyncio
import sys
from dataclasses import dataclass

import pytest
from absl import flags as absl_flags

from cnn.config import setting
from cnn.errors import RequestError, require_integer
from experiments.command import flags, run
from experiments.command.experiment import Tool


@dataclass(frozen=True)
class Options:
    files: tuple[str, ...] = ()
    name: str = setting("", "what it is called")
    count: int = setting(3, "how many")
    loud: bool = setting(False, "whether it is loud")

    def __post_init__(self) -> None:
        require_integer("count", self.count, 1)


TOOL = Tool(name="some_tool", doc="What is it?\n\nA tool.", options=Options, arguments="files")


@dataclass(frozen=True)
class Bare:
    name: str = setting("", "what it is called")


BARE = Tool(name="bare", doc="What is it?", options=Bare)


def filled(tool, *line):
    return flags.fill(flags.define_tool(tool), tool, [tool.name, *line])


@pytest.mark.parametrize(
    "line, expected",
    [
        ((), Options()),
        (("--name=x", "--count=1", "--loud"), Options(name="x", count=1, loud=True)),
        (("a.png", "--count=2", "b c.png"), Options(("a.png", "b c.png"), count=2)),
        (("--loud=false", "--", "--name=x", "-"), Options(("--name=x", "-"))),
    ],
)
def test_values(line, expected):
    assert filled(TOOL, *line) == expected


@pytest.mark.parametrize(
    "tool, line, error, said",
    [
        (TOOL, "--count=0", RequestError, "count=0: must be an integer of at least 1"),
        (TOOL, "--count=x", absl_flags.Error, "must be an integer"),
        (TOOL, "--loud=maybe", absl_flags.Error, "must be true or false"),
        (TOOL, "--nam=x", RequestError, "nearest: name"),
        (TOOL, "--files=x", RequestError, "flag='files': must be a flag of this command"),
        (TOOL, "--epochs=1", RequestError, "flag='epochs': must be a flag of this command"),
        (BARE, "a.png", RequestError, "'a.png' is not a flag: must be written as --name=value"),
    ],
)
def test_wrong_values(tool, line, error, said):
    with pytest.raises(error) as raised:
        filled(tool, line)
    assert said in str(raised.value) and "\n" not in str(raised.value)


@pytest.fixture
def called(monkeypatch, tmp_path, capsys):
    """Runs the tool in this process, whose exit it catches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def call(main, *line):
        monkeypatch.setattr(sys, "argv", [TOOL.name, *line])
        with pytest.raises(SystemExit) as left:
            run.run_tool(TOOL, main)
        return left.value.code, *capsys.readouterr()

    return call


def refuse(options):
    raise RequestError(f"name={options.name!r}: must be another")


def test_its_status_is_that_of_the_process(called):
    assert called(lambda options: options.count, "--count=4", "--compiled_dir=") == (4, "", "")
    assert called(refuse, "--name=x") == (2, "", "error: name='x': must be another\n")


class _LateRead:
    """A read of Orbax that is still running when another one has failed, which closes their event loop."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.loop.close()

    def __del__(self):
        self.loop.call_soon_threadsafe(print)


def test_what_orbax_prints_beside_its_exceptions_is_silent(called):
    def main(options):
        _LateRead()
        return refuse(options)

    assert called(main, "--name=x") == (2, "", "error: name='x': must be another\n")


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help(called, flag):
    status, out, err = called(refuse, flag)
    assert (status, err) == (0, "") and out.startswith("What is it?\n\nA tool.")
    assert all(f"--{name}" in out.replace("[no]", "") for name in ("name", "count", "loud", "compiled_dir"))
    assert "--files" not in out and "how many" in out and "default: '3'" in out
