"""The web origins (RFC 6454) whose pages may call this service from a browser."""

import re
from collections.abc import Collection, Iterable

ALL = "*"
LOOPBACK = "loopback"
"""In the setting: all origins of the machine on which the browser runs, with any port."""

_LOOPBACK_ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")
_LOOPBACK_SOURCES = ("http://localhost:*", "https://localhost:*", "http://127.0.0.1:*", "https://127.0.0.1:*")
"""The same as CSP sources, which have no syntax for IPv6 addresses."""

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Origins:
    """Allowed origins. The own origin of the service is always allowed; see `is_own`.

    Attributes:
        named: the explicitly listed origins.
        has_all: whether all origins are allowed.
    """

    def __init__(self, entries: Collection[str]) -> None:
        self.named = frozenset(map(_normal, entries)) - {ALL, LOOPBACK}
        self.has_all = ALL in entries
        self._has_loopback = LOOPBACK in entries

    def allows(self, origin: str) -> bool:
        """Return whether the setting allows an origin."""
        origin = origin.lower()
        return (
            self.has_all
            or origin in self.named
            or (self._has_loopback and _LOOPBACK_ORIGIN.fullmatch(origin) is not None)
        )

    @property
    def resource_policy(self) -> str:
        """The Cross-Origin-Resource-Policy that lets pages of the allowed origins embed images."""
        if self.has_all or self.named:
            return "cross-origin"
        return "same-site" if self._has_loopback else "same-origin"

    @property
    def frame_ancestors(self) -> str:
        """The CSP sources of pages that may show responses in a frame or an object element."""
        if self.has_all:
            return "*"
        return " ".join(("'self'", *sorted(self.named), *(_LOOPBACK_SOURCES if self._has_loopback else ())))


def is_own(origin: str, hosts: Iterable[str]) -> bool:
    """Return whether an origin is that of a request with these hosts.

    The scheme is not compared, because a proxy may terminate TLS without telling.
    """
    scheme, _, host = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme, "")
    return bool(host) and host.removesuffix(port) in {each.lower().removesuffix(port) for each in hosts}


def _normal(entry: str) -> str:
    return entry.rstrip("/").lower()
