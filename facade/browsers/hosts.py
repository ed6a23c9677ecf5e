"""The host names of this service: protection from DNS rebinding.

A page of the internet can give its own name the address of this service. For the browser of its visitor both are then
one origin, and the page may read everything that needs no credentials. Such requests have the name of the page in Host.
"""

import ipaddress
import re
from collections.abc import Callable, Collection
from functools import lru_cache
from urllib.parse import urlsplit

ALL = "*"

_REMEMBERED = 256
_PORT = re.compile(r":\d*$")


class Hosts:
    """The accepted host names, with any port.

    IP addresses are always accepted, because a browser connects to exactly that address, and so is localhost, which
    browsers resolve themselves.
    """

    def __init__(self, *, bound: str, public_url: str, allowed: Collection[str]) -> None:
        """Accept the names of the listening address, of the public URL, and the `allowed` ones.

        `*.example.org` stands for all names below example.org, `*` for all.
        """
        names = {"localhost", host_name(bound), urlsplit(public_url).hostname or "", *map(str.lower, allowed)}
        self._has_all = ALL in names
        self._names = frozenset(names)
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))
        self.accepts: Callable[[str], bool] = lru_cache(_REMEMBERED)(self._accepts)
        """Whether the value of a Host header belongs to this service."""

    def _accepts(self, host: str) -> bool:
        name = host_name(host)
        return self._has_all or name in self._names or name.endswith(self._suffixes) or _is_address(name)


def host_name(host: str) -> str:
    """Return the lower-case name or address of a Host header without port, brackets and final dot."""
    return _PORT.sub("", host.lower()).strip("[]").removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
