"""`--dry_run`: the plan is printed, and nothing is written."""

import pytest

from tests.data.sources.test_folder import write
from tests.experiments.test_claims import CLAIMS

pytestmark = pytest.mark.thorough

TINY = ("--epochs=1", "--batch_size=512", "--seeds=2", "--tuning_seeds=1")


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def phases(out):
    """The trials of each phase, and how many are done."""
    lines = [cells(line) for line in out.partition("\n\n")[0].splitlines()]
    assert lines[0] == ["phase", "trials", "done"]
    return {name: (int(trials), int(done)) for name, trials, done in lines[2:]}


EXPERIMENTS = [pytest.param(name, len(claim[1][1]), marks=pytest.mark.slow) for name, claim in CLAIMS.items()]


@pytest.mark.parametrize("name, variants", [("sweep_blocks", 4), *EXPERIMENTS])
def test_the_plan_of_an_experiment(ask, tmp_path, name, variants):
    done = ask(name, *TINY, "--learning_rates=1e-3,3e-3", "--dry_run", "--workdir=w")
    assert done.returncode == 0 and list(tmp_path.iterdir()) == [], done.stderr
    assert phases(done.stdout) == {"tune": (2 * variants, 0), "compare": (2 * variants, 0)}
    assert f"measured steps of {variants} networks" in done.stdout
    assert "parameters" in done.stdout and "MACs" in done.stdout


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in (*CLAIMS, "sweep_blocks")), "train"]
)
def test_a_folder_of_pictures_serves_every_experiment(ask, pets, tmp_path, name):
    """Each asks for the folder by the same flags; the second of them finds the decoded pictures."""
    flags = ["--epochs=1", "--batch_size=32", f"--dataset={pets}", "--image_size=12,8", f"--cache_dir={pets.parent}/c"]
    done = ask(name, *flags, "--dry_run", "--workdir=w")
    assert done.returncode == 0 and list(tmp_path.iterdir()) == [], done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("timing networks")]
    assert "parameters" in done.stdout and len(said) <= 1
    flags = ["--dataset=digits", *flags[:2], *flags[3:]]
    refused = ask(name, *flags, "--dry_run", "--workdir=w")
    assert refused.returncode == 2 and "image_size=12,8: dataset='digits' is no folder" in refused.stderr


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """Ten classes of ten pictures."""
    return write(tmp_path_factory.mktemp("pictures") / "pets", (10,) * 10, shape=(8, 8))


@pytest.mark.slow
@pytest.mark.thorough
def test_the_plan_says_what_is_done(ask, tmp_path):
    flags = [*TINY, "--width=4", "--hidden=8", "--blocks=0,1", "--learning_rates=1e-3", "--workdir=w"]
    assert ask("sweep_blocks", *flags).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    finished = ask("sweep_blocks", *flags, "--dry_run").stdout
    assert phases(finished) == {"compare": (4, 4)} and "\n\nAll trials are done.\n\nFolder: w" in finished
    grown = ask("sweep_blocks", *flags, "--dry_run", "--seeds=3", "--blocks=0,1,2")
    assert phases(grown.stdout) == {"compare": (9, 4)}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("sweep_blocks", (), "Not counted: learning rates that the grid may add."),
        ("why_convnets", (), "Not counted: learning rates that the grid may add, and what is measured after training."),
        ("why_convnets", ("--learning_rates=1e-3",), "Not counted: what is measured after training."),
        ("sweep_blocks", ("--learning_rates=1e-3",), None),
    ],
)
def test_the_time_says_what_it_leaves_out(ask, name, given, said):
    flags = ("--epochs=1", "--width=4", "--hidden=16", "--seeds=1", "--blocks=1", *given)
    lines = ask(name, *flags, "--dry_run").stdout.splitlines()
    (rest,) = [line for line in lines if line.startswith("The rest takes about ")]
    assert rest.endswith(said) if said else "Not counted" not in rest


@pytest.mark.thorough
def test_the_plan_of_a_training_says_how_long_the_rest_takes(ask, tmp_path):
    flags = ["--epochs=2", "--batch_size=256", "--width=4", "--hidden=8", "--workdir=w"]
    planned = ask("train", *flags, "--dry_run")
    assert planned.returncode == 0 and list(tmp_path.iterdir()) == [], planned.stderr
    table, rest, folder = planned.stdout.rsplit("\n\n", 2)
    assert table.startswith("layer") and folder == "Folder: w\n"
    assert rest.startswith("The rest takes about ") and rest.endswith(" here: measured steps of 1 network.")
    assert ask("train", *flags).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    done = ask("train", *flags, "--dry_run")
    assert done.stdout == planned.stdout.replace(rest, "The training is done.")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    "flag, said", [("--blocks=0,4", "8 -> 4 -> 2 -> 1 -> 0"), ("--batch_size=2000", "at most 1293")]
)
def test_a_plan_that_cannot_run_is_refused(ask, tmp_path, flag, said):
    done = ask("sweep_blocks", flag, "--dry_run")
    assert (done.returncode, done.stdout) == (2, "") and said in done.stderr
    assert list(tmp_path.iterdir()) == []
