"""Fixes the settings of JAX that would change a command's numbers or forbid its work, whatever the environment says.

Only a command, which owns its process, calls this. What else can change numbers is recorded with the results: see
`cnn.machine.JAX_SETTINGS`.
"""

FIXED = {
    "jax_enable_x64": False,  # parameters and sums are float32
    "jax_numpy_dtype_promotion": "standard",
    "jax_transfer_guard": "allow",  # a run moves arrays between host and device
    "jax_threefry_partitionable": True,  # the random numbers do not depend on how arrays lie on devices
}


def fix() -> None:
    """Give each setting of `FIXED` its value."""
    import jax

    for name, value in FIXED.items():
        jax.config.update(name, value)
