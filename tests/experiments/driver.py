"""Many command lines in one process: what each writes and its exit status, without a second of imports for each.

Reads a line of JSON for each request, `[folder, environment, experiment, flags]`, and answers with one: `[status, out,
err]`. Every experiment's own module runs as `__main__`, from its definition of flags to its exit. Warnings are errors.
The variable `LARGEST_FILE` in the environment limits the bytes of a file, as a full disk does.
"""

import contextlib
import io
import json
import os
import resource
import runpy
import sys
import traceback
import warnings


def answer(folder: str, environment: dict[str, str], experiment: str, flags: list[str]) -> tuple[int, str, str]:
    """Run one command line in a folder."""
    os.chdir(folder)
    sys.orig_argv = [sys.executable, "-W", "error", "-m", f"experiments.{experiment}", *flags]
    sys.argv = [experiment, *flags]
    out = io.StringIO()
    err = io.StringIO()
    before = dict(os.environ)
    os.environ.update(environment)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(environment.get("LARGEST_FILE", unlimited[0])), unlimited[1]))
    with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        warnings.simplefilter("error")
        try:
            runpy.run_module(f"experiments.{experiment}", run_name="__main__", alter_sys=True)
            status = -1  # it must leave by itself
        except SystemExit as left:
            status = left.code
        except BaseException:
            traceback.print_exc()
            status = -2
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    os.environ.clear()
    os.environ.update(before)
    return status, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    for request in sys.stdin:
        print(json.dumps(answer(*json.loads(request))), flush=True)
