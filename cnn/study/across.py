"""Several sweeps side by side: does one number of blocks do for all of them?

Each sweep is an experiment of its own. Inside a sweep, depths are compared seed by seed (paired t-tests on test
accuracy against its recommended depth, Holm-adjusted). Nothing pairs the seeds of one data set with those of another,
so no test compares the accuracies of two sweeps. What is asked of each sweep is whether it rules a depth out: whether
it finds that depth worse than the one that it recommends. The p-values of a sweep are multiplied by the number of
sweeps (Bonferroni), so that the chance to rule out any depth wrongly, in any of the sweeps, is at most 5 %.

That the answer depends on what differs between the sweeps is said only where no depth is left: each one is ruled out by
at least one sweep, or does not fit its images. Recommended depths that differ are not enough: the rule takes the
smallest depth that is good enough, and a deeper one may do for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn import config
from cnn.study.answer import SIGNIFICANCE, Answer, Depth
from cnn.study.swept import FINGERPRINT, Swept

TAKEN = "use"  # how a depth stands in a sweep: recommended there,
WORSE = "worse"  # worse than the recommended one by the tests,
ALIKE = "alike"  # not to be told apart from it,
BETTER = "better"
UNFIT = "does not fit"  # its images do not allow so many blocks
UNKNOWN = "unknown"  # not tried, or without a result
RULED_OUT = (WORSE, UNFIT)
FINE = (TAKEN, ALIKE, BETTER)
GROWABLE = ("learning_rates", "seeds", "blocks")  # name a sweep only where nothing else does
LONGEST = 32  # characters of a name; of a longer one the end is kept


@dataclass(frozen=True)
class Standing:
    """How a depth stands in a sweep."""

    depth: Depth | None  # None where the sweep has not tried it
    side: str  # one of those above
    p: float | None  # of the paired t-test against the recommended depth, adjusted for all tests of all sweeps

    def to_json(self) -> dict[str, Any]:
        """Plain values. Accuracies and differences are fractions."""
        if self.depth is None:
            return {"side": self.side}
        difference = self.depth.difference
        return {
            "side": self.side,
            "test": self.depth.summary.test.to_json(),
            "difference": None if difference is None else difference.to_json(),
            "p_adjusted": self.p,
        }


@dataclass(frozen=True)
class Sweep:
    """One of the sweeps."""

    name: str  # tells it apart from the others, such as `mnist` or `width=8`
    folder: Path
    settings: Mapping[str, Any]  # those that differ between the sweeps
    answer: Answer

    def standing(self, blocks: int, sweeps: int) -> Standing:
        """How a depth stands in this one of so many sweeps."""
        depth = next((each for each in self.answer.depths if each.blocks == blocks), None)
        if depth is None:
            deepest = max(each.blocks for each in self.answer.depths)
            return Standing(None, UNFIT if blocks > deepest and not self.answer.deeper_fits else UNKNOWN, None)
        if not depth.summary.n or self.answer.recommended is None:
            return Standing(depth, UNKNOWN, None)
        if depth is self.answer.best:
            return Standing(depth, TAKEN, None)
        p = None if depth.p_adjusted is None else min(1.0, sweeps * depth.p_adjusted)
        if p is None or p >= SIGNIFICANCE or depth.difference is None or depth.difference.mean is None:
            return Standing(depth, ALIKE, p)
        return Standing(depth, WORSE if depth.difference.mean < 0 else BETTER, p)

    @property
    def smaller(self) -> Depth | None:
        """The next smaller depth than the recommended one; None where it was not tried, or is not ranked."""
        recommended = self.answer.recommended
        below = [depth for depth in self.answer.depths if recommended is not None and depth.blocks < recommended]
        return below[-1] if below and None not in (below[-1].shortfall, below[-1].allowance) else None


@dataclass(frozen=True)
class Across:
    """Sweeps beside one another, and what they have in common."""

    sweeps: tuple[Sweep, ...]
    varied: tuple[str, ...]  # the settings that differ
    common: Mapping[str, Any]  # the settings that all share
    other_data: bool  # whether the images differ, whatever the data sets are called

    @property
    def depths(self) -> tuple[int, ...]:
        """Every depth that a sweep has tried, in ascending order."""
        return tuple(sorted({depth.blocks for sweep in self.sweeps for depth in sweep.answer.depths}))

    @property
    def recommended(self) -> tuple[int, ...]:
        """The depths that sweeps recommend, in ascending order; sweeps without a recommendation are left out."""
        found = {sweep.answer.recommended for sweep in self.sweeps}
        return tuple(sorted(blocks for blocks in found if blocks is not None))

    def standings(self, blocks: int) -> tuple[Standing, ...]:
        """How a depth stands in each of the sweeps, in their order."""
        return tuple(sweep.standing(blocks, len(self.sweeps)) for sweep in self.sweeps)

    def not_worse(self, sweep: Sweep) -> tuple[int, ...]:
        """The depths beside the recommended one that a sweep does not find worse, in ascending order."""
        sides = {blocks: sweep.standing(blocks, len(self.sweeps)).side for blocks in self.depths}
        return tuple(blocks for blocks, side in sides.items() if side in FINE and side != TAKEN)

    @property
    def serving(self) -> tuple[int, ...]:
        """The depths that have results in every sweep, and that no sweep finds worse than its recommended one."""
        return tuple(depth for depth in self.depths if self._sides(depth) <= set(FINE))

    @property
    def left(self) -> tuple[int, ...]:
        """The depths that no sweep rules out; beside `serving` those about which a sweep knows nothing."""
        return tuple(depth for depth in self.depths if not self._sides(depth) & set(RULED_OUT))

    @property
    def depends(self) -> bool:
        """Whether the sweeps show that no number of blocks does for all of them."""
        return not self.left

    def _sides(self, blocks: int) -> set[str]:
        return {standing.side for standing in self.standings(blocks)}

    def to_json(self) -> dict[str, Any]:
        """Plain values. Accuracies and differences are fractions."""
        return {
            "sweeps": [
                {
                    "name": sweep.name,
                    "folder": str(sweep.folder),
                    "settings": dict(sweep.settings),
                    "answer": sweep.answer.to_json(),
                }
                for sweep in self.sweeps
            ],
            "common": dict(self.common),
            "depths": [{"blocks": blocks, "sweeps": self._plain(blocks)} for blocks in self.depths],
            "found_worse_in_none": list(self.serving),
            "depends": self.depends,
        }

    def _plain(self, blocks: int) -> dict[str, Any]:
        """How a depth stands, by the names of the sweeps."""
        names = [sweep.name for sweep in self.sweeps]
        return {name: standing.to_json() for name, standing in zip(names, self.standings(blocks), strict=True)}


def across(swept: Sequence[Swept]) -> Across:
    """Sweeps side by side, each with the settings that differ.

    Args:
        swept: two or more sweeps.
    """
    settings = [_flat(each) for each in swept]
    names = list(settings[0])
    varied = [name for name in names if any(each[name] != settings[0][name] for each in settings)]
    if len({each.config.dataset for each in swept}) == len({(each.config.dataset, each.fingerprint) for each in swept}):
        varied = [name for name in varied if name != FINGERPRINT]  # the name of the data set says as much
    called = _names(settings, varied, swept)
    return Across(
        sweeps=tuple(
            Sweep(name, each.folder, {setting: own[setting] for setting in varied}, each.answer)
            for name, each, own in zip(called, swept, settings, strict=True)
        ),
        varied=tuple(varied),
        common={name: value for name, value in settings[0].items() if name not in (*varied, FINGERPRINT)},
        other_data=len({each.fingerprint for each in swept}) > 1,
    )


def _flat(swept: Swept) -> dict[str, Any]:
    """The settings of a sweep by the names of their flags, those that may grow last."""
    plain = config.to_json(swept.config)
    flat: dict[str, Any] = {"dataset": plain.pop("dataset"), FINGERPRINT: swept.fingerprint}
    for name, value in plain.items():
        inner = value if isinstance(value, dict) else {}  # a group, such as the network
        flat |= {each: inner[each] for each in inner if each not in plain} if inner else {name: value}
    grown = {name: flat.pop(name) for name in GROWABLE}
    return {**flat, **grown}


def _names(settings: Sequence[Mapping[str, Any]], varied: Sequence[str], swept: Sequence[Swept]) -> list[str]:
    """A name for each sweep, of as few settings as tell the sweeps apart; where none do, of their folders too."""
    parts: list[list[str]] = [[] for _ in settings]
    for name in varied:
        if len({tuple(own) for own in parts}) == len(parts):
            break
        for own, values in zip(parts, settings, strict=True):
            own.append(_part(name, values[name]))
    joined = [_short(", ".join(own)) for own in parts]
    if len(set(joined)) == len(joined):
        return joined
    return [f"{number}: {_short(str(each.folder))}" for number, each in enumerate(swept, start=1)]


def _part(name: str, value: Any) -> str:
    if name == "dataset":
        return _short(str(value))
    return f"images {value}" if name == FINGERPRINT else f"{name}={value_in_words(value)}"


def value_in_words(value: Any) -> str:
    """A setting's value as its flag takes it; nothing is `default`.

    >>> value_in_words([1, 2]), value_in_words([]), value_in_words(0.003), value_in_words("max")
    ('1,2', 'default', '0.003', 'max')
    """
    if isinstance(value, (list, tuple)):
        return ",".join(map(value_in_words, value)) or "default"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}"
