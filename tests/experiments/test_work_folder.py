"""Whatever happens to a work folder, the answer is that of an untouched folder, or the command refuses in one line.

A machine of states (hypothesis) works on one folder with real commands: it runs, grows and changes the study, kills it,
damages, deletes and exchanges files, puts links, pipes and folders in their place, fills the disk, and changes the
environment. After a refusal it does what the line advises.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from typing import NamedTuple

import hypothesis
import pytest
from hypothesis import Phase, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.faults.harness import without_seconds

SMALL = ("--width=4", "--hidden=8", "--batch_size=512", "--tuning_seeds=1", "--checkpoint_seconds=0", "--workdir=w")
ENVIRONMENTS = [{}, {"JAX_ENABLE_X64": "1"}, {"JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_RANDOM_SEED_OFFSET": "7"}]


class Request(NamedTuple):
    """A sweep that is asked for; blocks, rates and seeds may grow in an old folder, epochs may not change."""

    blocks: tuple = (0,)
    rates: tuple = ("1e-3",)
    seeds: int = 1
    epochs: int = 1

    @property
    def flags(self):
        lists = (f"--blocks={','.join(map(str, self.blocks))}", f"--learning_rates={','.join(self.rates)}")
        return (*SMALL, *lists, f"--seeds={self.seeds}", f"--epochs={self.epochs}")

    def grows(self, old):
        """Whether a folder of the old request takes this one."""
        more = set(self.blocks) >= set(old.blocks) and set(self.rates) >= set(old.rates) and self.seeds >= old.seeds
        return more and self.epochs == old.epochs


REQUESTS = [
    Request(blocks, rates, seeds, epochs)
    for blocks in ((0,), (0, 1))
    for rates in (("1e-3",), ("1e-3", "1e-2"))
    for seeds in (1, 2)
    for epochs in (1, 2)
]


def answer(folder):
    """The answer and the table of a finished sweep, without seconds."""
    values = without_seconds(json.loads((folder / "answer.json").read_text()))
    head, *lines = (folder / "results.csv").read_text().splitlines()
    kept = [index for index, name in enumerate(head.split(",")) if "seconds" not in name and name != "same_machine"]
    return values, [[line.split(",")[index] for index in kept] for line in lines]


def cut(path, chance):
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content) + 1)])


def flip(path, chance):
    content = bytearray(path.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def replaced_by(make):
    def replace(path, chance):
        path.unlink()
        make(path)

    return replace


DAMAGES = {
    "cut": cut,
    "flipped": flip,
    "deleted": lambda path, chance: path.unlink(),
    "a folder": replaced_by(os.mkdir),
    "a pipe": replaced_by(os.mkfifo),
    "a link to nothing": replaced_by(lambda path: path.symlink_to("nowhere")),
    "a link to a device": replaced_by(lambda path: path.symlink_to("/dev/zero")),
}


DELETED = ["config.json", "trials", ".lock", ".writer.json", "answer.json", "results.csv"]


class WorkFolder(RuleBasedStateMachine):
    """One work folder and what happens to it.

    `held` has every request that the folder may hold: after a kill, the one before and the one that was killed. None
    stands for an empty folder. `touched` says whether someone changed files, so that any refusal has a reason.
    """

    def __init__(self, ask, command, place, untouched, counted):
        super().__init__()
        self.ask = ask
        self.command = command
        self.place = place
        self.untouched = untouched
        self.counted = counted
        self.folder = place / "w"
        self.outside = place / "outside"
        self.start_over()
        shutil.rmtree(self.outside, ignore_errors=True)
        self.outside.mkdir()
        (self.outside / "kept").write_text("somebody's")

    def start_over(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.held = {None}
        self.touched = False

    def taken(self, request):
        """Whether the folder may take a request; and whether it may refuse it."""
        grows = {old is None or request.grows(old) for old in self.held}
        return self.touched or True in grows, self.touched or False in grows

    def expect(self, request, done, may_fail=False, before=()):
        """The command's answer is right, or it refused with reason; then the advice of its line is followed.

        What is advised mends what the line says: the next run may find another damage, but not the same one.
        """
        self.counted[done.returncode] += 1
        may_take, may_refuse = self.taken(request)
        assert (self.outside / "kept").read_text() == "somebody's"
        if done.returncode == 0:
            assert may_take, "taken for another study"
            assert answer(self.folder) == self.untouched(request)
            self.held = {request}
            self.touched = False
            return
        assert done.returncode == 2 or (done.returncode == 1 and may_fail), done.stderr
        *progress, line = done.stderr.splitlines()
        assert line.startswith("error: ") and not any("error" in said for said in progress), done.stderr
        if done.returncode == 1:
            return
        assert may_refuse, line
        if self.touched:
            assert line not in before, "the advice did not help"
            self.follow(line)
            again = self.ask(self.place, "sweep_blocks", *request.flags)
            self.expect(request, again, before=(*before, line))

    def follow(self, line):
        """Do what a refusal advises: remove what it names, or take another folder."""
        named = re.search(r"remove (w\S*?)(, and|$)", line) or re.match(r"error: (w\S*?): .*; remove it, or", line)
        if named is None:
            assert "choose another workdir" in line, line
            self.start_over()
            return
        path = self.place / named[1]
        assert path.is_relative_to(self.folder) and os.path.lexists(path), line
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    @invariant()
    def count_the_step(self):
        self.counted["steps"] += 1

    @rule(request=strategies.sampled_from(REQUESTS))
    def run(self, request):
        self.expect(request, self.ask(self.place, "sweep_blocks", *request.flags))

    @precondition(lambda self: None not in self.held)
    @rule(grown=strategies.booleans())
    def run_again(self, grown):
        request = sorted(self.held)[0]
        request = request._replace(seeds=2, blocks=(0, 1)) if grown else request
        self.expect(request, self.ask(self.place, "sweep_blocks", *request.flags))

    @rule(request=strategies.sampled_from(REQUESTS), largest=strategies.sampled_from([0, 300, 1000, 3000]))
    def fill_the_disk(self, request, largest):
        done = self.ask(self.place, "sweep_blocks", *request.flags, LARGEST_FILE=str(largest))
        may_take, _ = self.taken(request)
        self.expect(request, done, may_fail=True)
        if done.returncode == 1 and may_take:
            self.held |= {request}

    @rule(
        request=strategies.sampled_from(REQUESTS),
        seconds=strategies.floats(0, 4),
        environment=strategies.sampled_from(ENVIRONMENTS),
    )
    def kill(self, request, seconds, environment):
        process = self.command("sweep_blocks", *request.flags, background=True, **environment)
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        if process.returncode == -signal.SIGKILL:
            self.held |= {request} if self.taken(request)[0] else set()
        else:
            self.expect(request, subprocess.CompletedProcess(process.args, process.returncode, out, err))
        self.counted["killed"] += process.returncode == -signal.SIGKILL

    @precondition(lambda self: self.folder.exists())
    @rule(chance=strategies.integers(0, 2**32), damage=strategies.sampled_from(sorted(DAMAGES)))
    def damage(self, chance, damage):
        chance = random.Random(chance)
        present = sorted(path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        if present:
            DAMAGES[damage](chance.choice(present), chance)
            self.touched = True
            self.counted[damage] += 1

    @precondition(lambda self: (self.folder / "trials").is_dir())
    @rule(chance=strategies.integers(0, 2**32), whole=strategies.booleans())
    def exchange(self, chance, whole):
        """Two trials, or two files of one name."""
        trials = sorted(path for path in (self.folder / "trials").iterdir() if path.is_dir())
        if len(trials) > 1:
            first, second = random.Random(chance).sample(trials, 2)
            if not whole:
                name = random.Random(chance).choice(["config.json", "result.json", "test_answers.npy"])
                first = first / name
                second = second / name
            if first.exists() and second.exists():
                aside = self.place / "aside"
                first.rename(aside)
                second.rename(first)
                aside.rename(second)
                self.touched = True
                self.counted["exchanged"] += 1

    @precondition(lambda self: (self.folder / "trials").is_dir())
    @rule(chance=strategies.integers(0, 2**32))
    def link_checkpoints(self, chance):
        trials = sorted(path for path in (self.folder / "trials").iterdir() if path.is_dir())
        if trials:
            place = random.Random(chance).choice(trials) / "checkpoints"
            if not os.path.lexists(place):
                place.symlink_to(self.outside)
                self.counted["links"] += 1

    @precondition(lambda self: self.folder.exists())
    @rule(name=strategies.sampled_from(DELETED))
    def delete(self, name):
        path = self.folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()
        if name in ("config.json", "trials"):
            self.touched = True


def work(answering, command, tmp_path, examples, number):
    """Run the machine; how often each thing happened."""
    print(f"seed {number}")
    counted = Counter()
    answers = {}

    def untouched(request):
        if request not in answers:
            place = tmp_path / f"untouched-{len(answers)}"
            place.mkdir()
            done = answering.ask(place, "sweep_blocks", *request.flags)
            assert done.returncode == 0, done.stderr
            answers[request] = answer(place / "w")
        return answers[request]

    def machine():
        return WorkFolder(answering.ask, command, tmp_path, untouched, counted)

    run_state_machine_as_test(
        hypothesis.seed(number)(machine),
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
    print(dict(counted))
    return counted


@pytest.mark.slow
def test_whatever_happens_to_a_work_folder(answering, command, tmp_path):
    counted = work(answering, command, tmp_path, examples=5, number=1)
    assert counted["steps"] >= 100 and counted[0] >= 10 and counted[2] >= 10 and counted["killed"] >= 5


@pytest.mark.long
def test_whatever_happens_to_a_work_folder_a_thousand_times(answering, command, tmp_path):
    counted = work(answering, command, tmp_path, examples=45, number=random.randrange(2**32))
    assert counted["steps"] >= 1000
