"""Writes a trace of a network's training steps, which Perfetto and TensorBoard open. No result depends on it.

The steps begin with fresh states, and what they learn is lost. By then everything is compiled, and steps that are not
traced have run for a moment.
"""

import errno
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax

from cnn import files
from cnn.errors import RequestError
from cnn.places import nearest
from cnn.progress import Progress
from cnn.training.fit import Fit
from cnn.training.loops.loop import Pace
from cnn.training.step import Totals

SETTLING = 0.5  # seconds of steps before the trace
SECONDS = 1.0  # of traced steps, at most, unless two pieces take longer
MOST = 100  # traced steps of a replica: to write the events of a whole second of short steps takes ten seconds
PIECE = 20  # steps at most that one program does: a trace has several pieces
PIECE_SECONDS = 0.2  # likewise
PERFETTO = "plugins/profile/*/perfetto_trace.json.gz"  # where JAX writes a trace that Perfetto opens


def require_writable(folder: Path) -> None:
    """Refuse a folder in which no trace could be written. Nothing is left behind.

    Raises:
        RequestError: the folder cannot be written, or cannot be created.
    """
    accepted = f"profile={str(folder)!r}: must be a folder that can be written"
    there = nearest(folder)
    if there is None:
        raise RequestError(f"{accepted} (the system refuses this name)")
    try:
        files.remove(Path(tempfile.mkdtemp(dir=there)))
    except OSError as error:
        reason = f"{error.strerror}: {there}"
        raise RequestError(f"{accepted} ({reason})") from None


def trace_once(fit: Fit, folder: Path, progress: Progress = Progress()) -> None:
    """Trace the steps of a fit's network, unless this process has done so, and say in a line how to look at them.

    Args:
        fit: what is about to train, of which nothing changes.
        folder: of the trace, which an older one keeps too.
        progress: shows that line.

    Raises:
        OSError: the trace cannot be written.
        RuntimeError: something else is being traced.
    """
    if fit.loop in fit.session.traced:
        return
    fit.session.traced.add(fit.loop)
    steps, path = _traced(fit, folder)
    opened = f"open {path} in https://ui.perfetto.dev, or run tensorboard --logdir={folder}"
    progress.line(f"a trace of {steps} training steps: {opened}")


def _traced(fit: Fit, folder: Path) -> tuple[int, Path]:
    """Do steps and trace them: how many steps, and the file for Perfetto."""
    spare = _Spare(fit)
    begun = time.perf_counter()
    steps = spare.run(SETTLING, fewest=3, most=sys.maxsize, piece=PIECE)
    speed = steps / (time.perf_counter() - begun)
    piece = max(1, min(PIECE, int(PIECE_SECONDS * speed)))
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # calls of Python functions would hide the rest
    jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)
    try:
        steps = spare.run(SECONDS, fewest=2 * piece + 1, most=MOST, piece=piece)
    finally:
        _write(folder)
    return steps, max(folder.glob(PERFETTO), key=lambda path: path.stat().st_mtime_ns)


def _write(folder: Path) -> None:
    """End the trace and write it."""
    try:
        jax.profiler.stop_trace()
    except jax.errors.JaxRuntimeError as error:  # such as a full disk
        raise OSError(errno.EIO, f"the trace cannot be written ({error})", str(folder)) from error


class _Spare:
    """The replicas of a fit once more: they begin anew, do steps without any evaluation, and leave nothing."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        self.states = fit.loop.start(fit.replicas)
        self.done = 0

    def run(self, seconds: float, fewest: int, most: int, piece: int) -> int:
        """Do steps for so long, but at least `fewest` and at most `most` of each replica; return how many.

        Args:
            seconds: how long.
            fewest: steps.
            most: steps.
            piece: steps at most that begin together.
        """
        end = time.perf_counter() + seconds
        first = self.done

        def over(begun: int) -> bool:
            return begun - first >= most or (begun - first >= fewest and time.perf_counter() >= end)

        while not over(self.done):
            self._epoch(first + most, over, piece)
        return self.done - first

    def _epoch(self, end: int, over: Callable[[int], bool], piece: int) -> None:
        """Do steps to the end of an epoch, or to a step, or until it is over."""
        steps = self.fit.prepared.steps_per_epoch
        number, first = divmod(self.done, steps)
        before = number * steps
        pace = Pace(first, min(steps, end - before), lambda: over(before + pace.begun), piece)
        totals = [Totals.zero() for _ in self.fit.replicas]  # so that a replica goes on though it has diverged
        train = self.fit.session.train
        self.states, _ = self.fit.loop.epoch(self.states, totals, self.fit.replicas, train, number, pace)
        self.done = before + pace.end
