"""Parsing of HOST:PORT, and checks whether an address is free."""

import socket
from dataclasses import dataclass

_BACKLOG = 2048
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with, never bound


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address; `host` has no brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def parts(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port

    def to_connect(self) -> "Address":
        """Return the address for clients on this machine of a server that listens on `self`."""
        return Address(_WILDCARDS.get(self.host, self.host), self.port)


def parse_address(text: str) -> Address:
    """Return `HOST:PORT` or `[IPV6]:PORT` as an address.

    Raises:
        ValueError: it is neither, or the port is not 0 to 65535.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is not HOST:PORT; write an IPv6 address as [::1]:PORT")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return Address(host, int(port))


def claim(address: Address) -> Address:
    """Return `address`, with a free port instead of port 0.

    Raises:
        OSError: it is impossible to listen there: the port is in use, or the host is not a local address.
    """
    with listening_at(address) as probe:
        return Address(address.host, probe.getsockname()[1])


def listening_at(address: Address) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        OSError: it is impossible to listen there: the port is in use, or the host is not a local address.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As servers do, so that old connections of a server that has just stopped do not block the port.
        # SO_REUSEPORT is not set: gRPC sets it, and two cores on one port would silently share the calls.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)  # SO_REUSEADDR lets bind() succeed beside a listener on another address of this port
    except OSError:
        listener.close()
        raise
    return listener
