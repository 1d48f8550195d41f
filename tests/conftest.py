"""Strict tests: implicit rank promotion is an error, and the shapes in annotations are checked."""

import jax
from jaxtyping import install_import_hook

from tests import typechecker

install_import_hook("cnn", f"{typechecker.__name__}.checked")
jax.config.update("jax_numpy_rank_promotion", "raise")
