"""Addresses that programs listen on, and the rule for an archive without authentication: this machine only."""

import ipaddress
import os
import socket
from typing import Annotated

import typer

from common.settings import variable_of

INSECURE_OPTION = "--insecure-without-authentication"

_INSECURE = "insecure_without_authentication"

InsecureOption = Annotated[
    bool,
    typer.Option(
        INSECURE_OPTION,
        help="Without authentication, listen on any address: everybody who reaches it can read, change and delete "
        f"everything. \\[{variable_of(_INSECURE)}]",
    ),
]
"""Option of the programs that listen."""

_LOCAL_SCHEMES = ("unix:", "unix-abstract:")


def accept_insecure(given: bool) -> None:
    """Pass the option on to the settings, also those of child processes."""
    if given:
        os.environ[variable_of(_INSECURE)] = "true"


def is_loopback(address: str) -> bool:
    """Return whether HOST:PORT is reachable from this machine only; names are resolved, and Unix sockets are local."""
    if address.startswith(_LOCAL_SCHEMES):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if not host:
        return False
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(map(_is_loopback_ip, found))


def names_this_machine(address: str) -> bool:
    """Return whether HOST:PORT is on this machine whatever a name server answers: a Unix socket, a loopback address or
    `localhost`.
    """
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith(_LOCAL_SCHEMES) or host == "localhost":
        return True
    try:
        return _is_loopback_ip(host)
    except ValueError:
        return False


def exposure(address: str) -> str:
    """Return the error message for a program that must not listen on an address, because its archive is open."""
    return (
        f"Authentication is off, so this program listens on addresses of this machine only, not on {address}: "
        "everybody who reaches it could read, change and delete everything. Enable authentication "
        f"(docs/security.md), listen on 127.0.0.1, or accept this with {INSECURE_OPTION} ({_INSECURE} = true)."
    )


def exposure_warnings(address: str, *, is_open: bool, has_tls: bool) -> list[str]:
    """Return the warnings of a program that listens on an address, none if it is one of this machine.

    Args:
        is_open: authentication is off.
        has_tls: the connections are encrypted.
    """
    if is_loopback(address):
        return []
    found = []
    if is_open:
        found.append(f"{address} is open to other machines without authentication (docs/security.md)")
    if not has_tls:
        found.append(
            f"{address} is not encrypted: tokens and images can be read on the network; set tls_certificate, or let "
            "only a proxy with TLS reach it (docs/security.md)"
        )
    return found


def _is_loopback_ip(text: str) -> bool:
    ip = ipaddress.ip_address(text.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
