"""Fixes the settings of JAX that would change a command's numbers or forbid its work, whatever the environment says.

What JAX then still refuses of the environment is said in one line, before any work begins.

Only a command, which owns its process, calls this. What else can change numbers is recorded with the results: see
`cnn.machine.JAX_SETTINGS`.
"""

import os
import platform
import re

from cnn.errors import RequestError

FIXED = {
    "jax_enable_x64": False,  # parameters and sums are float32
    "jax_numpy_dtype_promotion": "standard",
    "jax_transfer_guard": "allow",  # a run moves arrays between host and device
    "jax_debug_nans": False,  # a training whose loss is not finite is a result, not an error
    "jax_debug_infs": False,
    "jax_threefry_partitionable": True,  # the random numbers do not depend on how arrays lie on devices
}


def fix() -> None:
    """Give each setting of `FIXED` its value, and compute one number.

    Raises:
        RequestError: JAX cannot compute, and the environment has variables of JAX that may be why, or this computer's
            name has no address.
    """
    import jax

    for name, value in FIXED.items():
        jax.config.update(name, value)
    try:
        jax.block_until_ready(jax.jit(lambda: 1.0)())
    except Exception as error:
        reason = " ".join(str(error).split())
        if "gloo" in reason:
            named = f"the name of this computer, {platform.node()!r}"
            raise RequestError(f"{named}: must have an address, by which processes on CPUs meet ({reason})") from error
        given = {name: value for name, value in os.environ.items() if name.startswith("JAX_")}
        likely = [name for name in given if {name.removeprefix("JAX_").lower(), given[name]} & set(_words(reason))]
        if not given:
            raise
        named = ", ".join(f"{name}={given[name]!r}" for name in likely or given)
        raise RequestError(f"{named}: JAX cannot compute so ({reason})") from error


def _words(text: str) -> list[str]:
    """The words of a message as JAX spells settings and values.

    Example:
        >>> _words("Unknown backend 'nonsense'; no_execution is set.")
        ['Unknown', 'backend', 'nonsense', 'no_execution', 'is', 'set']
    """
    return re.findall(r"\w+", text)
