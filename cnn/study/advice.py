"""The command to try after a sweep's answer."""

import re
import shlex
from collections.abc import Callable, Sequence

from cnn.config import FIRST_TUNING_SEED, SweepConfig
from cnn.study.answer import Answer
from cnn.study.tuning import beyond

LARGEST_RATE = 1e30  # far above any rate that learns; no rate beyond it is suggested
SMALLEST_RATE = 1e-30


def next_command(
    answer: Answer, config: SweepConfig, grid: Sequence[float], arguments: Sequence[str], fits: Callable[[int], bool]
) -> str | None:
    """The command to try after this answer, as a line for the shell; None where the answer leaves nothing to try.

    It is the first of these that applies: the same command where trials failed; more learning rates where a best one
    lies at the edge of the grid; a deeper network where the deepest is recommended; more seeds where the tests do not
    tell depths apart. These settings may grow in an old work folder, so the command continues in the same folder.

    Args:
        answer: the answer so far.
        config: the settings that gave the answer.
        grid: the learning rates that were tried.
        arguments: the command that gave the answer, such as `sys.orig_argv`.
        fits: whether a number of blocks fits the images.

    Example:
        >>> _replaced(["python", "-m", "experiments.sweep_blocks", "--seeds", "5", "--epochs=9"], "seeds", "10")
        'python -m experiments.sweep_blocks --epochs=9 --seeds=10'
    """
    if any(depth.summary.failed for depth in answer.depths):
        return shlex.join(arguments)
    rates = sorted(map(float, grid))
    wider = _wider(answer, rates)
    if wider != rates:
        return _replaced(arguments, "learning_rates", ",".join(map(repr, wider)))
    deepest = max(config.blocks)
    # With equal parameters or multiply-accumulates a deeper network would change the widths of all the others.
    if answer.recommended == deepest and answer.match == "width" and fits(deepest + 1):
        return _replaced(arguments, "blocks", ",".join(map(str, (*config.blocks, deepest + 1))))
    if answer.indistinguishable and 2 * config.seeds <= FIRST_TUNING_SEED:
        return _replaced(arguments, "seeds", str(2 * config.seeds))
    return None


def _wider(answer: Answer, rates: list[float]) -> list[float]:
    """The learning rates, and one more beyond each edge that is a best rate; a lower one where all trials diverged."""
    best = {depth.summary.learning_rate for depth in answer.depths if depth.summary.learning_rate_at_edge}
    all_diverged = all(depth.summary.n == 0 and depth.summary.diverged for depth in answer.depths)
    lower = [beyond(rates[0], -1)] if rates[0] in best or all_diverged else []
    higher = [beyond(rates[-1], 1)] if rates[-1] in best and len(rates) > 1 else []
    return [rate for rate in (*lower, *rates, *higher) if SMALLEST_RATE <= rate <= LARGEST_RATE or rate in rates]


def without(arguments: Sequence[str], flag: str) -> list[str]:
    """A command line without a flag and its value.

    Example:
        >>> without(["sweep_blocks", "--shard", "2/8", "--seeds=5"], "shard")
        ['sweep_blocks', '--seeds=5']
    """
    kept = []
    skip = False
    for argument in arguments:
        alone = re.fullmatch(rf"--?{flag}", argument) is not None  # its value is the next argument
        if not skip and not alone and not re.match(rf"--?{flag}=", argument):
            kept.append(argument)
        skip = alone
    return kept


def _replaced(arguments: Sequence[str], flag: str, value: str) -> str:
    """The command with a flag set to a value; earlier settings of the flag are removed."""
    return shlex.join([*without(arguments, flag), f"--{flag}={value}"])
