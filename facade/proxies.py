"""What trusted proxies say about a request: scheme, host and path prefix as seen by the client.

RFC 7239 (`Forwarded`) and the older `X-Forwarded-*` headers. Those of other clients are ignored, because anybody can
send them. A trusted proxy must set or remove them all.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from starlette.datastructures import Headers

from facade.config import comma_list

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535

NAMES = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""Headers that only proxies send."""

_FORWARDED_PAIR = re.compile(r'\s*+(\w++)=(?:"([^"]*+)"|([^;,"\s]*+))\s*+(?:;|\Z)')
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")


@lru_cache(256)
def is_host(text: str) -> bool:
    """Return whether a Host header is valid: a name or an address, with or without a port (RFC 9110 section 7.2)."""
    match = _HOST.fullmatch(text)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        return False
    if match["ipv6"] is None:
        return True
    try:
        ipaddress.IPv6Address(match["ipv6"])
    except ValueError:
        return False
    return True


@lru_cache(1024)
def is_trusted(client: str, trusted: str) -> bool:
    """Return whether the address of a client is in one of the `trusted` addresses and networks; "*" trusts all."""
    networks = comma_list(trusted)
    if "*" in networks:
        return True
    try:
        address = address_of(client)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)


def address_of(client: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an IP address; an IPv4 address that an IPv6 socket received (::ffff:…) as IPv4.

    Raises:
        ValueError: it is not an address.
    """
    address = ipaddress.ip_address(client.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def client_of(peer: str, forwarded_for: Sequence[str], trusted: str) -> str:
    """Return the address of the client behind trusted proxies.

    Args:
        peer: the trusted proxy that is connected.
        forwarded_for: values of X-Forwarded-For; each proxy appends the address that is connected to it.
    """
    for part in reversed(",".join(forwarded_for).split(",")):
        try:
            peer = str(address_of(part.strip()))
        except ValueError:
            break
        if not is_trusted(peer, trusted):
            break
    return peer


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return `proto`, `host` and `prefix` from the outermost proxy, as far as they are valid and present."""
    found = dict(_pairs(headers.get("forwarded", "").split(",")[0]))
    for key in ("proto", "host", "prefix"):
        if value := headers.get(f"x-forwarded-{key}", "").split(",")[0].strip():
            found.setdefault(key, value)
    port = headers.get("x-forwarded-port", "").strip()
    if "host" in found and port.isdecimal() and ":" not in found["host"]:
        default = {"http": "80", "https": "443"}.get(found.get("proto", ""))
        found["host"] += "" if port == default else f":{port}"
    if not _PREFIX.fullmatch(found.get("prefix", "")):
        del found["prefix"]
    return found


def _pairs(element: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters of an element of `Forwarded`, up to the first that is malformed."""
    at = 0
    while (pair := _FORWARDED_PAIR.match(element, at)) is not None:
        yield pair[1].lower(), pair[2] or pair[3] or ""
        at = pair.end()


_FORWARDING = (b"forwarded", b"x-forwarded-host")


def hosts_of(scope: Mapping[str, Any], trusted: str) -> list[str]:
    """Return the hosts for which a request was sent: the Host header, and the host that a trusted proxy forwards.

    The list is empty for HTTP/1.0 without Host.
    """
    hosts, is_forwarded = [], False
    for name, value in scope["headers"]:
        if name == b"host":
            hosts.append(value.decode("latin-1"))
        elif name in _FORWARDING:
            is_forwarded = True
    if is_forwarded and is_trusted((scope.get("client") or ("",))[0], trusted):
        hosts += filter(None, [forwarded(Headers(raw=scope["headers"])).get("host")])
    return hosts
