"""Runs the trials of a study on the machines of a Ray cluster, or in several processes of this machine.

Each group of trials is one task. Ray places it where the cores and GPUs are that it asks for. Where a machine or a
process is lost, Ray starts the task again elsewhere, and the trials continue from the checkpoints in the work folder,
which all machines share. The plan and its data set go to each machine once, and a worker process keeps them on its
device. The driver, the process that began the study, writes the table and the answer.

A worker locks the folders of its trials. So where a machine that was taken for lost still runs them, the second attempt
waits until the first has ended, and then reads what that one left. Meanwhile other trials run.
"""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from cnn import files
from cnn.data.records import Records
from cnn.errors import RequestError, require
from cnn.machine import NUMBER_OF_THREADS, Machine
from cnn.progress import Progress
from cnn.study import ray_worker
from cnn.study.executors import groups, record_failure
from cnn.study.folder import StudyFolder, settings_of
from cnn.study.outlook import Outlook, Watch
from cnn.study.plan import Plan, Study, Trial
from cnn.study.ray_cluster import Cluster, joined
from cnn.study.ray_worker import Begun, Board, Message, Order, Reached, Work
from cnn.study.shards import Shard
from cnn.training.folder import Outcome
from cnn.training.interrupt import Interrupt
from cnn.training.loops import choice
from cnn.training.trial import Options

LOOK = 0.5  # seconds between two looks at what workers tell
SAVES = 60.0  # seconds in which stopped trials save their state
SOON = 10.0  # seconds after which a line says that no worker has come yet
RETRIES = 5  # of a task whose machine or process was lost; what ends each process that runs it is no accident


class OnRay:
    """Runs groups of trials as tasks of a Ray cluster, which is joined when there is something to run.

    Args:
        cluster: which one, and what a group of trials gets of it.
        stream: workers leave the images on the host; see `Session`.
        around: gives what surrounds the work of each worker process. It is pickled.
        progress: shows that no worker has come yet.

    Attributes:
        run_group: what a worker does with an order.

    Example:
        >>> from cnn.study.run import running
        >>> def rows(study, workdir):
        ...     with OnRay(Cluster(cpus=2)) as executor, running(study, workdir, executor=executor) as results:
        ...         return results.rows
    """

    run_group = staticmethod(ray_worker.run_group)

    def __init__(
        self,
        cluster: Cluster,
        stream: bool = False,
        around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        progress: Progress = Progress(),
    ) -> None:
        self.cluster = cluster
        self.stream = stream
        self.around = around
        self.progress = progress
        self._stack = contextlib.ExitStack()
        self._machine: Machine | None = None
        self._asked: Mapping[str, Any] = {}  # of Ray, for each task
        self._work: Any = None
        self._study: Study | None = None  # of this work
        self._board: Any = None

    def __enter__(self) -> "OnRay":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def runs_on(self) -> Machine:
        """The machine of a worker; those of a cluster may differ. This joins the cluster.

        Raises:
            RequestError: the cluster cannot be joined, no trial has room there, or its machines lack this package.
        """
        if self._machine is None:
            import ray

            gpus = self._stack.enter_context(joined(self.cluster))
            self._asked = {
                "num_cpus": self.cluster.cpus,
                "num_gpus": gpus,
                "max_retries": RETRIES,
                "runtime_env": {"env_vars": _variables(self.cluster.cpus, gpus)},
            }
            self._board = _on_this_machine(Board)
            first = self._remote(ray_worker.runs_on)(self.around)
            if not ray.wait([first], timeout=SOON)[0]:
                self.progress.line(f"waiting for a worker with trial_cpus={self.cluster.cpus}, trial_gpus={gpus}")
            try:
                self._machine = ray.get(first)
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[-1].strip()
                raise RequestError(
                    f"launcher='ray': workers must have this package and what it needs ({reason})"
                ) from None
        return self._machine

    def check(self, plan: Plan, shard: Shard | None) -> None:
        """Refuse a shard, and images that are decoded when a step takes them: workers get arrays.

        Raises:
            RequestError: the study cannot run on Ray.
        """
        require(shard is None, "shard", str(shard), "left out with launcher='ray': Ray divides the trials")
        dataset = plan.study.dataset
        for images in (dataset.train_images, dataset.test_images):
            accepted = "one whose decoded images have room here, in memory or in cache_dir: launcher='ray' sends them"
            require(not isinstance(images, Records), "dataset", dataset.name, accepted)

    def run(
        self, plan: Plan, folder: StudyFolder, trials: Sequence[Trial], options: Options, progress: Outlook
    ) -> Iterator[Mapping[Trial, Outcome]]:
        """Run trials of one phase, each group in a worker, and yield each group's outcomes; see `Executor`.

        A stop ends the tasks, whose trials save their state; then it takes effect here.
        """
        import ray

        on = self.runs_on()
        if self._study is not plan.study:  # the plan of a grid that has grown would serve a group no better
            self._study = plan.study
            self._advise(plan, on, progress)
            self._work = ray.put(Work(plan, self.stream, self.around, tuple(sys.orig_argv)))
        shared = StudyFolder(folder.path.absolute())
        run_group = self._remote(self.run_group)

        def begin(group: Sequence[Trial]) -> Any:
            return run_group(Order(self._work, self._board, shared.path, tuple(group), options))

        with Interrupt() as interrupt:
            with _Running(begin, self._board, progress) as running:
                for group in groups(folder, trials, choice.largest_group(on, self.stream)):
                    running.begin(group)
                for ended, outcomes in running.until(interrupt.is_asked):
                    if isinstance(outcomes, files.InUseError):
                        running.wait(ended)
                    elif not isinstance(outcomes, Exception):
                        yield outcomes
                    elif len(ended) > 1:
                        for trial in ended:
                            running.begin([trial])
                    else:
                        try:
                            yield {ended[0]: _lost(plan, shared, ended[0], outcomes, progress)}
                        except files.InUseError:
                            running.wait(ended)
            if interrupt.is_asked():
                self._stack.close()  # a command's process ends at once when the stop takes effect

    def _advise(self, plan: Plan, on: Machine, progress: Progress) -> None:
        """Say in a line where another precision is faster in the workers."""
        advice = choice.advice(plan.study.config.training.precision, on)
        if advice:
            progress.line(advice)

    def _remote(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as a task of Ray, which gets what a group of trials asks for."""
        import ray

        task: Any = ray.remote(**self._asked)(function)
        submit: Callable[..., Any] = task.remote
        return submit


def _variables(cpus: int, gpus: int) -> dict[str, str]:
    """The environment of a worker: XLA starts a thread for each core, and without a GPU looks for no other device."""
    threads = dict.fromkeys(NUMBER_OF_THREADS, str(cpus))
    return threads if gpus else {**threads, "JAX_PLATFORMS": "cpu"}


def _on_this_machine(actor: type) -> Any:
    """An actor on the machine of this process, which so is not lost without it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    asked: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": here, "max_restarts": -1, "max_task_retries": -1}
    made: Any = ray.remote(**asked)(actor)
    return made.remote()


class _Running:
    """The tasks of a phase, those that wait too, and what workers tell of them.

    Args:
        submit: makes a task of a group.
        board: keeps what workers tell.
        progress: shows it.
    """

    def __init__(self, submit: Callable[[Sequence[Trial]], Any], board: Any, progress: Watch) -> None:
        self.tasks: dict[Any, Sequence[Trial]] = {}
        self._submit = submit
        self._board = board
        self._progress = progress
        self._attempts: dict[Trial, str] = {}  # of each trial that runs, the newest
        self._watches: dict[tuple[str, int], Callable[[int], None]] = {}
        self._live: set[Trial] = set()
        self._said: set[str] = set()

    def __enter__(self) -> "_Running":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the tasks that run, whose trials save their state, and those that wait."""
        import ray

        if not ray.is_initialized():  # else Ray would start anew
            return
        for task in self.tasks:
            ray.cancel(task)
        if self.tasks:
            ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=SAVES)

    def begin(self, group: Sequence[Trial]) -> None:
        """Give a group to Ray."""
        self.tasks[self._submit(group)] = group
        self._live |= set(group)

    def wait(self, group: Sequence[Trial]) -> None:
        """Give a group to Ray once more, as the last one, since another process is in the folder of a trial."""
        self._say(f"in use by another process, and waits: {'; '.join(trial.words for trial in group)}")
        self.begin(group)

    def until(
        self, stopped: Callable[[], bool]
    ) -> Iterator[tuple[Sequence[Trial], Mapping[Trial, Outcome] | Exception]]:
        """Each group that has ended, and what `_outcomes` says of it, until none is left or a stop is asked for."""
        import ray

        while self.tasks and not stopped():
            # As many as there are: to look through ten thousand tasks for each result would take longer than the rest.
            ready, _ = ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=LOOK)
            for message in ray.get(self._board.take.remote()):
                self._hear(message)
            for task in itertools.takewhile(lambda task: not stopped(), ready):
                group = self.tasks.pop(task)
                self._forget(group)
                yield group, _outcomes(task)

    def _forget(self, group: Sequence[Trial]) -> None:
        """A group has ended: what its attempts still tell is nothing."""
        self._live -= set(group)
        ended = {self._attempts.pop(trial, "") for trial in group}
        self._watches = {key: watch for key, watch in self._watches.items() if key[0] not in ended}

    def _hear(self, message: Message) -> None:
        if isinstance(message, Begun):
            self._begun(message)
        elif isinstance(message, Reached):
            watch = self._watches.get((message.attempt, message.number))
            if watch is not None:
                watch(message.steps)
        else:
            self._say(message.text)  # each worker has the same to say of its machine

    def _say(self, text: str) -> None:
        """Show a line once."""
        if text not in self._said:
            self._said.add(text)
            self._progress.line(text)

    def _begun(self, message: Begun) -> None:
        """Trials begin, or begin again: then what is heard of their lost attempt counts no more."""
        trials = [trial for trial in message.trials if trial in self._live]
        if not trials:  # this comes later than their end
            return
        lost = {self._attempts[trial] for trial in trials if trial in self._attempts} - {message.attempt}
        if lost:
            self._watches = {key: watch for key, watch in self._watches.items() if key[0] not in lost}
            count = f"{len(trials)} trial{'' if len(trials) == 1 else 's'}"
            again = "begins again from its checkpoint" if len(trials) == 1 else "begin again from their checkpoints"
            self._progress.line(f"a machine or a process was lost: {count} {again}")
        self._attempts |= dict.fromkeys(trials, message.attempt)
        self._watches[message.attempt, message.number] = self._progress.begin(trials)


def _lost(plan: Plan, folder: StudyFolder, trial: Trial, error: Exception, progress: Progress) -> Outcome:
    """What a trial left whose processes were lost again and again: its failure, unless one of them has finished it.

    Raises:
        InUseError: one of them is still in its folder.
    """
    with folder.held(trial):
        finished = folder.trial(trial).outcome(settings_of(plan, trial))
        return finished or record_failure(plan, folder, trial, error, progress)


def _outcomes(task: Any) -> Mapping[Trial, Outcome] | Exception:
    """The outcomes of a group whose task has ended, or why it has none: lost processes, or a folder that is in use.

    Raises:
        RequestError, OSError: no trial can go on; see `Executor`.
    """
    import ray

    try:
        value: Mapping[Trial, Outcome] | RequestError | OSError = ray.get(task)
    except ray.exceptions.RayTaskError:  # what nobody foresaw
        raise
    except ray.exceptions.RayError as error:
        return error
    if isinstance(value, (RequestError, OSError)) and not isinstance(value, files.InUseError):
        raise value
    return value
