import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_library_and_the_experiments(tmp_path):
    source = tmp_path / "source"  # a copy: building leaves files beside setup.py
    for room in ("cnn", "experiments"):
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        typed = {name for name in archive.namelist() if name.endswith("py.typed")}
        (scripts,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("entry_points.txt"))
        packed = {name for name in archive.namelist() if name.endswith(".py")}
        shown = {name for name in archive.namelist() if name.startswith("cnn/show/page/")}
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA"))
    sources = {str(path.relative_to(ROOT)) for room in ("cnn", "experiments") for path in (ROOT / room).rglob("*.py")}
    assert packed == sources and {"cnn/py.typed", "experiments/py.typed"} <= typed
    of_pages = [
        path for path in (ROOT / "cnn" / "show" / "page").rglob("*") if path.is_file() and path.suffix != ".pyc"
    ]
    assert shown == {str(path.relative_to(ROOT)) for path in of_pages} and any("vendor" in name for name in shown)
    assert "conv-relu-pool = experiments.__main__:main" in scripts and "License: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert required and all(">=" in line for line in required)
    assert not any("tensorflow>" in line.replace(" ", "") or "torch" in line for line in required)
