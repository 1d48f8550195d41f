"""Silences what Orbax prints beside its exceptions, so that a checkpoint that cannot be written takes one line."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def orbax() -> Iterator[None]:
    """Silence Orbax as long as the block runs; only a command, which owns its process, uses this.

    Orbax logs the trace of every exception that it raises. After a failed write, other writes that are still running
    return to an event loop that Orbax has closed, or has not been able to open. Python reports each of them to
    `sys.unraisablehook`, or warns that a coroutine was never awaited. Several writes may fail at once: Orbax takes the
    exception of one write, and asyncio logs the exceptions of the others as never retrieved.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [logger.level for logger in loggers]
    hook = sys.unraisablehook
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        sys.unraisablehook = _show
        try:
            yield
        finally:
            sys.unraisablehook = hook
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _show(error: "sys.UnraisableHookArgs") -> None:
    closed = str(error.exc_value) == "Event loop is closed"
    if not closed and getattr(error.object, "__module__", None) != "asyncio.base_events":
        sys.__unraisablehook__(error)
