"""How accurate is one network after one training?

    python -m experiments.train --dataset=mnist --model=lenet5 --epochs=10 --seed=0 --workdir=DIR

Prints the network's table, trains, and reads the whole test set once at the end. The work folder then has the settings,
a line of metrics for each epoch, the result, the trained network, the last checkpoint and a page that shows them.
"""

from pathlib import Path

from cnn import files
from cnn.config import TrialConfig, to_json
from cnn.data.content import Dataset
from cnn.network import summary
from cnn.show import page
from cnn.show.training_page import training_page
from cnn.study.forecast import forecast_trial
from cnn.training import trial
from cnn.training.folder import Result, TrialFolder, default_workdir
from cnn.training.prepared import prepare_trials
from cnn.training.record import settings
from experiments.command import leave
from experiments.command.again import command_line
from experiments.command.experiment import PAGE, Command
from experiments.command.run import Asked, run_command

COMMAND = Command(name="train", doc=__doc__, config=TrialConfig)


def train(config: TrialConfig, asked: Asked) -> int:
    """Train as the flags say, and print the result."""
    dataset = asked.load(config)
    prepared = prepare_trials(config, dataset)
    workdir = asked.workdir or default_workdir("train", dataset.slug, to_json(config))
    result = TrialFolder(workdir).result(settings(config, dataset))  # refused before anything is printed
    printed = leave.say(summary.table(prepared.network, prepared.task.image_shape))
    if asked.dry_run:
        rest = "The training is done." if result else _rest(config, dataset, workdir, asked)
        return printed or leave.say(f"\n{rest}\n\nFolder: {workdir}")
    options = trial.Options(
        keep=True,
        keep_networks=(config.seed,),
        checkpoint_seconds=asked.checkpoint_seconds,
        tensorboard=asked.tensorboard,
        stream=asked.stream,
        profile=asked.profile and asked.profile / config.network.model,
    )
    outcome = trial.run(config, dataset, workdir, options, asked.progress)
    path = workdir / PAGE
    if result is None or not path.exists():  # a finished training leaves its page as it is
        with files.one_writer(workdir):
            again = command_line("train", config, asked.workdir)
            own = TrialFolder(workdir)
            said_first = said(outcome.result)
            page.write(training_page(COMMAND.question, said_first, outcome, own, prepared, dataset, again), path)
    return printed or leave.say(f"\n{said(outcome.result)} Folder: {workdir}\nPage: {path}")


def _rest(config: TrialConfig, dataset: Dataset, workdir: Path, asked: Asked) -> str:
    """How long the training still takes from its last checkpoint on."""
    done = TrialFolder(workdir).checkpoints().newest()
    return forecast_trial(config, dataset, done, asked.progress, asked.stream).words()


def said(result: Result) -> str:
    """The result in a sentence.

    Example:
        >>> said(Result("done", test_accuracy=0.975, test_examples=360, epochs=1))
        'Test accuracy 97.50 % on 360 images after 1 epoch.'
    """
    if result.status == "diverged" or result.test_accuracy is None:
        return f"Diverged: the loss was not finite at step {result.bad_step}."
    epochs = f"{result.epochs} epoch{'' if result.epochs == 1 else 's'}"
    collapsed = (
        " The training collapsed: this is no better than always the commonest class." if result.collapsed else ""
    )
    accuracy = f"Test accuracy {100 * result.test_accuracy:.2f} % on {result.test_examples:,} images after {epochs}."
    return f"{accuracy}{collapsed}"


if __name__ == "__main__":
    run_command(COMMAND, train)
