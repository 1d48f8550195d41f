"""Whatever happens to a work folder, the answer is that of an untouched folder, or the command refuses in one line.

A machine of states (hypothesis) works on one folder with real commands: it runs, grows and changes a sweep or a
training, kills it, damages, deletes and exchanges files, puts links, pipes and folders in their place, fills the disk,
and changes the environment. After a refusal it does what the line advises. Now and then it asks the trained network.
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
import numpy as np
import pytest
from hypothesis import Phase, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from PIL import Image

from tests.faults.harness import is_time, without_seconds

SMALL = ("--width=4", "--hidden=8", "--batch_size=512", "--checkpoint_seconds=0", "--workdir=w")
ENVIRONMENTS = [{}, {"JAX_ENABLE_X64": "1"}, {"JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_RANDOM_SEED_OFFSET": "7"}]


class Sweep(NamedTuple):
    """A sweep that is asked for; blocks, rates and seeds may grow in an old folder, epochs may not change."""

    blocks: tuple = (0,)
    rates: tuple = ("1e-3",)
    seeds: int = 1
    epochs: int = 1

    @property
    def command(self):
        lists = (f"--blocks={','.join(map(str, self.blocks))}", f"--learning_rates={','.join(self.rates)}")
        numbers = (f"--seeds={self.seeds}", f"--epochs={self.epochs}", "--tuning_seeds=1")
        return ("sweep_blocks", *SMALL, *lists, *numbers)

    def grows(self, old):
        """Whether a folder of the old request takes this one."""
        more = set(self.blocks) >= set(old.blocks) and set(self.rates) >= set(old.rates) and self.seeds >= old.seeds
        return more and self.epochs == old.epochs

    def grown(self):
        return self._replace(seeds=2, blocks=(0, 1))

    @staticmethod
    def answer(folder):
        """The answer and the table of a finished sweep, without seconds."""
        values = without_seconds(json.loads((folder / "answer.json").read_text()))
        head, *lines = (folder / "results.csv").read_text().splitlines()
        names = head.split(",")
        kept = [index for index, name in enumerate(names) if not is_time(name) and name != "same_machine"]
        return values, [[line.split(",")[index] for index in kept] for line in lines]


class Training(NamedTuple):
    """A training that is asked for; no setting of an old folder may change."""

    epochs: int = 1
    seed: int = 0

    @property
    def command(self):
        return ("train", *SMALL, "--blocks=1", f"--epochs={self.epochs}", f"--seed={self.seed}")

    def grows(self, old):
        return self == old

    def grown(self):
        return self

    @staticmethod
    def answer(folder):
        """The result of a finished training, without seconds."""
        values = without_seconds(json.loads((folder / "result.json").read_text()))
        return {name: value for name, value in values.items() if name != "same_machine"}


SWEEPS = [
    Sweep(blocks, rates, seeds, epochs)
    for blocks in ((0,), (0, 1))
    for rates in (("1e-3",), ("1e-3", "1e-2"))
    for seeds in (1, 2)
    for epochs in (1, 2)
]
TRAININGS = [Training(epochs, seed) for epochs in (1, 3) for seed in (0, 1)]


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


DELETED = ["config.json", "trials", ".lock", ".writer.json", "answer.json", "results.csv", "result.json", "checkpoints"]


class WorkFolder(RuleBasedStateMachine):
    """One work folder and what happens to it.

    `held` has every request that the folder may hold: after a kill, the one before and the one that was killed. None
    stands for an empty folder. `touched` says whether someone changed files since the last answer, so that any refusal
    has a reason, and `damaged` whether someone did since the folder was new: a command that finds its work done opens
    no more files than it needs.
    """

    def __init__(self, requests, ask, predict, command, place, untouched, counted):
        super().__init__()
        self.requests = strategies.sampled_from(requests)
        self.ask = ask
        self.predict = predict
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
        self.damaged = False

    def change(self):
        """Somebody changed a file that a command reads."""
        self.touched = True
        self.damaged = True

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
            assert request.answer(self.folder) == self.untouched(request)[0]
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
            again = self.ask(self.place, *request.command)
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

    @rule(data=strategies.data())
    def run(self, data):
        request = data.draw(self.requests)
        self.expect(request, self.ask(self.place, *request.command))

    @precondition(lambda self: None not in self.held)
    @rule(grown=strategies.booleans())
    def run_again(self, grown):
        request = sorted(self.held)[0]
        request = request.grown() if grown else request
        self.expect(request, self.ask(self.place, *request.command))

    @rule(data=strategies.data(), environment=strategies.sampled_from(ENVIRONMENTS[1:]))
    def run_in_another_environment(self, data, environment):
        request = data.draw(self.requests)
        self.expect(request, self.command(*request.command, **environment))
        self.counted["other environments"] += 1

    @rule()
    def ask_the_network(self):
        """It answers as that of an untouched folder, or one line says why not: something changed, or is missing."""
        done = self.predict(self.place)
        refused = done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert done.returncode == 0 or refused, done.stderr
        if refused and (self.damaged or None in self.held or len(self.held) > 1):
            return
        answers = [self.untouched(request)[1] for request in self.held - {None}]  # several, if a kill came at the end
        assert (done.stdout, done.stderr) in answers
        self.counted["predicted"] += 1

    @rule(data=strategies.data(), largest=strategies.sampled_from([0, 300, 1000, 3000]))
    def fill_the_disk(self, data, largest):
        request = data.draw(self.requests)
        done = self.ask(self.place, *request.command, LARGEST_FILE=str(largest))
        may_take, _ = self.taken(request)
        self.expect(request, done, may_fail=True)
        if done.returncode == 1 and may_take:
            self.held |= {request}

    @rule(data=strategies.data(), seconds=strategies.floats(0, 4), environment=strategies.sampled_from(ENVIRONMENTS))
    def kill(self, data, seconds, environment):
        request = data.draw(self.requests)
        process = self.command(*request.command, background=True, **environment)
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
            self.change()
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
                self.change()
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
        self.damaged = True
        if name in ("config.json", "trials", "result.json", "checkpoints"):
            self.touched = True


def work(requests, answering, command, tmp_path, examples, number):
    """Run the machine; how often each thing happened."""
    print(f"seed {number}")
    counted = Counter()
    answers = {}
    digit = np.random.default_rng(0).integers(0, 17, (8, 8), np.uint8)
    picture = tmp_path / "picture.png"
    Image.fromarray(digit).save(picture)

    def predict(where):
        return answering.ask(where, "predict", "--workdir=w", "--json", str(picture))

    def untouched(request):
        """The answer of a folder of its own, and what its network predicts."""
        if request not in answers:
            own = tmp_path / f"untouched-{len(answers)}"
            own.mkdir()
            done = answering.ask(own, *request.command)
            assert done.returncode == 0, done.stderr
            predicted = predict(own)  # refused where every training collapsed, so that no depth is recommended
            answers[request] = (request.answer(own / "w"), (predicted.stdout, predicted.stderr))
        return answers[request]

    def machine():
        return WorkFolder(requests, answering.ask, predict, command, tmp_path, untouched, counted)

    run_state_machine_as_test(
        hypothesis.seed(number)(machine),
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=False,  # the seed above chooses
            phases=[Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
    print(dict(counted))
    return counted


@pytest.mark.slow
@pytest.mark.parametrize(("requests", "examples"), [(SWEEPS, 5), (TRAININGS, 5)], ids=["sweep", "training"])
def test_whatever_happens_to_a_work_folder(requests, examples, answering, command, tmp_path):
    counted = work(requests, answering, command, tmp_path, examples, number=1)
    assert counted["steps"] >= 100 and counted[0] >= 10 and counted[2] >= 10 and counted["killed"] >= 3


@pytest.mark.long
@pytest.mark.parametrize(("requests", "examples"), [(SWEEPS, 45), (TRAININGS, 45)], ids=["sweep", "training"])
def test_whatever_happens_to_a_work_folder_a_thousand_times(requests, examples, answering, command, tmp_path):
    counted = work(requests, answering, command, tmp_path, examples, number=random.randrange(2**32))
    assert counted["steps"] >= 1000
