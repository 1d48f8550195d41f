"""Silences what Orbax prints beside its exceptions, so that a checkpoint that cannot be written takes one line."""

import logging
import sys

_CLOSED = "Event loop is closed"


def orbax() -> None:
    """Silence Orbax until this process ends; only a command, which owns its process, calls this.

    Orbax logs the trace of every exception that it raises. After a failed write, other writes that are still running
    return to an event loop that Orbax has closed. Python reports each of them to `sys.unraisablehook`, even while the
    interpreter shuts down. So the hook is never restored. Several writes may fail at once: Orbax takes the exception of
    one write, and asyncio logs the exceptions of the others as never retrieved.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = _show


def _show(error: "sys.UnraisableHookArgs") -> None:
    if str(error.exc_value) != _CLOSED:
        sys.__unraisablehook__(error)
