"""Strict tests: implicit rank promotion is an error, and the shapes in annotations are checked."""

import jax
from jaxtyping import install_import_hook

install_import_hook("cnn", "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")
