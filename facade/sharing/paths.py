"""Paths below which the credential is a share link: base URLs for clients that cannot send headers.

    /share/{token}/v2/…    the token is in the path: for DICOMweb clients, <img>, <video>, recipients
    /shared/{id}/v2/…      the token is in a cookie of this path, which `redeem` has set: for the viewer of the archive

The part before the version is removed before routing, and the token becomes the Authorization header of the request;
any other credentials are ignored. URLs in responses keep the prefix (`request.addresses.root_of`).
"""

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facade.prefixes import remove_prefix

TOKEN = r"dcms_[A-Za-z0-9_-]{1,200}"  # noqa: S105 - a pattern
"""Pattern of the token of a share link."""

LINK_ID = r"[0-9a-f]{32}"
"""Pattern of the id of a share link."""

_IN_PATH = re.compile(rf"/share/({TOKEN})(?=/v\d+(?:/|$))")
_IN_COOKIE = re.compile(rf"/shared/({LINK_ID})(?=/v\d+(?:/|$))")
WHOLE_TOKEN = re.compile(TOKEN)
_NO_TOKEN = "dcms_"  # noqa: S105 - the core refuses it
_SECURE = "__Secure-"
_COOKIE = "dicomstore-share"


def cookie_name(*, is_https: bool) -> str:
    """Return the name of the cookie with a token; browsers accept the prefix over HTTPS only."""
    return f"{_SECURE}{_COOKIE}" if is_https else _COOKIE


class SharePaths:
    """ASGI middleware: serves requests below the paths of share links with the credential of the link."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith("/share"):
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        token = route = ""
        if found := _IN_PATH.match(path):
            token, route = found[1], "/share/{token}"
        elif found := _IN_COOKIE.match(path):
            token, route = _token_in_cookie(scope), "/shared/{link}"
        if not found or not scope["raw_path"].startswith(found[0].encode()):
            await self.app(scope, receive, send)
            return
        is_in_path = found.re is _IN_PATH
        remove_prefix(scope, found[0], route)
        scope["headers"] = [
            *((name, value) for name, value in scope["headers"] if name not in (b"authorization", b"cookie")),
            (b"authorization", f"Bearer {token}".encode()),
        ]

        async def embeddable_send(message: Message) -> None:
            if is_in_path and message["type"] == "http.response.start":
                # The URL is the credential, so a page of any origin that knows it may embed the resource.
                MutableHeaders(raw=message["headers"])["Cross-Origin-Resource-Policy"] = "cross-origin"
            await send(message)

        await self.app(scope, receive, embeddable_send)


def _token_in_cookie(scope: Scope) -> str:
    """Return the token in the cookie of this path, or one that the core refuses."""
    for name, value in scope["headers"]:
        if name == b"cookie":
            for cookie in _cookies(value.decode("latin-1")):
                if WHOLE_TOKEN.fullmatch(cookie):
                    return cookie
    return _NO_TOKEN


def _cookies(header: str) -> list[str]:
    """Return the values of all cookies with one of the names, that of the most specific path first (RFC 6265)."""
    names = (cookie_name(is_https=True), cookie_name(is_https=False))
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return [value for name, _, value in pairs if name in names]
