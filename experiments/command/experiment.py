"""Defines an experiment: the settings it takes, the networks it compares, and its report of the results.

A notebook calls what the command calls: `sweep_blocks.EXPERIMENT.run(config, dataset)`. Nothing here reads a flag or
prints.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from cnn import files
from cnn.config import StudyConfig, TrialConfig
from cnn.data.content import Dataset
from cnn.progress import Progress
from cnn.show import page, style
from cnn.show.parts import Page
from cnn.study import run
from cnn.study.answer import Answer
from cnn.study.comparison import ComparisonAnswer
from cnn.study.executors import Executor
from cnn.study.finished import Results
from cnn.study.plan import Study
from cnn.study.shards import Shard
from cnn.training.trial import CHECKPOINT_SECONDS
from experiments.command.again import command_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
Config = TypeVar("Config", bound=TrialConfig | StudyConfig)
Options = TypeVar("Options")
Draw = Callable[[], "Figure"]  # draws a picture
Paged = Callable[[str, str, Mapping[str, bytes]], Page]  # from the question, the command, the pictures as PNG
Advice = Callable[[Sequence[str]], str | None]  # from the command line of a run to the next one to try


def no_advice(arguments: Sequence[str]) -> str | None:
    """Nothing to try next."""
    return None


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What every command has: a name, and a question that it answers.

    Attributes:
        name: the name of its file in `experiments/`.
        doc: that file's docstring; the first line is the question.
    """

    name: str
    doc: str

    @property
    def question(self) -> str:
        """The question that the command answers."""
        first = (self.doc or "").strip().partition("\n")[0]  # `python -OO` drops docstrings
        return first or self.name


@dataclass(frozen=True, kw_only=True)
class Command(Asking, Generic[Config]):
    """A command and its settings.

    Attributes:
        config: the class of its settings; each field of it, and of the settings inside it, is a flag.
        fixed: the settings that have no flag, since the command varies or fixes them. "network", "training" and "scene"
            each stand for all settings of that group.
    """

    config: type[Config]
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tool(Asking, Generic[Options]):
    """A command that trains nothing, with flags of its own.

    Attributes:
        options: the class of its flags' values: a frozen dataclass whose fields are made by `cnn.config.setting`. Its
            `__post_init__` refuses wrong values.
        arguments: the field for the arguments that are no flags, a tuple of text; "": there are none.
    """

    options: type[Options]
    arguments: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an experiment reports of its results.

    Attributes:
        answer: the result, which `answer.json` keeps.
        text: the printed text: the tables, what their marks mean, and the answer in a sentence.
        pictures: for each picture its name and the function that draws it.
        page: makes the page.
        advice: the command to try next, if there is one.
    """

    answer: Answer | ComparisonAnswer
    text: str
    pictures: Mapping[str, Draw]
    page: Paged
    advice: Advice = no_advice


@dataclass(frozen=True)
class Finished:
    """An experiment that has run: its results, its report, and the pictures and the page in its work folder."""

    results: Results
    report: Report
    pictures: tuple[Path, ...]
    page: Path

    def text(self, arguments: Sequence[str]) -> str:
        """The lines that the command ends with.

        Args:
            arguments: the command line of this run, such as `sys.orig_argv`.
        """
        word = "Picture" if len(self.pictures) == 1 else "Pictures"
        places = f"{word}: {', '.join(map(str, self.pictures))}\nPage: {self.page}"
        advice = self.report.advice(arguments)
        return "\n".join([self.report.text, places, *([f"Next: {advice}"] if advice else [])])


@dataclass(frozen=True, kw_only=True)
class Experiment(Command[Config]):
    """A command that compares networks.

    Attributes:
        study: returns the networks to compare and what to measure, given the settings and the data set.
        report: returns the report, given the results.
    """

    study: Callable[[Config, Dataset], Study]
    report: Callable[[Results], Report]

    def run(
        self,
        config: Config,
        dataset: Dataset,
        workdir: Path | None = None,
        *,
        keep: str = "first",
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        tensorboard: bool = False,
        stream: bool = False,
        profile: Path | None = None,
        progress: Progress = Progress(),
        executor: Executor | None = None,
        shard: Shard | None = None,
    ) -> Finished:
        """Run the trials that are missing; write `answer.json`, the pictures and `report.html` into the work folder.

        Args:
            config: the settings.
            dataset: the data set that the settings name.
            workdir: the work folder; by default the study's own folder under `runs/`.
            keep: which trained networks stay: that of each variant's `first` seed, `all`, or `none`.
            checkpoint_seconds: how much time passes between two checkpoints of a trial.
            tensorboard: whether trials that run write what TensorBoard shows into their folders.
            stream: whether the images stay on the host, which gives each step its batch.
            profile: gets a folder for each variant whose training steps run, with a trace of them.
            progress: shows how long the work takes.
            executor: where the trials run; by default in this process.
            shard: the part of the trials that runs here; the last shard to end writes the answer.

        Raises:
            RequestError: the request cannot be met; in that case nothing has been written.
            UnfinishedError: the shard has ended, and trials of others are missing.
        """
        study = self.study(config, dataset)
        with run.running(
            study,
            workdir,
            keep=keep,
            checkpoint_seconds=checkpoint_seconds,
            tensorboard=tensorboard,
            stream=stream,
            profile=profile,
            progress=progress,
            executor=executor,
            shard=shard,
        ) as results:
            report = self.report(results)
            results.write_answer(report.answer.to_json())
            with style.own():
                drawn = {name: style.png(draw()) for name, draw in report.pictures.items()}
            pictures = {results.workdir / f"{name}.png": content for name, content in drawn.items()}
            for path, content in pictures.items():
                files.write(path, content)
            command = command_line(self.name, config, workdir)
            own = results.workdir / PAGE
            page.write(report.page(self.question, command, drawn), own)
        return Finished(results, report, tuple(pictures), own)
