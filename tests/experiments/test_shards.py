"""`--shard=i/n`: a part of an experiment's trials; what the command says, with which status, and who answers."""

import re
import shlex

import pandas as pd
import pytest

from tests.faults.harness import is_time

pytestmark = pytest.mark.thorough

TINY = ("--epochs=1", "--batch_size=512", "--width=4", "--hidden=8", "--blocks=0,1", "--seeds=2", "--tuning_seeds=1")


def timeless(folder):
    table = pd.read_csv(folder / "results.csv")
    return table[[name for name in table if not is_time(name)]]


def test_a_shard_whose_others_never_come_leaves_and_names_the_command(ask, tmp_path):
    """It waits for a second; another start does the same; and a run without shards finishes the study."""
    for _ in range(2):
        done = ask("sweep_blocks", *TINY, "--workdir=w", "--shard=1/3", "--shard_wait=1")
        assert done.returncode == 0, done.stderr
        assert "shard 1/3: waits a second at most for " in done.stderr
        said, _, command = done.stdout.rstrip("\n").partition("; this continues: ")
        assert re.fullmatch(r"shard 1/3 ends here; missing: \d tuning trials of shards 2 and 3", said)
        assert shlex.split(command)[-3:] == ["--workdir=w", "--shard=1/3", "--shard_wait=1"]
    assert not (tmp_path / "w" / "results.csv").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("w/trials/*/result.json")}
    finished = ask("sweep_blocks", *TINY, "--workdir=w")
    whole = ask("sweep_blocks", *TINY, "--workdir=whole")
    assert finished.returncode == 0 and finished.stdout.splitlines()[0] == whole.stdout.splitlines()[0]
    assert before and all(path.stat().st_mtime_ns == time for path, time in before.items())
    pd.testing.assert_frame_equal(timeless(tmp_path / "w"), timeless(tmp_path / "whole"))


def test_the_last_shard_answers_and_its_advice_is_for_the_whole_study(ask, tmp_path):
    flags = [*TINY, "--learning_rates=1e-3", "--workdir=w"]
    first = ask("sweep_blocks", *flags, "--shard=1/2")
    assert first.returncode == 0 and first.stdout == (
        "shard 1/2 ends here; missing: 2 trials of shard 2; the last shard to end, or the command without --shard, "
        "writes the answer\n"
    )
    last = ask("sweep_blocks", *flags, "--shard", "2/2", "--shard_wait=5")
    assert last.returncode == 0 and "Page: w/report.html" in last.stdout and "--shard" not in last.stdout
    assert (tmp_path / "w" / "answer.json").exists() and len(timeless(tmp_path / "w")) == 4


def test_the_plan_of_a_shard(ask, tmp_path):
    flags = [*TINY, "--learning_rates=1e-3,3e-3", "--workdir=w", "--dry_run"]
    counts = []
    for number in (1, 2, 3):
        done = ask("sweep_blocks", *flags, f"--shard={number}/3")
        assert done.returncode == 0 and f"This is the part of shard {number}/3 alone." in done.stdout, done.stderr
        assert "The rest takes about " in done.stdout
        counts += [int(count) for count in re.findall(r"^\| (?:tune|compare) +\| +(\d+) \| +0 \|", done.stdout, re.M)]
    assert len(counts) == 6 and sum(counts) == 8
    assert list(tmp_path.iterdir()) == []


def sentences(done):
    """What a command printed below its tables, without times. A column whose cells are equal, as 0.0 s, is left out."""
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith(("|", "seconds: "))]
    return [re.sub(r"\d+ % of the training time \([^)]*\)", "", line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["why_convnets", "one_by_one"])
def test_shards_of_other_experiments(ask, tmp_path, name):
    """One that measures for itself, and one that does not."""
    flags = ["--epochs=1", "--batch_size=512", "--seeds=2", "--learning_rates=1e-3"]
    for number in (1, 2):
        done = ask(name, *flags, "--workdir=w", f"--shard={number}/2")
        assert done.returncode == 0, done.stderr
    whole = ask(name, *flags, "--workdir=whole")
    assert sentences(done) == [line.replace("whole/", "w/") for line in sentences(whole)]
    pd.testing.assert_frame_equal(timeless(tmp_path / "w"), timeless(tmp_path / "whole"))
