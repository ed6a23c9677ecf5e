"""Addresses of clients, as gRPC names peers and as a facade states them."""

import re

_ADDRESS = re.compile(
    r"(?:ipv4:)?(\d+\.\d+\.\d+\.\d+)(?::\d+)?"
    r"|(?:ipv6:)?(?:\[|%5B)?([0-9a-fA-F:]*:[0-9a-fA-F:.]+?)(?:(?:\]|%5D)(?::\d+)?)?"
)


def ip_address_of(peer: str) -> str:
    """Return the IP address of a client such as "ipv4:192.0.2.1:4711"; empty if it has none, as "inproc"."""
    found = _ADDRESS.fullmatch(peer)
    return (found[1] or found[2]) if found else ""
