"""The error of a request that cannot be met, and the checks that raise it.

Each check takes the setting's name and its value, so that the message can name both and say what would be accepted.

Example:
    >>> require_integer("blocks", 2, minimum=0)
    >>> require_integer("blocks", -1, minimum=0)
    Traceback (most recent call last):
    cnn.errors.RequestError: blocks=-1: must be an integer of at least 0
"""

import difflib
import importlib
import math
from collections.abc import Iterable
from typing import Any, NoReturn

FLOAT32 = (1.18e-38, 3.4e38)  # the smallest and the largest normal number


class RequestError(ValueError):
    """The request cannot be met: the message names the value and what would be accepted, in one line."""


def printable(text: str) -> str:
    """Text whose characters that would move a terminal's cursor are shown, not obeyed.

    Example:
        >>> printable("a\\tb")
        'a\\\\tb'
    """
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def first_line(error: BaseException) -> str:
    """An error's first line; the name of its type where it has none.

    Example:
        >>> first_line(KeyError()), first_line(ValueError("a\\nb"))
        ('KeyError', 'a')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def refuse_dataset(name: str, fault: str, accepted: str) -> NoReturn:
    """Say of a data set what is wrong with it, and what would be accepted.

    Raises:
        RequestError: always.
    """
    raise RequestError(f"dataset={name!r}: {fault}; must be {accepted}")


def require(condition: bool, name: str, value: Any, accepted: str) -> None:
    """Raise `RequestError` unless the condition holds.

    Args:
        condition: what must hold.
        name: the setting.
        value: the setting's value.
        accepted: what would be accepted, in words that follow "must be".
    """
    if not condition:
        raise RequestError(f"{name}={value!r}: must be {accepted}")


def require_integer(name: str, value: Any, minimum: int, maximum: int | None = None) -> None:
    """Refuse anything but an integer of at least `minimum`, and of at most `maximum` where one is given."""
    integer = isinstance(value, int) and not isinstance(value, bool)
    require(integer and value >= minimum, name, value, f"an integer of at least {minimum}")
    require(maximum is None or value <= maximum, name, value, f"at most {maximum}")


def require_number(name: str, value: Any, low: float, high: float, accepted: str) -> None:
    """Refuse anything but a number from `low` to `high`, both included; `accepted` says so in words."""
    require(is_number(value) and bool(low <= value <= high), name, value, accepted)


def require_share(name: str, value: Any) -> None:
    """Refuse anything but a number of at least 0 and below 1."""
    require(is_number(value) and bool(0 <= value < 1), name, value, "at least 0.0 and below 1.0")


def require_positive(name: str, value: Any) -> None:
    """Refuse anything but a number above 0 that float32 holds."""
    require(is_number(value) and bool(0 < value < math.inf), name, value, "a finite number above 0")
    low, high = FLOAT32
    require(bool(low <= value <= high), name, value, f"a number that float32 holds, above 0: from {low} to {high}")


def require_text(name: str, value: Any) -> None:
    """Refuse anything but text."""
    require(isinstance(value, str), name, value, "text")


def require_switch(name: str, value: Any) -> None:
    """Refuse anything but true or false."""
    require(isinstance(value, bool), name, value, "true or false")


def require_size(name: str, value: Any) -> None:
    """Refuse anything but an empty tuple, or a height and a width."""
    pair = isinstance(value, (tuple, list)) and len(value) in (0, 2)
    sides = pair and all(isinstance(side, int) and not isinstance(side, bool) for side in value)
    fits = sides and all(1 <= side <= 65536 for side in value)
    require(fits, name, value, "height,width, each an integer from 1 to 65536")


def require_distinct(name: str, values: Any) -> None:
    """Refuse anything but a tuple or list of one or more values, none of them twice."""
    several = isinstance(values, (tuple, list)) and len(values) > 0
    require(several and len(set(values)) == len(values), name, values, "one or more values, none twice")


def require_known(name: str, value: Any, known: Iterable[str]) -> None:
    """Refuse a value that is not among the known ones; the message lists them and the nearest."""
    known = list(known)
    if value not in known:
        nearest = difflib.get_close_matches(str(value), known, n=1, cutoff=0.0)
        raise RequestError(f"{name}={value!r}: must be one of {', '.join(known)}; nearest: {nearest[0]}")


def require_extra(module: str, extra: str, why: str) -> None:
    """Refuse unless a module can be imported that an extra of this project installs.

    Args:
        module: its name.
        extra: of `setup.py`.
        why: what needs the module.

    Raises:
        RequestError: it cannot be imported; the message says how to install it.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise RequestError(f"{why}: needs {module}: pip install '.[{extra}]' ({error})") from None


def is_number(value: Any) -> bool:
    """Whether a value is an integer or a float; true and false are neither.

    Example:
        >>> is_number(1), is_number(0.5), is_number(True)
        (True, True, False)
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool)
