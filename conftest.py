"""Strict tests and doctests: implicit rank promotion is an error, and the shapes in annotations are checked.

Warnings are errors by `filterwarnings` in pyproject.toml, and by `-W error` in the processes that tests start. What a
test run compiles is kept for its later tests and for the next run, a folder for each worker: JAX writes its entries in
place, so that two processes must not share one.
"""

import os
import signal

import jax
import pytest
from jaxtyping import install_import_hook

from tests import typechecker

# A shell in the background, and nohup, leave these ignored, here and in the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
install_import_hook(["cnn", "experiments", "benchmarks"], f"{typechecker.__name__}.checked")
jax.config.update("jax_numpy_rank_promotion", "raise")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"  # in the processes that tests start, and the kernels of notebooks


def pytest_collection_modifyitems(items):
    """Files with thorough tests first, so that no worker is left alone with a long one at the end."""
    thorough = {item.path for item in items if item.get_closest_marker("thorough")}
    items.sort(key=lambda item: item.path not in thorough)


@pytest.fixture(scope="session", autouse=True)
def compiled_programs_are_kept(pytestconfig):
    """Where JAX keeps what this process compiles; nowhere without pytest's cache."""
    if not hasattr(pytestconfig, "cache"):
        return
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    jax.config.update("jax_compilation_cache_dir", str(pytestconfig.cache.mkdir("compiled") / worker))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
