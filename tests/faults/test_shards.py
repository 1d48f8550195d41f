"""Shards as processes of one work folder: killed and started again, they leave what one process leaves, to the bit."""

import signal
import time

import pytest

from tests.faults.harness import SWEEP, assert_same, finish, start, wait_for

pytestmark = [pytest.mark.thorough, pytest.mark.slow]


def results(folder):
    """When the result of each trial was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}


def same_part(compiled, folder, number, count, wait=240):
    return start(SWEEP, folder, f"--shard={number}/{count}", f"--shard_wait={wait}", compiled=compiled)


@pytest.mark.parametrize("killed", [1, 2, 3])
def test_three_shards_of_which_one_is_killed(sweep, compiled, tmp_path, killed):
    """Its trials run once, but for the one in which it was killed, which goes on; the last one writes the answer."""
    folder = tmp_path / "w"
    shards = {number: same_part(compiled, folder, number, 3) for number in (1, 2, 3)}
    victim = shards[killed]
    wait_for(victim, lambda: list(folder.glob("trials/*/checkpoints/*")) or results(folder))
    victim.kill()
    victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL
    before = results(folder)
    shards[killed] = same_part(compiled, folder, killed, 3)
    said = [finish(process)[0] for process in shards.values()]
    answers = [out for out in said if f"Page: {folder / 'report.html'}" in out]
    left = [out for out in said if "ends here; missing: " in out]
    assert answers and len(answers) + len(left) == 3, said
    assert before.items() <= results(folder).items()
    assert_same(folder, sweep.folder)
    config = folder / "config.json"
    assert config.stat().st_mtime_ns < min(results(folder).values())


def test_each_shard_is_killed_again_and_again(sweep, compiled, tmp_path):
    """After each new result of any shard, the next of them is killed and started again at once."""
    folder = tmp_path / "w"
    shards = {number: same_part(compiled, folder, number, 2) for number in (1, 2)}
    kept = {}
    for kill in range(6):
        number = 1 + kill % 2
        victim = shards[number]
        while victim.poll() is None and len(results(folder)) <= len(kept):
            time.sleep(0.002)
        victim.kill()
        victim.communicate(timeout=60)
        assert kept.items() <= results(folder).items()
        kept = results(folder)
        shards[number] = same_part(compiled, folder, number, 2)
    for process in shards.values():
        finish(process)
    assert kept.items() <= results(folder).items()
    assert_same(folder, sweep.folder)


def test_a_run_of_the_whole_study_continues_what_killed_shards_left(sweep, compiled, tmp_path):
    folder = tmp_path / "w"
    shards = [same_part(compiled, folder, number, 2) for number in (1, 2)]
    wait_for(shards[0], lambda: results(folder))
    _, err = finish(start(SWEEP, folder, compiled=compiled), 2)
    assert "in use by shards of this study" in err or "in use by process" in err
    for process in shards:
        process.kill()
        process.communicate(timeout=60)
    kept = results(folder)
    finish(start(SWEEP, folder, compiled=compiled))
    assert kept.items() <= results(folder).items()
    assert_same(folder, sweep.folder)
