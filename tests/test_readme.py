"""The README's first screen: what it prints is what a real run prints, and its pictures are there and small."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def printed():
    """The lines that the README says a sweep prints."""
    return README.split("<!-- printed by sweep_blocks -->\n```\n")[1].split("```")[0].splitlines()


def without_numbers(text):
    """The text with a mark for each number: another processor may give other last digits, and so another depth."""
    return re.sub(r"\d+(\.\d+)?", "#", text).replace("blocks", "block").replace("fall ", "falls ")


@pytest.mark.slow
def test_a_sweep_prints_what_the_readme_says(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "experiments.sweep_blocks"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=900)
    assert run.returncode == 0, run.stderr
    lines = [without_numbers(line) for line in run.stdout.splitlines()]
    answer, picture, page, following = printed()
    assert picture in run.stdout and page in run.stdout  # the work folder's name is that of the default settings
    for part in answer.removesuffix(" [...]").split(". "):
        assert without_numbers(part.rstrip(".")) in lines[-4]
    assert lines[-1].startswith("Next: ") and "experiments.sweep_blocks --" in following
    assert all((tmp_path / line.partition(": ")[2]).stat().st_size > 10_000 for line in (picture, page))


@pytest.mark.parametrize("path", re.findall(r"!\[[^]]*\]\(([^)]+)\)", README))
def test_a_picture_is_there_and_small(path):
    assert 10_000 < (ROOT / path).stat().st_size < 300_000


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README))))
def test_what_a_link_names_is_there(link):
    assert link.startswith("https://") or (ROOT / link).exists()
