"""Requests that are refused while their head is parsed, before there is a request for the application."""

import re
from collections.abc import Sequence
from http import HTTPStatus

from facade import proxies

_VERSIONS = ("1.1", "1.0")

_HEAD = (
    "HTTP/1.1 {status} {phrase}\r\n"
    "content-type: text/plain; charset=utf-8\r\n"
    "content-length: {length}\r\n"
    "x-content-type-options: nosniff\r\n"
    "content-security-policy: default-src 'none'; sandbox\r\n"
    "{more}"
    "connection: close\r\n"
    "\r\n"
)


def refusal(status: int, text: str, more: str = "") -> bytes:
    """Return a complete response, after which the connection is closed; `more` are header lines."""
    body = text.encode()
    phrase = HTTPStatus(status).phrase
    return _HEAD.format(status=status, phrase=phrase, length=len(body), more=more).encode() + body


def fault_of(target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, str] | None:
    """Return status and text for a head that is ambiguous or invalid (RFC 9112 sections 3.2, 6.1 and 7), else None.

    headers: with lower-case names.
    """
    if version not in _VERSIONS:
        return 505, "Only HTTP/1.1 and HTTP/1.0 are supported."
    hosts = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            if version == "1.0":
                return 400, "HTTP/1.0 has no transfer coding."
            if value.strip().lower() != b"chunked":
                return 501, "The only supported transfer coding is chunked."
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return 400, "The request must have one Host header."
    if hosts and not proxies.is_host(hosts[0].decode("latin-1")):
        return 400, "The Host header is invalid."
    if not target.startswith(b"/") or b"#" in target:
        return _fault_of_target(target, hosts)
    return None


def _fault_of_target(target: bytes, hosts: Sequence[bytes]) -> tuple[int, str] | None:
    """Return the fault of an unusual request target, unless it is "*", or a URL with the host of the Host header."""
    if target == b"*":
        return None
    scheme, _, rest = target.partition(b"://")
    if scheme.lower() not in (b"http", b"https") or b"#" in rest:
        return 400, "The request target is invalid."
    authority = re.split(rb"[/?]", rest, maxsplit=1)[0]
    if [authority.lower()] != [host.lower() for host in hosts]:
        return 400, "The request target does not agree with the Host header."
    return None
