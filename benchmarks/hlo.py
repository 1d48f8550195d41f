"""Counts what a training step is in the text of a program that XLA compiled: kernels, collectives, cycles.

A program of `cnn.training.loops.scan` for steps has one loop whose length its text does not know: the loop over steps.
One pass through the loop is counted, as often as loops of a known length repeat it. So a step is one step of all
replicas. Of a program for an evaluation, which has no such loop, all is counted.

Example:
    >>> found = step(PROGRAM)
    >>> found.kernels, found.written, found.cycles
    (16, 128, None)
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

# Four passes of two kernels, repeated twice, in each step.
PROGRAM = """
%cell (a: f32[2]) -> f32[2] {
  ROOT %sum = f32[2]{0} add(%a, %a)
}
%inner (b: (s32[], f32[2])) -> (s32[], f32[2]) {
  %x = f32[2]{0} get-tuple-element(%b), index=1
  %one = f32[2]{0} fusion(%x), kind=kLoop, calls=%cell
  %two = f32[2]{0} fusion(%one), kind=kLoop, calls=%cell
  ROOT %out = (s32[], f32[2]{0}) tuple(%b, %two)
}
%below (c: (s32[], f32[2])) -> pred[] {
  %four = s32[] constant(4)
  ROOT %less = pred[] compare(%c, %four), direction=LT
}
%step (d: (s32[], f32[2])) -> (s32[], f32[2]) {
  ROOT %turns = (s32[], f32[2]{0}) while(%d), condition=%below, body=%inner
}
%unknown (e: (s32[], f32[2])) -> pred[] {
  ROOT %more = pred[] compare(%e, %e), direction=LT
}
%group (f: (s32[], f32[2])) -> (s32[], f32[2]) {
  ROOT %steps = (s32[], f32[2]{0}) while(%f), condition=%unknown, body=%step
}
ENTRY %main (g: (s32[], f32[2])) -> (s32[], f32[2]) {
  ROOT %groups = (s32[], f32[2]{0}) while(%g), condition=%below, body=%group, known_trip_count":{"n":"2"}
}
"""

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)[a-z0-9]*)\[([\d,]*)\]")
NO_KERNELS = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id"}
BUFFERS = {"AllocateBuffer", "ConcatBitcast"}  # custom calls that start nothing
TRANSFERS = {"copy-start", "slice-start"}  # between a TPU's memories, beside the kernels
LARGE = 2**20  # bytes
COLLECTIVES = {"all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute"}
PRODUCTS = {"convolution", "dot"}
CONVOLUTIONS = {  # the kernels of cuDNN, by the targets of custom calls
    "__cudnn$convForward": "forward",
    "__cudnn$convBiasActivationForward": "forward",
    "__cudnn$convBackwardFilter": "filter",
    "__cudnn$convBackwardInput": "input",
}


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    shape: str
    opcode: str
    rest: str  # operands and attributes
    root: bool

    def called(self, attribute: str) -> str | None:
        """The computation that an attribute names."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        return found[1] if found else None

    def cycles(self) -> int | None:
        """The compiler's estimate, where there is one."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.rest)
        return int(found[1]) if found else None

    def target(self) -> str:
        """What a custom call calls; for another instruction its opcode."""
        found = re.search(r'custom_call_target="([^"]+)"', self.rest)
        return found[1] if found else self.opcode

    def size(self) -> int:
        """Bytes of the result.

        Example:
            >>> Instruction("x", "(f32[2,3]{1,0}, bf16[4]{0}, pred[])", "fusion", "", False).size()
            33
        """
        sizes = [math.prod(map(int, filter(None, dims.split(",")))) * int(bits or 8) for _, bits, dims in self.arrays()]
        return sum(sizes) // 8

    def arrays(self) -> list[tuple[str, str, str]]:
        """Type, bits of an element and lengths of each array of the result."""
        return _ARRAY.findall(self.shape)


class Module(NamedTuple):
    """The computations of a program by their names."""

    computations: dict[str, list[Instruction]]
    entry: str

    @classmethod
    def of(cls, text: str) -> "Module":
        """What the compiler's text says."""
        computations: dict[str, list[Instruction]] = {}
        entry = ""
        inside: list[Instruction] = []
        for line in text.splitlines():
            if head := _HEAD.match(line):
                inside = computations.setdefault(head[2], [])
                entry = head[2] if head[1] else entry
            elif found := _LINE.match(line):
                inside.append(Instruction(found[2], found[3], found[4], found[5], bool(found[1])))
        return cls(computations, entry)

    def trips(self, loop: Instruction) -> int | None:
        """How often a loop runs; None where the text does not say.

        The number stands beside the loop, or in its condition: a counter from 0 on is less than a constant.
        """
        if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
            return int(known[1])
        condition = self.computations[loop.called("condition") or ""]
        constants = {each.name: each.rest for each in condition if each.opcode == "constant"}
        root = next(each for each in condition if each.root)
        bounds = [constants[name] for name in re.findall(r"%?([\w.\-]+)", root.rest) if name in constants]
        if root.opcode != "compare" or "direction=LT" not in root.rest or not bounds:
            return None
        return int(bounds[0].partition(")")[0])

    def executed(self, name: str, times: int = 1, inside: bool = False) -> Iterator[tuple[Instruction, int]]:
        """The instructions of the loop over steps, and how often a step runs each."""
        for each in self.computations[name]:
            if each.opcode == "while":
                trips = self.trips(each)
                yield from self.executed(each.called("body") or "", times * (trips or 1), inside or trips is None)
            elif each.opcode in ("call", "async-start"):
                yield from self.executed(each.called("to_apply") or each.called("calls") or "", times, inside)
            elif inside:
                yield each, times

    def products(self, instruction: Instruction) -> list[Instruction]:
        """Convolutions and matrix products: an instruction itself, and what it fuses."""
        fused = self.computations.get(instruction.called("calls") or "", []) if instruction.opcode == "fusion" else []
        return [each for each in (instruction, *fused) if each.opcode in PRODUCTS or each.target() in CONVOLUTIONS]


class Step(NamedTuple):
    """One step of all replicas of a program, on each of its devices."""

    kernels: int  # that are started one after another
    convolutions: dict[str, int]  # cuDNN's kernels: forward, filter and input, the gradients by these
    largest_window: tuple[int, ...]  # of cuDNN's forward kernels
    products: int  # convolutions and matrix products
    asked: dict[str, int]  # products by the precision that the program asks for: high, highest
    collectives: dict[str, int]
    written: int  # bytes of the results of kernels
    cycles: int | None  # estimated, where the compiler does
    silent: dict[str, int]  # kernels that write `LARGE` bytes or more and have no estimate


def step(text: str) -> Step:
    """What a step is in the text of a compiled program.

    Raises:
        ValueError: the program has no loop of unknown length.
    """
    module = Module.of(text)
    executed = list(module.executed(module.entry))
    if not executed:
        raise ValueError("no loop of unknown length in the program")
    return _counted(module, executed)


def whole(text: str) -> Step:
    """What a compiled program does that has no loop over steps."""
    module = Module.of(text)
    return _counted(module, list(module.executed(module.entry, inside=True)))


def _counted(module: Module, executed: list[tuple[Instruction, int]]) -> Step:
    kernels = [(each, times) for each, times in executed if _is_kernel(each)]
    convolutions: Counter[str] = Counter()
    collectives: Counter[str] = Counter()
    windows: list[tuple[int, ...]] = [()]
    for each, times in executed:
        if kind := CONVOLUTIONS.get(each.target()):
            convolutions[kind] += times
            windows += _window(each) if kind == "forward" else []
        if each.opcode.removesuffix("-start") in COLLECTIVES:
            collectives[each.opcode.removesuffix("-start")] += times
    estimates = [(each.cycles(), times) for each, times in executed]
    products = [(product, times) for each, times in kernels for product in module.products(each)]
    asked: Counter[str] = Counter()
    for each, times in products:
        if found := re.search(r"operand_precision=\{(\w+)", each.rest):
            asked[found[1]] += times
    silent: Counter[str] = Counter()
    for each, times in kernels:
        if each.cycles() is None and each.size() >= LARGE:
            silent[each.target()] += times
    known = [cycles * times for cycles, times in estimates if cycles is not None]
    return Step(
        kernels=sum(times for _, times in kernels),
        convolutions=dict(convolutions),
        largest_window=max(windows, key=math.prod),
        products=sum(times for _, times in products),
        asked=dict(asked),
        collectives=dict(collectives),
        written=sum(each.size() * times for each, times in kernels),
        cycles=sum(known) if known else None,
        silent=dict(silent),
    )


def _is_kernel(instruction: Instruction) -> bool:
    target = instruction.target()
    return target not in NO_KERNELS | BUFFERS | TRANSFERS and not target.endswith("-done")


def _window(instruction: Instruction) -> list[tuple[int, ...]]:
    """The size of a convolution's window; none is written for 1x1."""
    found = re.search(r"window=\{size=([\dx]+)", instruction.rest)
    return [tuple(map(int, found[1].split("x")))] if found else []
