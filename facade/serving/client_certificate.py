"""The certificate with which a client has authenticated itself to the HTTP listener."""

from typing import Any

import orjson
from starlette.types import Scope

from common.tls import peer_names

CERTIFICATE_NAMES = "dicomstore.certificate_names"
"""Key of the ASGI scope: the names in the certificate of the client, as a list of strings."""

CERTIFICATE = "x-dicomstore-certificate-bin"
"""Metadata of every call to the core: the names in the certificate of the client, as a JSON array of strings. The core
thereby also knows that a call comes through a facade, and not from the facade itself."""

_NONE = b"[]"

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def certificate_names(transport: Any) -> list[str]:
    """Return the names in the certificate of a connection's client, in the form in which the core expects them."""
    return peer_names(transport.get_extra_info("peercert"))


def forwarded_names(scope: Scope) -> bytes:
    """Return the value of metadata `CERTIFICATE`: the names with which the core may authenticate a request.

    A browser sends its certificate with the requests of every page. Requests of other sites must not change anything
    with it.
    """
    names: list[str] | None = scope.get(CERTIFICATE_NAMES)
    if names is None:
        return _NONE
    if scope["method"] not in _SAFE_METHODS:
        site = next((value for name, value in scope["headers"] if name == b"sec-fetch-site"), b"none")
        if site not in (b"none", b"same-origin"):
            return _NONE
    return orjson.dumps(names)
