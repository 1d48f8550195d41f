"""Wrong flags: one line that names the value and what would be accepted, exit status 2, nothing written."""

import re
import subprocess
import sys

import pytest

from cnn import recipes
from cnn.network import models

EXPERIMENTS = (
    "train",
    "sweep_blocks",
    "why_convnets",
    "localize",
    "features",
    "downsampling",
    "convolutions",
    "one_by_one",
    "lenet5",
)
NO_NUMBERS = [("", "a number"), ("x", "a number"), ("1e", "a number"), ("nan", "nan"), ("1,", "a number")]
NO_INTEGERS = [(text, "an integer") for text in ("", "x", "1.5", "1e3", "nan", "0x10", "9" * 5000)]
NO_FOLDERS = [("/etc/hostname", "must be a folder"), ("/etc/hostname/x", "must be a folder")] + [
    (text, accepted)
    for text, accepted in (
        ("~nobody-of-this-name/x", "a user"),
        ("x" * 300, "must be a folder"),
        ("x/" * 1900, "at most 100 folders"),
        ("gs://bucket/x", "local or shared file system"),
        ("s3://bucket/x", "copy it to or from an object store"),
    )
]
QUICK = ("train", "lenet5")  # in processes of their own; the others are slow
KNOWN = {name: ", ".join(names) for name, names in models.choices().items()}
# For each flag values that no experiment takes, and what the line must say beside the flag's name.
WRONG = {
    "batch_size": [
        *NO_INTEGERS,
        ("0", "at least 1"),
        ("-64", "at least 1"),
        ("2000", "training images"),
        (f"{2**70}", "most"),
    ],
    "blocks": [*NO_INTEGERS, ("-1", "at least"), ("5", "8 -> 4 -> 2 -> 1 -> 0"), (f"{2**70}", "fits at most")],
    "bottleneck": [*NO_NUMBERS, ("-0.1", "from 0 to 1"), ("2", "from 0 to 1"), ("inf", "from 0 to 1")],
    "cache_dir": NO_FOLDERS,
    "canvas": [*NO_NUMBERS, ("0.5", "from 1 to 8"), ("9", "from 1 to 8"), ("-inf", "from 1 to 8")],
    "checkpoint_seconds": [*NO_NUMBERS, ("-1", "at least 0"), ("-inf", "at least 0")],
    "compiled_dir": NO_FOLDERS,
    "convolutions": [*NO_INTEGERS, ("0", "at least 1"), ("65", "at most 64"), (f"{10**9}", "at most 64")],
    "coordinator_address": [
        *(
            (text, "HOST:PORT of process 0, or auto")
            for text in ("", "here", ":1", "h:", "h:0", "h:65536", "h:x", "AUTO")
        ),
        ("h:1", "must come with num_processes and process_id, or be auto"),
    ],
    "data_dir": NO_FOLDERS,
    "dataset": [
        ("minst", "nearest: mnist"),
        ("digits:2", "must be digits"),
        ("../mnist", "no such folder"),
        ("mnist/..", "must be digits"),
        ("mnist:9.9.9", "version must be 3.0.1"),
        ("mnist;ls", "must be digits"),
        ("x" * 300, "must be digits"),
        ("no/such.npz", "no such file"),
        ("/etc.npz", "no such file"),
        ("gs://bucket/pictures.npz", "local or shared file system"),
    ],
    "dropout": [*NO_NUMBERS, ("1", "below 1"), ("-0.1", "at least 0"), ("inf", "below 1")],
    "dry_run": [("maybe", "true or false"), ("", "true or false"), ("2", "true or false")],
    "epochs": [*NO_INTEGERS, ("0", "at least 1"), ("-1", "at least 1"), (f"{10**12}", "at most 1000000")],
    "filter_size": [*NO_INTEGERS, ("0", "at least 1"), ("-3", "at least 1"), (f"{10**9}", "at most 255")],
    "flip": [("maybe", "true or false"), ("", "true or false"), ("2", "true or false")],
    "ghost_batch": [*NO_INTEGERS, ("0", "at least 1"), (f"{10**12}", "at most 65536")],
    "growth": [*NO_NUMBERS, ("0", "above 0"), ("-2", "above 0"), ("1e200", "at most 16"), ("inf", "at most 16")],
    "head": [("mean", KNOWN["head"]), ("", KNOWN["head"]), ("Dense", "nearest: dense")],
    "hidden": [*NO_INTEGERS, ("0", "at least 1"), (f"{10**12}", "at most 65536")],
    "image_size": [
        *NO_INTEGERS[:-1],
        ("28", "height,width"),
        ("28,28,3", "height,width"),
        ("0,28", "from 1 to 65536"),
        ("28,65537", "from 1 to 65536"),
        ("28,28", "dataset='digits' is no folder of pictures"),
    ],
    "keep": [("frist", "nearest: first"), ("", "first, all, none"), ("2", "first, all, none")],
    "label_smoothing": [*NO_NUMBERS, ("1", "below 1"), ("-0.1", "at least 0")],
    "launcher": [("rey", "nearest: ray"), ("", "local, ray"), ("slurm", "local, ray")],
    "learning_rate": [*NO_NUMBERS, ("0", "above 0"), ("-1", "above 0"), ("inf", "finite"), ("1e-60", "float32")],
    "learning_rates": [
        *NO_NUMBERS,
        ("0.001,0", "above 0"),
        ("0.001,-1", "above 0"),
        ("inf", "finite"),
        ("1e300", "float32"),
        ("0.001,0.001", "none twice"),
        ("0.001;0.003", "comma-separated"),
    ],
    "margin": [*NO_NUMBERS, ("-1", "at least 0"), ("1", "below 1")],
    "match": [("depth", "width, parameters, macs"), ("", "one of width"), ("Width", "nearest: width")],
    "mirror": [("maybe", "true or false"), ("", "true or false"), ("2", "true or false")],
    "model": [("lenet", "nearest: lenet5"), ("", KNOWN["model"]), ("ConvNet", "nearest: convnet")],
    "normalization": [("instance", KNOWN["normalization"]), ("", KNOWN["normalization"]), ("None", "nearest: none")],
    "num_processes": [*NO_INTEGERS, ("2", "must come with coordinator_address=HOST:PORT")],
    "objects": [*NO_INTEGERS, ("3", "at most 2"), ("-1", "at least")],
    "permute": [("maybe", "true or false"), ("", "true or false"), ("2", "true or false")],
    "pooling": [("mean", KNOWN["pooling"]), ("", KNOWN["pooling"]), ("maximum", "nearest: max")],
    "precision": [("float16", "float32, tensorfloat32, bfloat16"), ("", "float32, tensorfloat32, bfloat16")],
    "process_id": [*NO_INTEGERS, ("0", "must come with coordinator_address=HOST:PORT")],
    "profile": [*NO_FOLDERS, ("/proc/nowhere", "must be a folder")],
    "ray_address": [("", "needs launcher='ray'"), ("10.0.0.1:6379", "needs launcher='ray'")],
    "recipe": [("quick", "must be left out: train has no recipe for digits"), ("none", "must be left out")],
    "seed": [*NO_INTEGERS, ("-1", "at least 0"), (f"{2**31}", "at most 2147483647")],
    "seeds": [*NO_INTEGERS, ("0", "at least 1"), ("2000000", "at most 1000000"), ("1,2", "an integer")],
    "shard": [(text, "i/n, the number of a part") for text in ("", "1", "0/3", "4/3", "1/0", "a/b", "-1/3", "1/2/3")],
    "shard_wait": [*NO_NUMBERS, ("-1", "at least 0"), ("-inf", "at least 0")],
    "shift": [*NO_INTEGERS, ("-1", "at least 0"), ("8", "at most 7"), (f"{10**12}", "at most 7")],
    "stream": [("maybe", "true or false"), ("", "true or false"), ("2", "true or false")],
    "turn": [*NO_NUMBERS, ("-1", "from 0 to 180"), ("181", "from 0 to 180")],
    "zoom": [*NO_NUMBERS, ("-0.1", "at least 0"), ("1", "below 1")],
    "cutout": [*NO_INTEGERS, ("-1", "at least 0"), ("8", "at most 7")],
    "tensorboard": [("maybe", "true or false"), ("", "true or false"), ("2", "true or false")],
    "trial_cpus": [*NO_INTEGERS[:-1], ("2", "needs launcher='ray'")],
    "trial_gpus": [*NO_INTEGERS[:-1], ("1", "needs launcher='ray'")],
    "tuning_seeds": [*NO_INTEGERS, ("0", "at least 1"), ("2000000", "at most 1000000")],
    "validation_fraction": [*NO_NUMBERS, ("1", "below 1"), ("-0.1", "0 and below 1"), ("1e-9", "at least one of")],
    "weight_decay": [*NO_NUMBERS, ("-1", "at least 0"), ("inf", "below"), ("1e300", "below")],
    "width": [*NO_NUMBERS, ("0", "65536"), ("1e9", "65536"), ("-16", "65536"), ("inf", "65536")],
    "workdir": [*NO_FOLDERS, ("/proc/nowhere", "must be a folder")],
}


@pytest.fixture(scope="module")
def flags_of(answering, tmp_path_factory):
    """The flags of each experiment, as its help lists them."""
    folder = tmp_path_factory.mktemp("help")
    listed = {name: answering.ask(folder, name, "--help").stdout for name in EXPERIMENTS}
    return {name: set(re.findall(r"^  --(?:\[no\])?(\w+):", text, re.MULTILINE)) for name, text in listed.items()}


def refused(done, folder, *parts):
    """Status 2 and one line that has these parts; nothing is written, and at most a network's table printed."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" or done.args[0] == "train", done.stdout
    line = done.stderr
    assert line.startswith("error: ") and line.count("\n") == 1 and line.endswith("\n"), line
    assert all(part in line for part in parts), line
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_flag_has_wrong_values(flags_of, name):
    assert len(flags_of[name]) >= 17 and flags_of[name] <= WRONG.keys()


@pytest.mark.thorough
@pytest.mark.parametrize("flag", WRONG)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_wrong_values(ask, flags_of, tmp_path, name, flag):
    """A flag that an experiment does not have is refused as an unknown flag."""
    known = flag in flags_of[name]
    more = ["--objects=1"] if name == "train" and flag == "canvas" else []  # else no scene has a canvas
    for value, accepted in WRONG[flag]:
        done = ask(name, *more, f"--{flag}={value}")
        refused(done, tmp_path, flag, accepted if known else "must be a flag of this command")


CASES = [
    ("sweep_blocks", "--blocks=0,4", ["blocks=4", "8 -> 4 -> 2 -> 1 -> 0", "at most 3"]),
    ("sweep_blocks", "--blocks=1,x", ["--blocks=1,x", "comma-separated list, each an integer"]),
    ("sweep_blocks", "--blocks=1,1", ["blocks=(1, 1)", "none twice"]),
    ("sweep_blocks", "--learning_rates=nan", ["learning_rates=nan", "above 0"]),
    ("sweep_blocks", "--validation_fraction=0", ["validation_fraction=0", "above 0"]),
    ("sweep_blocks", "--batch_size=2000", ["batch_size=2000", "at most 1293"]),
    ("sweep_blocks", "--pooling=stride --filter_size=1", ["filter_size=1", "at least 2 with pooling='stride'"]),
    ("sweep_blocks", "--match=parameters --width=1 --hidden=1", ["width=1", "costs differ", "more than 2 %"]),
    ("sweep_blocks", "--epoch=3", ["flag='epoch': must be a flag of this command", "; nearest: epochs\n"]),
    ("sweep_blocks", "--shard_wait=5", ["shard_wait=5.0", "must be given with shard=i/n alone"]),
    ("train", "--objects=1 --nomirror", ["mirror=False", "it is used with objects=0"]),
    ("sweep_blocks", "--epochs", ["Missing value for flag --epochs"]),
    ("sweep_blocks", "--noflip=1", ["--noflip=1", "does not take an argument"]),
    ("sweep_blocks", "--noepochs", ["noepochs"]),
    ("sweep_blocks", "--=3", ["'--=3'", "--name=value"]),
    ("sweep_blocks", "--flagfile=none", ["'none'"]),
    ("sweep_blocks", "--flagfile=/bin/sh", ["decode"]),
    ("sweep_blocks", "--coordinator_address=h:1 --num_processes=2", ["h:1", "must come with process_id, or be auto"]),
    (
        "sweep_blocks",
        "--launcher=ray --coordinator_address=auto",
        ["coordinator_address='auto'", "without launcher='ray': Ray starts the processes"],
    ),
    ("train", "--coordinator_address=auto --process_id=1", ["process_id=1", "coordinator_address=HOST:PORT"]),
    ("train", "--coordinator_address=h:1 --num_processes=0 --process_id=0", ["num_processes=0", "from 1 to"]),
    (
        "train",
        "--coordinator_address=h:1 --num_processes=2 --process_id=2",
        ["process_id=2", "from 0 to 1, with num_processes=2"],
    ),
    ("train", "--coordinator_address=h:1 --num_processes=2 --process_id=-1", ["process_id=-1", "from 0 to 1"]),
    (
        "train",
        "--coordinator_address=h:1 --num_processes=2 --process_id=0 --stream",
        ["stream=True", "false with coordinator_address"],
    ),
    ("sweep_blocks", "-- stray", ["'stray'", "--name=value"]),
    ("train", "--model=lenet5 --width=8", ["width=8", "model='lenet5'", "none of a network's settings"]),
    ("train", "--model=mlp --blocks=1", ["blocks=1", "dropout, hidden, permute"]),
    ("train", "--head=average --hidden=64", ["hidden=64", "model='convnet' and head='average'", "head, permute"]),
    ("train", "--head=average --dropout=0.5", ["dropout=0.5", "model='convnet' and head='average'"]),
    ("train", "--model=resnet --head=average", ["head='average'", "model='resnet'", "blocks, width"]),
    ("train", "--head=average --blocks=0", ["blocks=0", "at least 1 with head='average'", "take 0 blocks: dense"]),
    ("sweep_blocks", "--head=average", ["blocks=0", "at least 1 with head='average'", "take 0 blocks: dense"]),
    ("sweep_blocks", "--head=average --match=macs", ["blocks=0", "at least 1 with head='average'"]),
    ("train", "--dataset=mnist --model=lenet5_1998 --permute", ["permute=True", "model='lenet5_1998'"]),
    ("train", "--model=lenet5_1998 --objects=1", ["objects=1", "only classifies"]),
    ("train", "--ghost_batch=8", ["ghost_batch=8", "model='convnet'", "normalization='none'"]),
    ("train", "--canvas=2", ["canvas=2.0", "objects=1"]),
    ("train", "--objects=1 --shift=2", ["shift=2", "objects=0"]),
    ("train", "--dataset=mnist --recipe=quik", ["recipe='quik'", "nearest: quick"]),
    ("train", "--dataset=mnist --model=mlp --recipe=quick", ["recipe='quick'", "model=convnet"]),
    ("train", "--batch_size=2000", ["batch_size=2000", "at most 1437"]),
    ("why_convnets", "--permute", ["flag='permute'", "nearest: "]),
    ("why_convnets", "--blocks=0", ["blocks=0", "at least 1"]),
    ("sweep_blocks", "--launcher=ray --shard=1/2", ["shard='1/2'", "without launcher='ray'", "Ray divides the trials"]),
    (
        "sweep_blocks",
        "--launcher=ray --profile=p",
        ["profile='p'", "without launcher='ray'", "a trace is of one process"],
    ),
    ("sweep_blocks", "--launcher=ray --ray_address=head", ["ray_address='head'", "HOST:PORT of the head"]),
    (
        "sweep_blocks",
        "--launcher=ray --ray_address=127.0.0.1:1",
        ["ray_address='127.0.0.1:1'", "a running Ray cluster"],
    ),
    ("sweep_blocks", "--launcher=ray --trial_cpus=0", ["trial_cpus=0", "at least 1"]),
    ("sweep_blocks", "--launcher=ray --trial_gpus=-1", ["trial_gpus=-1", "at least 0"]),
    ("train", "--launcher=ray", ["flag='launcher'", "must be a flag of this command"]),
    ("sweep_blocks", "--model=mlp", ["model='mlp'", "one that has blocks: convnet"]),
    ("sweep_blocks", "--model=resnet --blocks=1,5", ["blocks=5", "8 -> 4 -> 2 -> 1", "at most 4"]),
    ("features", "--model=mlp", ["model='mlp'", "convnet"]),
    ("localize", "--objects=0", ["objects=0", "at least 1"]),
    ("localize", "--blocks=0", ["blocks=0", "at least 1"]),
    ("localize", "--shift=1", ["flag='shift'", "nearest: "]),
    ("features", "--blocks=0", ["blocks=0", "at least 1"]),
    ("downsampling", "--blocks=0", ["blocks=0", "at least 1"]),
    ("downsampling", "--filter_size=1", ["filter_size=1", "pooling='stride'"]),
    ("convolutions", "--blocks=0", ["blocks=0", "at least 1"]),
    ("convolutions", "--convolutions=2", ["flag='convolutions'"]),
    ("convolutions", "--match=macs --width=1 --head=average", ["width=1", "costs differ", "more than 2 %"]),
    ("one_by_one", "--blocks=1", ["blocks=1", "at least 2"]),
    ("lenet5", "--blocks=2", ["flag='blocks'", "nearest: "]),
]


@pytest.mark.parametrize("name, flags, parts", CASES, ids=[f"{name} {flags}" for name, flags, _ in CASES])
def test_flags_that_do_not_go_together(ask, tmp_path, name, flags, parts):
    refused(ask(name, *flags.split()), tmp_path, *parts)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS]
)
def test_a_process_of_its_own_says_the_same(command, ask, tmp_path, name):
    flags = ("stray",) if name == "lenet5" else ("--batch_size=2000",)
    alone = command(name, *flags)
    asked = ask(name, *flags)
    refused(asked, tmp_path)
    assert (alone.returncode, alone.stdout, alone.stderr) == (asked.returncode, asked.stdout, asked.stderr)


ABSENT = """
import runpy, sys
sys.modules[sys.argv[1]] = None  # as where it is not installed
sys.argv = sys.argv[2:]
runpy.run_module(f"experiments.{sys.argv[0]}", run_name="__main__", alter_sys=True)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("flag, package", [("tensorboard", "tensorboardX"), ("stream", "grain")])
@pytest.mark.parametrize("name", QUICK)
def test_a_switch_without_what_it_needs(tmp_path, name, flag, package):
    arguments = [sys.executable, "-W", "error", "-c", ABSENT, package, name, f"--{flag}"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    refused(done, tmp_path, f"{flag}=True: needs {package}: pip install '.[{flag}]' (")
    assert done.stdout == ""


@pytest.mark.thorough
def test_ray_where_it_is_not_installed(tmp_path):
    arguments = [sys.executable, "-W", "error", "-c", ABSENT, "ray", "sweep_blocks", "--launcher=ray"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    refused(done, tmp_path, "launcher='ray': needs ray: pip install '.[ray]' (")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_shows_each_flag_with_its_defaults(ask, tmp_path, name):
    epochs = {"localize": 30, "lenet5": 6}.get(name, 20)
    done = ask(name, "--help", "--epochs=none")
    assert done.returncode == 0 and done.stderr == "" and list(tmp_path.iterdir()) == []
    assert "--epochs" in done.stdout and f"digits: {epochs}" in done.stdout and "--workdir" in done.stdout


@pytest.mark.parametrize("flag", ["-h", "--helpshort", "--helpfull"])
def test_other_ways_to_ask_for_help(ask, tmp_path, flag):
    done = ask("sweep_blocks", flag)
    assert (done.returncode, done.stderr) == (0, "") and list(tmp_path.iterdir()) == []
    whole = ask("sweep_blocks", "--help").stdout
    assert done.stdout == whole or (
        flag == "--helpfull" and "--flagfile" in done.stdout and len(done.stdout) > len(whole)
    )


def test_help_shows_the_known_names_and_the_records(ask):
    said = ask("train", "--help").stdout
    assert all(name in said for names in models.choices().values() for name in names)
    assert " ".join(recipes.RECORDS["train"][0].found.split()) in " ".join(said.split())


def test_help_of_a_process_of_its_own(command, ask):
    done = command("sweep_blocks", "--help")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == ask("sweep_blocks", "--help").stdout
