"""Predictions through the command: of a training, and of a sweep's recommended depth."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from cnn import files
from cnn.data import datasets
from cnn.errors import RequestError
from cnn.study.chosen import trained_in
from cnn.trained.network import Trained

pytestmark = pytest.mark.thorough

SMALL = ("--epochs=4", "--batch_size=32", "--width=4", "--hidden=16")
SWEEP = ("sweep_blocks", *SMALL, "--blocks=0,1", "--learning_rates=1e-2", "--seeds=2")


@pytest.fixture(scope="module")
def folders(answering, tmp_path_factory):
    """A finished training, a finished sweep, one that kept no network, and pictures of digits."""
    folder = tmp_path_factory.mktemp("predict")
    for workdir, run in {
        "trained": ("train", *SMALL, "--learning_rate=1e-2"),
        "swept": (*SWEEP, "--keep=all"),
        "empty": (*SWEEP, "--keep=none"),
    }.items():
        done = answering.ask(folder, *run, f"--workdir={workdir}")
        assert done.returncode == 0, done.stderr
    digits = datasets.load("digits")
    (folder / "pictures").mkdir()
    for index in range(20):
        grey = (digits.test_images[index, ..., 0].astype(int) * 255 // 16).astype(np.uint8)
        Image.fromarray(grey).save(folder / "pictures" / f"{index:02}-{digits.test_labels[index]}.png")
    return folder


@pytest.fixture
def asked(answering, folders):
    return lambda *flags: answering.ask(folders, "predict", *flags)


@pytest.mark.parametrize("workdir", ["trained", "swept"])
def test_pictures_of_digits_are_recognised(asked, folders, workdir):
    """The network gives each picture the class that it gives the test image."""
    done = asked(f"--workdir={workdir}", "--json", "pictures")
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr
    answers = json.loads(done.stdout)
    said = [answer["likeliest"][0]["class"] for answer in answers]
    trained = trained_in(folders / workdir)
    assert trained.largest_pixel == 16
    logits = trained.outputs(datasets.load("digits").test_images[:20])
    assert said == [str(label) for label in logits.argmax(1)]
    assert np.mean([name == answer["file"][-5] for name, answer in zip(said, answers, strict=True)]) > 0.7


def test_a_sweep_answers_by_its_recommended_depth(folders):
    blocks = json.loads((folders / "swept" / "answer.json").read_text())["recommended_blocks"]
    trained = trained_in(folders / "swept")
    assert trained.config.network.blocks == blocks and trained.config.seed == 0


def test_where_the_first_seed_left_no_network_the_next_one_answers(folders, tmp_path):
    """As a first seed that diverged, which leaves none."""
    copy = tmp_path / "copy"
    shutil.copytree(folders / "swept", copy)
    blocks = trained_in(copy).config.network.blocks
    (first,) = copy.glob(f"trials/compare-blocks{blocks}-*-seed0")
    shutil.rmtree(first)
    first.mkdir()
    assert trained_in(copy).config.seed == 1


def test_settings_that_are_missing_are_named(folders, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folders / "swept", copy)
    for settings in copy.glob("trials/compare-*/config.json"):
        settings.unlink()
    with pytest.raises(RequestError, match=r"seed0/config\.json: is missing; the same sweep writes it again"):
        trained_in(copy)


def test_the_table_names_the_network_and_each_picture(asked):
    done = asked("--workdir=trained", "pictures/00-1.png", "pictures/01-4.png", "--invert")
    assert done.returncode == 0 and done.stdout.startswith("convnet, trained on digits with seed 0, test accuracy ")
    assert "pictures/00-1.png" in done.stdout and "likeliest" in done.stdout and done.stdout.count("%") == 1 + 2 * 3


def test_a_wrong_file_is_one_line_and_the_others_are_answered(asked, folders):
    (folders / "bad.png").write_text("no")
    done = asked("--workdir=trained", "bad.png", "x" * 300, "pictures/00-1.png")
    assert done.returncode == 1 and "pictures/00-1.png" in done.stdout
    bad, long = [line for line in done.stderr.splitlines() if "error" in line]
    assert bad.startswith("error: bad.png: no picture") and long.startswith(f"error: {'x' * 300}: ")


def test_links_in_a_folder_are_counted_beside_the_answers(asked, folders):
    (folders / "linked").mkdir()
    (folders / "linked" / "a.png").symlink_to(folders / "pictures" / "00-1.png")
    done = asked("--workdir=trained", "--json", "linked", "pictures/00-1.png")
    assert done.returncode == 0 and len(json.loads(done.stdout)) == 1
    assert "1 link is not followed in 'linked', such as 'a.png'" in done.stderr.splitlines()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("pictures",), "workdir='': must be a folder of train or of sweep_blocks"),
        (("--workdir=trained",), "images=(): must name at least one picture"),
        (("--workdir=nowhere", "pictures"), "workdir='nowhere': must be a finished folder"),
        (("--workdir=empty", "pictures"), "holds no trained network of the recommended depth; a sweep with --keep=all"),
        (
            ("--workdir=empty/trials/compare-blocks1-rate0.01-seed0", "pictures"),
            "seed0': holds no trained network; the run that made it leaves one with --keep=all in a new workdir",
        ),
        (("--workdir=trained", "--top=3", "pictures"), "flag='top'"),
        (("--workdir=trained", "--invert=2", "pictures"), "must be true or false"),
    ],
)
def test_what_cannot_be_asked_is_one_line(asked, flags, said):
    done = asked(*flags)
    assert done.returncode == 2 and done.stdout == "" and said in done.stderr and done.stderr.count("\n") == 1


def damaged(tmp_path, values):
    (tmp_path / "answer.json").write_text(json.dumps(files.seal(values)))
    return tmp_path


def test_a_damaged_answer_is_refused(asked, folders, tmp_path):
    answer = files.unseal(json.loads((folders / "swept" / "answer.json").read_text()))
    for values in ({}, {**answer, "depths": 3}, {**answer, "recommended_blocks": "all"}):
        done = asked(f"--workdir={damaged(tmp_path, values)}", "pictures")
        assert done.returncode == 2 and "must be a finished folder of train or" in done.stderr, done.stderr
    done = asked(f"--workdir={damaged(tmp_path, {**answer, 'recommended_blocks': None})}", "pictures")
    assert done.returncode == 2 and "recommends no number of blocks" in done.stderr


def test_a_kept_network_is_read_by_a_process_that_knows_nothing_else(folders, command):
    done = command("predict", f"--workdir={folders / 'trained'}", "--json", str(folders / "pictures" / "00-1.png"))
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr
    probability = json.loads(done.stdout)[0]["likeliest"][0]["probability"]
    image = datasets.load("digits").test_images[:1]
    assert abs(Trained.load(folders / "trained").probabilities(image).max() - probability) < 1e-5


def exchange_networks(folder):
    """Each of two trials has the other's network."""
    first, second = sorted((folder / "trials").glob("compare-*-seed0"))
    for name in ("trained.json", "trained.safetensors"):
        (first / name).rename(folder / "aside")
        (second / name).rename(first / name)
        (folder / "aside").rename(second / name)


def exchange_descriptions(folder):
    first, second = sorted((folder / "trials").glob("compare-*-seed0/trained.json"))
    content = first.read_text()
    first.write_text(second.read_text())
    second.write_text(content)


def edit_answer(folder):
    """The other depth."""
    path = folder / "answer.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "recommended_blocks": 1 - values["recommended_blocks"]}))


def lose(name):
    def without(folder):
        for path in folder.rglob(name):
            path.unlink()

    return without


def cut(name):
    def short(folder):
        for path in folder.rglob(name):
            path.write_bytes(path.read_bytes()[:-9])

    return short


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (exchange_networks, "trained.safetensors: is damaged"),
        (exchange_descriptions, "trained.safetensors: is damaged, or belongs to another network"),
        (edit_answer, "answer.json: was edited, or is damaged"),
        (lose("trained.safetensors"), "trained.safetensors: is missing"),
        (lose("trained.json"), "trained.json is missing"),
        (cut("trained.json"), "-seed0, and the command that made it runs that trial again"),
    ],
    ids=["exchanged networks", "exchanged descriptions", "edited answer", "no weights", "no description", "cut short"],
)
def test_a_network_answers_only_for_the_trial_that_it_was_kept_with(asked, answering, folders, damage, said):
    folder = folders / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folders / "swept", folder)
    damage(folder)
    done = asked("--workdir=damaged", "pictures")
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr
    again = answering.ask(folders, *SWEEP, "--workdir=damaged")
    if damage is edit_answer:
        assert again.returncode == 0 and asked("--workdir=damaged", "--json", "pictures").returncode == 0
    else:
        assert again.returncode == 2 and "remove" in again.stderr and "runs that trial again" in again.stderr


def test_another_training_is_not_taken_for_this_one(asked, answering, folders):
    """Its weights and their description go together, but not with the result."""
    run = ("train", *SMALL, "--learning_rate=1e-2")
    for seed in (0, 1):
        assert answering.ask(folders, *run, f"--seed={seed}", f"--workdir=seed{seed}").returncode == 0
    for name in ("trained.json", "trained.safetensors"):
        shutil.copy(folders / "seed1" / name, folders / "seed0" / name)
    for done in (asked("--workdir=seed0", "pictures"), answering.ask(folders, *run, "--seed=0", "--workdir=seed0")):
        assert done.returncode == 2 and "seed0/trained.safetensors: is damaged; remove" in done.stderr, done.stderr


def test_names_of_pictures_are_shown_and_not_obeyed(asked, folders):
    name = "\x1b[31mred\n.png"
    shutil.copy(next((folders / "pictures").iterdir()), folders / name)
    done = asked("--workdir=trained", name)
    assert done.returncode == 0 and "\\x1b[31mred\\n.png" in done.stdout and "\x1b" not in done.stdout


def test_a_pipe_is_no_picture(asked, folders):
    os.mkfifo(folders / "pipe.png")
    done = asked("--workdir=trained", "pipe.png")
    assert done.returncode == 1 and "pipe.png: not a regular file" in done.stderr
