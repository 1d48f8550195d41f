"""Many training steps in one program, and how many: a running program cannot be stopped, so each takes about a second.

Example:
    >>> pieces = Pieces()
    >>> pieces.length
    1
    >>> pieces.timed(1, lambda: jax.numpy.ones(2)).tolist(), 1 <= pieces.length <= GROWTH
    ([1.0, 1.0], True)
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import Array, lax

SECONDS = 1.0  # of a piece
GROWTH = 16  # the largest factor from one piece to the next

State = TypeVar("State")
Sums = TypeVar("Sums")


def run_steps(
    step: Callable[[State, Sums], tuple[State, Sums]], state: State, totals: Sums, count: int | Array
) -> tuple[State, Sums]:
    """So many steps one after another. The number is an argument of the compiled program, which serves any."""
    return lax.fori_loop(0, count, lambda _, carry: step(*carry), (state, totals))


class Pieces:
    """How many steps the next piece may have, by the speed of the last one: `length`. The first piece has one step."""

    def __init__(self) -> None:
        self.length = 1

    def timed(self, steps: int, run: Callable[..., State], *arguments: Any) -> State:
        """Call a function that does so many steps, wait for what it returns, and learn from the time."""
        started = time.perf_counter()
        done = jax.block_until_ready(run(*arguments))
        seconds = time.perf_counter() - started
        self.length = max(int(min(SECONDS * steps / max(seconds, 1e-9), GROWTH * steps)), 1)
        return done
