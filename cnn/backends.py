"""What suits each kind of device: one table, which `cnn.network.forms` and `cnn.training.loops.choice` read.

Every choice has its ground. `measured`: a benchmark of this project ran on such a device. `compiled`: XLA compiled the
programs for such a device without it (`benchmarks/compiled.py`), and its numbers decided. `read`: documentation or code
of others says so. benchmarks/README.md has the numbers.

Example:
    >>> of("cpu").loop.value, of("tpu").max_pool.value
    ('steps', 'windows')
    >>> import jax
    >>> with multiplying("float32"):
    ...     jax.config.jax_default_matmul_precision
    'highest'
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

T = TypeVar("T")


class Precision(NamedTuple):
    """What a precision means inside a step. Sums, losses, statistics and the stored weights are float32 in each."""

    dtype: str  # of images, activations and weights
    products: str  # JAX's name for how matrix products and convolutions of that type multiply


# float32 asks for the highest: by default a product of float32 numbers is TensorFloat-32 on an NVIDIA GPU and one pass
# of bfloat16 on a TPU. TensorFloat-32 keeps 10 bits of a fraction; a TPU takes three passes of bfloat16 in its place.
PRECISIONS = {
    "float32": Precision("float32", "highest"),
    "tensorfloat32": Precision("float32", "tensorfloat32"),
    "bfloat16": Precision("bfloat16", "default"),
}


def multiplying(precision: str) -> AbstractContextManager[Any]:
    """While this context is open, what JAX traces multiplies as one of `PRECISIONS` says."""
    import jax

    context: AbstractContextManager[Any] = jax.default_matmul_precision(PRECISIONS[precision].products)
    return context


@dataclass(frozen=True)
class Choice(Generic[T]):
    """What was chosen, on which ground, and why."""

    value: T
    ground: Literal["measured", "compiled", "read"]
    why: str


WIDE = 64  # filters
Steps = Literal["steps", "program"]  # who starts a training step: Python each one, or one program many


@dataclass(frozen=True)
class Backend:
    """The choices for one kind of device."""

    convolution: Choice[Literal["by shape", "plain"]]  # `cnn.network.forms` chooses a form, or takes XLA's own
    max_pool: Choice[Literal["cells", "windows"]]  # of windows that touch: the maximum of slices, or XLA's windows
    loop: Choice[Steps]
    small_loop: Choice[Steps]  # of a network without convolutions whose steps are short
    together: Choice[int]  # replicas that are computed side by side, by `vmap`
    together_wide: Choice[int]  # the same where each convolution has `WIDE` filters or more
    group: Choice[int]  # replicas that one device trains in one program, `together` after `together`, by `lax.map`
    slower: Choice[tuple[str, ...]]  # precisions that float32 is at least as fast as


CPU = Backend(
    convolution=Choice(
        "by shape", "measured", "Winograd's form for many channels, folded columns for few, products for small maps"
    ),
    max_pool=Choice("cells", "measured", "0.15 of the time of XLA's windows, forward and backward"),
    loop=Choice("steps", "measured", "XLA's fast convolutions do not run inside a compiled loop: 5.0 times as long"),
    small_loop=Choice("program", "measured", "0.80 to 0.89 of the time of steps that Python starts"),
    together=Choice(1, "measured", "a thread for each replica takes 0.55 of the time of one after another"),
    together_wide=Choice(1, "measured", "the same"),
    group=Choice(4, "measured", "a replica for each core; more than 4 cores were not there"),
    slower=Choice(("tensorfloat32", "bfloat16"), "measured", "a processor with AMX was not there"),
)
GPU = Backend(
    convolution=Choice("plain", "compiled", "cuDNN's kernels: a step writes 404 MiB, by patches and a product 897"),
    max_pool=Choice("cells", "compiled", "60 kernels that write 404 MiB; with windows 69, which write 1,012"),
    loop=Choice(
        "program", "compiled", "a step is 50 to 61 kernels, which XLA starts; it may ask the host before a step"
    ),
    small_loop=Choice("program", "read", "as with convolutions: launches"),
    together=Choice(8, "compiled", "60 kernels, one by one 488; 64 replicas take 1,808 MiB of temporaries, 8 take 226"),
    together_wide=Choice(8, "compiled", "60 kernels, one by one 480, for 64, 128 and 256 filters"),
    group=Choice(8, "compiled", "a step of 8 side by side is 60 kernels, of one 61"),
    slower=Choice((), "read", "tensor cores multiply bfloat16 and TensorFloat-32"),
)
TPU = Backend(
    convolution=Choice("plain", "compiled", "patches and a product take 1.9 to 3.0 times the estimated cycles"),
    max_pool=Choice("windows", "compiled", "0.53 and 0.57 of the estimated cycles of slices, without the gradient"),
    loop=Choice("program", "read", "a step that Python starts waits for the host"),
    small_loop=Choice("program", "read", "as with convolutions"),
    together=Choice(8, "compiled", "one by one 1.11 to 1.21 times the cycles, by estimates without copies and pooling"),
    together_wide=Choice(1, "compiled", "one by one 0.87 of the cycles, for 64, 128 and 256 filters"),
    group=Choice(8, "compiled", "8 side by side take 0.81 to 0.90 of the estimated cycles of 8 programs of one"),
    slower=Choice((), "read", "the matrix unit multiplies bfloat16"),
)
BACKENDS = {"cpu": CPU, "gpu": GPU, "tpu": TPU}


def of(backend: str) -> Backend:
    """The choices for a backend by JAX's name; one that the table does not have counts as a GPU."""
    return BACKENDS.get(backend, GPU)
