"""The checker of annotations in the test run; an integer may stand where a number is annotated (PEP 484).

jax 0.7, inside `vmap`, builds each pytree once with a bare `object()` in the place of every array. Only a call that is
given such a placeholder is not checked.
"""

import functools
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype


def checked(function: Callable) -> Callable:
    """The function, which refuses arguments and results that do not fit its annotations."""
    strict = beartype(function, conf=BeartypeConf(is_pep484_tower=True))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        placeholder = any(type(value) is object for value in (*args, *kwargs.values()))
        return (function if placeholder else strict)(*args, **kwargs)

    return call
