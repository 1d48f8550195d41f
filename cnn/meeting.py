"""Where the processes of one program meet, by JAX's distributed runtime.

Only a command, which owns its process, joins others: JAX's coordinator ends a process that does not meet the others, or
that loses process 0, by `abort`, with a trace.

Example:
    >>> meet(Place("localhost:1234", processes=1, number=0), Events(print, print, print)) is None
    True
"""

import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from typing import NamedTuple

from cnn.errors import RequestError
from cnn.processes import Crew, Events, enlist

SECONDS = 120  # in which all processes must have come
HEARTBEAT = 100  # seconds of JAX's own signs of life: those of `Crew`, without a trace, must be missed first


class Place(NamedTuple):
    """Where the processes of a program meet, how many they are, and which of them this one is."""

    address: str  # host and port of process 0
    processes: int
    number: int
    devices: Sequence[int] | None = None  # those of its machine that the process takes; None: as JAX chooses


def found() -> Place:
    """The place that Slurm, Open MPI, Cloud TPU or Kubernetes name, as JAX understands them.

    Raises:
        RequestError: this process belongs to no such job.
    """
    from jax._src.clusters import ClusterEnv  # `jax.distributed.initialize` asks it too, and keeps what it finds

    address, processes, number, devices = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, SECONDS
    )
    if address is None or processes is None or number is None:
        jobs = "Slurm, Open MPI, Cloud TPU or Kubernetes"
        raise RequestError(f"coordinator_address='auto': must be HOST:PORT outside of jobs of {jobs}")
    return Place(address, processes, number, devices)


def meet(place: Place, events: Events) -> Crew | None:
    """Meet the other processes of this program. Must come before any use of a backend.

    Args:
        place: where.
        events: what to do when another process asks for something.

    Returns:
        The crew, which `cnn.processes.crew` has from now on; None where there is only one process.

    Raises:
        RequestError: the address cannot be found, or process 0 cannot listen there.
    """
    if place.processes == 1:
        return None
    import jax
    from jax._src import distributed  # its key-value store has no public name

    _require_address(place)
    with contextlib.suppress(AttributeError):  # an older version has no such setting
        jax.config.update("jax_enable_preemption_service", False)  # it takes the signal of a stop for itself
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        jax.distributed.initialize(
            *place, initialization_timeout=SECONDS, heartbeat_timeout_seconds=HEARTBEAT
        )  # on CPUs, the collectives of all supported versions are those of Gloo
    except jax.errors.JaxRuntimeError as error:
        raise _refused(place, str(error)) from error
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)
    joined = Crew(distributed.global_state.client, place.number, place.processes, events)
    enlist(joined)
    return joined


def _require_address(place: Place) -> None:
    host, _, port = place.address.rpartition(":")
    try:
        socket.getaddrinfo(host.strip("[]"), int(port))
        if place.number == 0 and "JAX_COORDINATOR_BIND_ADDRESS" not in os.environ:
            socket.create_server(("", int(port))).close()  # JAX may crash where it cannot listen
    except (OSError, UnicodeError) as error:  # the second: of a host with an empty label, or a very long one
        raise _refused(place, getattr(error, "strerror", None) or str(error)) from None


def _refused(place: Place, reason: str) -> RequestError:
    accepted = "must be HOST:PORT of process 0, with a free port"
    return RequestError(f"coordinator_address={place.address!r}: {accepted} ({' '.join(reason.split())})")
