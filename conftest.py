"""Strict tests and doctests: implicit rank promotion is an error, and the shapes in annotations are checked.

Warnings are errors by `filterwarnings` in pyproject.toml, and by `-W error` in the processes that tests start.
"""

import os

import jax
from jaxtyping import install_import_hook

from tests import typechecker

install_import_hook(["cnn", "experiments", "benchmarks"], f"{typechecker.__name__}.checked")
jax.config.update("jax_numpy_rank_promotion", "raise")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"  # in the processes that tests start, and the kernels of notebooks
