"""Many command lines in one process: what each writes and its exit status, without a second of imports for each.

Reads a line of JSON for each request, `[folder, environment, experiment, flags]`, and answers with one: `[status, out,
err]`. Every experiment's own module runs as `__main__`, from its definition of flags to its exit. Warnings are errors.
"""

import contextlib
import io
import json
import os
import runpy
import sys
import traceback
import warnings

from absl.testing import flagsaver

import experiments.flags  # noqa: F401 - the flags that all share are defined before any are saved


def answer(folder: str, environment: dict[str, str], experiment: str, flags: list[str]) -> tuple[int, str, str]:
    """Run one command line in a folder."""
    os.chdir(folder)
    sys.argv = sys.orig_argv = [sys.executable, "-m", f"experiments.{experiment}", *flags]
    sys.argv = sys.argv[2:]
    out, err, before = io.StringIO(), io.StringIO(), dict(os.environ)
    os.environ.update(environment)
    redirected = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with flagsaver.flagsaver(), warnings.catch_warnings(), redirected[0], redirected[1]:
        warnings.simplefilter("error")
        try:
            runpy.run_module(f"experiments.{experiment}", run_name="__main__", alter_sys=True)
            status = -1  # it must leave by itself
        except SystemExit as left:
            status = left.code
        except BaseException:
            traceback.print_exc()
            status = -2
    os.environ.clear()
    os.environ.update(before)
    return status, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    for request in sys.stdin:
        print(json.dumps(answer(*json.loads(request))), flush=True)
