"""A gradient in stages: what a step computes between the sums over its whole batch.

Batch normalisation needs sums over all images of a batch, in the forward pass and in the backward pass. A batch that
stays whole for this leaves the cores' caches, and its step takes several times as long. So the traced gradient of a
micro-batch is cut at each such sum, which `Spread.sum` marks. A stage is what can be computed without the results of
later sums. Each stage runs for every micro-batch; then the values at its marks are added up; then the next stage runs.
A network without marks has one stage.

A stage's program comes from the equations of the traced gradient, which JAX calls a "jaxpr" and documents for such use.

Example:
    >>> import jax.numpy as jnp
    >>> from cnn.network.spread import HERE
    >>> share = Staged(lambda x: x / HERE.sum(x), [jnp.float32(3)], [True])
    >>> [(len(stage.marks), stage.sums) for stage in share.stages]
    [(1, ()), (0, (0,))]
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from cnn.network.spread import BATCH_SUM

Values = dict[Var, Array]
PRODUCTS = frozenset(["conv_general_dilated", "dot_general"])
# What a stage computes again rather than read from memory: cell by cell, or another order of cells.
CHEAP = frozenset(
    [
        *("abs", "add", "add_any", "div", "integer_pow", "max", "min", "mul", "neg", "rsqrt", "sqrt", "square", "sub"),
        *("and", "convert_element_type", "eq", "ge", "gt", "le", "lt", "ne", "not", "or", "select_n", "stop_gradient"),
        *("broadcast_in_dim", "concatenate", "copy", "iota", "pad", "reshape", "rev", "slice", "split", "squeeze"),
        *("stack", "transpose"),
    ]
)


@dataclass(frozen=True)
class Stage:
    """One stage of a function, as a compiled program.

    `run(inputs, sums)` takes the values of `reads`, and the sums so far, which it overwrites. It returns the values of
    `writes`, the values that are to be added up for `marks`, and the sums with this micro-batch's values added.
    """

    run: Callable[[list[Array], list[Array]], tuple[list[Array], list[Array], list[Array]]]
    reads: tuple[Var, ...]
    writes: tuple[Var, ...]  # later stages read these, or the function returns them
    marks: tuple[Var, ...]  # later stages read these too: sums over the micro-batches
    sums: tuple[int, ...]  # the places of the results that are added up in this stage


class Staged:
    """A function of arrays, cut at its marks.

    Args:
        function: what to cut.
        arguments: examples of its arguments.
        summed: for each leaf of the result, whether it is to be added up over the micro-batches.
    """

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any], summed: Sequence[bool]) -> None:
        closed = jax.make_jaxpr(function)(*arguments)
        self.inputs = closed.jaxpr.invars
        self.results = list(zip(closed.jaxpr.outvars, summed, strict=True))
        self.stages: list[Stage] = []
        self._last: dict[Var, int] = {}  # the last stage that reads a variable
        number = _numbers(closed.jaxpr.eqns)
        wanted = {result for result, adds in self.results if not adds and not isinstance(result, Literal)}
        for stage in reversed(range(max(number.values(), default=0) + 1)):  # a later one says what others must hand on
            places = [place for place, (atom, adds) in enumerate(self.results) if adds and _of(number, atom) == stage]
            self.stages.insert(0, _stage(closed, number, stage, places, wanted))
            self._last = {**dict.fromkeys(self.stages[0].reads, stage), **self._last}
            wanted |= set(self.stages[0].reads)
        self._kept = {result for result, adds in self.results if not adds}

    def start(self, leaves: Sequence[Any]) -> Values:
        """What is known before the first stage: the leaves of the arguments."""
        return dict(zip(self.inputs, leaves, strict=True))

    def run(self, number: int, values: Values, sums: list[Any]) -> list[Array]:
        """Run a stage for one micro-batch; what it makes goes into `values`, and what it adds up into `sums`.

        Returns:
            What is to be added up over the micro-batches, and then told to `join`.
        """
        stage = self.stages[number]
        inputs = [values[variable] for variable in stage.reads]
        writes, parts, added = stage.run(inputs, [sums[place] for place in stage.sums])
        values.update(zip(stage.writes, writes, strict=True))
        for place, value in zip(stage.sums, added, strict=True):
            sums[place] = value
        for variable in stage.reads:
            if self._last[variable] == number and variable not in self._kept:
                del values[variable]
        return parts

    def join(self, number: int, values: Values, joined: Sequence[Array]) -> None:
        """Tell a micro-batch the sums over all of them that end a stage."""
        values.update(zip(self.stages[number].marks, joined, strict=True))

    def leaves(self, values: Values, sums: Sequence[Any]) -> list[Any]:
        """The leaves of the result after the last stage: sums, and a micro-batch's own value of what is not added."""
        return [total if adds else _value(values, atom) for (atom, adds), total in zip(self.results, sums, strict=True)]


def _is_mark(equation: JaxprEqn) -> bool:
    return equation.primitive.name == "name" and equation.params["name"] == BATCH_SUM


def _primitives(equation: JaxprEqn) -> set[str]:
    """The names of an equation's primitives: its own, or those of the equations inside where it is a call."""
    calls = [value for value in jax.tree.leaves(equation.params) if isinstance(value, ClosedJaxpr | Jaxpr)]
    inside = [e for call in calls for e in call.eqns]
    return set().union(*map(_primitives, inside)) if inside else {equation.primitive.name}


def _again(equations: Sequence[JaxprEqn]) -> set[Var]:
    """The variables that each stage computes for itself. What a product reads is in memory anyway, and is kept."""
    cheap = {variable for e in equations if _primitives(e) <= CHEAP for variable in e.outvars}
    products = [e for e in equations if not PRODUCTS.isdisjoint(_primitives(e))]
    return cheap - {atom for e in products for atom in e.invars if isinstance(atom, Var)}


def _numbers(equations: Sequence[JaxprEqn]) -> dict[Var, int]:
    """For each computed variable the first stage that can know it; a mark is known one stage after its part."""
    number: dict[Var, int] = {}
    for equation in equations:
        stage = max((_of(number, atom) for atom in equation.invars), default=0) + _is_mark(equation)
        number.update(dict.fromkeys(equation.outvars, stage))
    return number


def _of(number: dict[Var, int], atom: Any) -> int:
    return 0 if isinstance(atom, Literal) else number.get(atom, 0)


def _stage(closed: ClosedJaxpr, number: dict[Var, int], stage: int, places: Sequence[int], wanted: set[Var]) -> Stage:
    """A stage that makes those of the wanted variables that it is the first to know.

    Args:
        closed: the traced function.
        number: of each computed variable, its stage.
        stage: the number of this one.
        places: of the results that it adds up.
        wanted: what later stages read, and what the function returns as it is.
    """
    jaxpr = closed.jaxpr
    marks = [e for e in jaxpr.eqns if _is_mark(e) and number[e.outvars[0]] == stage + 1]
    made = {v for e in jaxpr.eqns if not _is_mark(e) for v in e.outvars if number[v] == stage}
    writes = [variable for variable in made if variable in wanted]
    results = [jaxpr.outvars[place] for place in places]
    parts = [mark.invars[0] for mark in marks]
    again = _again(jaxpr.eqns)
    needed = {atom for atom in (*writes, *results, *parts) if not isinstance(atom, Literal)}
    equations: list[JaxprEqn] = []
    for equation in reversed(jaxpr.eqns):
        here = not needed.isdisjoint(equation.outvars)
        if here and not _is_mark(equation) and (number[equation.outvars[0]] == stage or equation.outvars[0] in again):
            equations.insert(0, equation)
            needed |= {atom for atom in equation.invars if not isinstance(atom, Literal)}
    computed = {variable for equation in equations for variable in equation.outvars}
    reads = [variable for variable in needed if variable not in computed and variable not in jaxpr.constvars]
    program = Jaxpr(jaxpr.constvars, reads, [*writes, *parts, *results], equations, jaxpr.effects, jaxpr.debug_info)

    def stage_of_gradient(inputs: list[Array], sums: list[Array]) -> tuple[list[Array], list[Array], list[Array]]:
        outputs = iter(jax.core.eval_jaxpr(program, closed.consts, *inputs))
        made, at_marks, last = (list(itertools.islice(outputs, len(group))) for group in (writes, parts, results))
        return made, at_marks, [total + value for total, value in zip(sums, last, strict=True)]

    marked = tuple(mark.outvars[0] for mark in marks)
    return Stage(jax.jit(stage_of_gradient, donate_argnums=1), tuple(reads), tuple(writes), marked, tuple(places))


def _value(values: dict[Var, Any], atom: Any) -> Any:
    return atom.val if isinstance(atom, Literal) else values[atom]
