"""Processes of the DIMSE gateway, which share a listening socket."""

import socket
from collections.abc import Callable, Mapping

from cli.addresses import Address, listening_at, parse_address
from cli.errors import NOT_EXECUTED, Failure
from cli.processes.programs import Module, command
from cli.processes.restarts import SupervisedProgram

_SOCKET = "DICOMSTORE_DIMSE_SOCKET"
"""Variable of a gateway process: file descriptor of the shared listening socket."""

NODE = "DICOMSTORE_DIMSE_NODE"
"""Variable of a gateway process: data directory of the node whose metrics include its own."""


def gateway_socket(address: str) -> socket.socket:
    """Return a socket that listens on HOST:PORT. Raises Failure if it is impossible."""
    try:
        return listening_at(parse_address(address))
    except (ValueError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(
            f"the DIMSE gateway cannot listen on {address}: {why}",
            hint="choose another address with DICOMSTORE_DIMSE",
            exit_code=NOT_EXECUTED,
        ) from error


def gateway_programs(
    listener: socket.socket,
    address: Address,
    processes: int,
    environment: Mapping[str, str],
    *,
    echo: bool,
    on_change: Callable[[], None],
) -> list[SupervisedProgram]:
    """Start gateway processes; they are restarted until they are stopped.

    Args:
        listener: the shared socket; associations wait in its backlog, also during a restart.
        address: of the socket.
    """
    variables = {**environment, "DICOMSTORE_DIMSE": str(address), _SOCKET: str(listener.fileno())}
    return [
        SupervisedProgram(
            "dimse" if processes == 1 else f"dimse {number}",
            command(Module.DIMSE),
            variables,
            echo=echo,
            descriptors=[listener.fileno()],
            on_change=on_change,
        )
        for number in range(1, processes + 1)
    ]
