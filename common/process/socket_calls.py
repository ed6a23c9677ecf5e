"""Calls of the contract between processes of one machine over a socket in the abstract namespace (unix(7)): the format.

A call and its response over gRPC take 0.5 ms of CPU time in Python, more than a search. On the same machine the DIMSE
gateway therefore calls the core like this, with the same messages, metadata and statuses.

A connection has one call at a time. Its bytes are frames: length of the payload, kind, payload.

    client: HEAD (JSON: method, seconds until the deadline or null, metadata), MESSAGE for each request, END
            after a stream of requests
    server: MESSAGE for each response, STATUS (JSON: code, details, base64 of `RICH_STATUS`)

A client cancels a call by closing the connection. Both sides accept only processes of the same user, or of root.
"""

import secrets
import socket
import struct

from common.telemetry.neighbours import is_trusted

FRAME = struct.Struct(">IB")
HEAD, MESSAGE, END, STATUS = 1, 2, 3, 4

RICH_STATUS = "grpc-status-details-bin"
"""Key in trailing metadata of the error details of the contract; absent from the STATUS of a success."""

SOCKET = "DICOMSTORE_CALLS_SOCKET"
"""Variable with the descriptor of the listening socket, set by `dicomstore up` for nodes; not a setting."""

ADDRESS = "DICOMSTORE_CALLS_ADDRESS"
"""Variable with the address of this socket, set by `dicomstore up` for gateways; not a setting."""

_BUFFER_BYTES = 1 << 20


def listen() -> socket.socket:
    """Return a socket that listens on a new address. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(f"\0dicomstore-calls-{secrets.token_hex(16)}")
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def name_of(listener: socket.socket) -> str:
    """Return the address of a listening socket."""
    address: bytes = listener.getsockname()
    return address[1:].decode()


def connect(name: str, seconds: float) -> socket.socket:
    """Return a connection to the socket with an address. Raises OSError, also if another user listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(f"\0{name}")
        if not is_trusted(connection):
            raise PermissionError("the socket is that of another user")
    except OSError:
        connection.close()
        raise
    enlarge_buffer(connection)
    return connection


def enlarge_buffer(connection: socket.socket) -> None:
    """Let the system accept a large message at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
