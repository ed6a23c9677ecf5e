"""Refuses requests that do not belong to this service, are ambiguous, or were sent by a page of another site."""

import re
from collections.abc import Callable

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from facade.browsers.site import Site
from facade.errors import shown

_ALWAYS_ANSWERED = "/health/check"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_OWN_SITES = (b"same-origin", b"none")

_ENCODED_SEPARATOR = re.compile(rb"%(2f|5c)", re.IGNORECASE)
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f\\]|/\.\.?(/|$)")


class Guard:
    """ASGI middleware with three checks, before authentication and before a body is read.

    * 421: Host, or the host that a trusted proxy forwards, is not a name of this service (see `hosts`). Health checks
      are answered for any name, because probes use various names and the answer reveals no data.
    * 400: the path could mean something else for a proxy that decodes or simplifies it: encoded slashes, backslashes,
      control characters, or the segments "." and "..".
    * 403: a page of an origin that is not allowed sends a request that may change something, or opens a WebSocket.
      Some of these need no preflight, the browser may add credentials, and CORS does not protect a WebSocket.

    Programs other than browsers send neither Origin nor Sec-Fetch-Site and are not affected.

    Args:
        can_be_websocket: whether the response to a request may be a WebSocket.
    """

    def __init__(self, app: ASGIApp, site: Site, can_be_websocket: Callable[[Scope], bool]) -> None:
        self.app = app
        self._site = site
        self._can_be_websocket = can_be_websocket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        app = self.app
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            app = refusal
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["path"] != _ALWAYS_ANSWERED:
            for host in self._site.hosts_of(scope):
                if not self._site.hosts.accepts(host):
                    return _misdirected(host)
        if _ENCODED_SEPARATOR.search(scope["raw_path"]) or _AMBIGUOUS.search(scope["path"]):
            return PlainTextResponse("The path is ambiguous: it has an encoded separator or a dot segment.", 400)
        is_protected = scope["method"] in _SAFE_METHODS and not self._can_be_websocket(scope)
        if not is_protected and self._is_foreign(scope):
            return PlainTextResponse("Pages of this origin may not send this request: see cors_origins.", 403)
        return None

    def _is_foreign(self, scope: Scope) -> bool:
        """Return whether a page of another site, which is not allowed, sends the request.

        Sec-Fetch-Site and Origin cannot be changed by pages. Sec-Fetch-Site is not sent to plain HTTP except loopback,
        and Origin is "null" for some requests of own pages.
        """
        headers = dict(scope["headers"])
        site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
        if site in _OWN_SITES:
            return False
        if origin is None:
            return site is not None
        return not self._site.is_allowed(origin.decode("latin-1"), scope)


def _misdirected(host: str) -> Response:
    text = f"The host name {shown(host)} does not belong to this service: see allowed_hosts and public_url."
    return PlainTextResponse(text, 421)
