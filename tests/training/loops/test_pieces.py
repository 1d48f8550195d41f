"""Many steps in one program: as many as are asked for, and no longer than a stop may wait."""

import jax
import jax.numpy as jnp
import pytest

from cnn.training.loops import pieces
from cnn.training.loops.pieces import Pieces, run_steps


@pytest.mark.parametrize("count", [0, 1, 7])
def test_so_many_steps_are_done(count):
    program = jax.jit(lambda state, totals, count: run_steps(lambda a, b: (2 * a, b + a), state, totals, count))
    state, total = program(jnp.int32(1), jnp.int32(0), count)
    assert (int(state), int(total)) == (2**count, 2**count - 1)


def test_one_program_serves_any_number_of_steps():
    traced = []

    def step(state, totals):
        traced.append(1)
        return state + 1, totals

    program = jax.jit(lambda state, count: run_steps(step, state, 0, count)[0])
    assert [int(program(0, count)) for count in (0, 3, 100)] == [0, 3, 100]
    assert len(traced) == 1


@pytest.mark.parametrize(
    "seconds_of_a_step, lengths",
    [
        (1 / 1024, [1, 16, 256, 1024, 1024]),
        (0.4, [1, 2, 2, 2, 2]),
        (3.0, [1, 1, 1, 1, 1]),  # a step is never cut
        (0.0, [1, 16, 256, 4096, 65536]),
    ],
)
def test_a_piece_takes_at_most_about_a_second(monkeypatch, seconds_of_a_step, lengths):
    now = [0.0]
    monkeypatch.setattr(pieces.time, "perf_counter", lambda: now[0])

    def run(count):
        now[0] += count * seconds_of_a_step
        return count

    own = Pieces()
    found = []
    for _ in lengths:
        found.append(own.length)
        assert own.timed(found[-1], run, found[-1]) == found[-1]
    assert found == lengths


def test_what_becomes_slower_becomes_shorter(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pieces.time, "perf_counter", lambda: now[0])
    own = Pieces()

    def run(seconds):
        now[0] += seconds

    own.timed(1000, run, 1.0)
    own.timed(1000, run, 8.0)
    assert own.length == 125
