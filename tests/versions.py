"""The package with other versions of Python and of its dependencies, in a new environment, tested.

    python -m tests.versions --python=python3.12 --versions=newest
    python -m tests.versions --python=python3.11 --versions=lowest
    python -m tests.versions --python=python3.13 --versions=colab
    python -m tests.versions --python=python3.12 --versions=newest --tests='tests/network tests/data'

`newest` is what the index serves. `lowest` is the lower bound of each dependency that setup.py declares. `colab` first
installs the versions that Colab has; installing the package must not change them. Ends with the status of the tests.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
COLAB = {"jax": "0.7.2", "jaxlib": "0.7.2", "flax": "0.11.2", "numpy": "2.1.3", "orbax-checkpoint": "0.12.4"}


def lowest(setup: str) -> dict[str, str]:
    """The lower bound of each dependency that a setup.py declares to be installed always.

    Example:
        >>> lowest('install_requires=["flax>=0.11.2", "numpy>=2.0"], extras_require={"test": ["ruff>=0.8"]}')
        {'flax': '0.11.2', 'numpy': '2.0'}
    """
    required = setup[setup.index("install_requires") : setup.index("extras_require")]
    return dict(re.findall(r'"([A-Za-z_-]+)>=([0-9.]+)', required))


def installed(python: str) -> dict[str, str]:
    """The version of each package of an environment, by its normalised name."""
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True)
    return {row["name"].lower().replace("_", "-"): row["version"] for row in json.loads(listed.stdout)}


def main() -> int:
    """Make the environment, install, say what is there, and run the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the new environment")
    parser.add_argument("--versions", choices=("newest", "lowest", "colab"), default="newest")
    parser.add_argument("--tests", default="", help="what pytest is given (default: everything but the slow tests)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([options.python, "-m", "venv", folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet"]
        pins = {"newest": {}, "lowest": lowest((ROOT / "setup.py").read_text()), "colab": COLAB}[options.versions]
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        if options.versions == "colab":
            subprocess.run([*pip, *(f"{name}=={version}" for name, version in pins.items())], check=True)
            subprocess.run([*pip, f"{ROOT}[test]"], check=True)
        else:
            subprocess.run([*pip, "--constraint", str(constraints), f"{ROOT}[test]"], check=True)
        versions = installed(python)
        changed = {name: versions[name] for name, version in COLAB.items() if versions[name] != version}
        if options.versions == "colab" and changed:
            print(f"installing the package changed {changed}", file=sys.stderr)
            return 1
        print(f"{options.versions}:", ", ".join(f"{name} {versions[name]}" for name in COLAB), flush=True)
        pytest = [python, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder"]
        return subprocess.run([*pytest, *options.tests.split()], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
