"""CORS: access of web pages of other origins to responses (Fetch standard, CORS protocol).

It is the outermost middleware, so that every response has these headers, including errors and 304. Preflight requests
are answered here, before any authentication, because browsers send them without credentials.

Browser credentials (cookies, client certificates) of other origins are never allowed; a viewer sends its token in a
header. Pages of the own origin need no permission to send them.
"""

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facade.browsers.origins import ALL
from facade.browsers.site import Site

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
ALLOWED = (
    "Authorization, Accept, Content-Type, Prefer, Range, If-Range, If-None-Match, If-Match, Last-Event-ID, X-Request-Id"
)
"""For a preflight without requested headers. Otherwise all requested ones are allowed, since `X-*` has no pattern."""

EXPOSED = (
    "Content-Type, Content-Length, Content-Range, Content-Location, Content-Disposition, Content-Encoding, "
    "Accept-Ranges, ETag, Location, Warning, Link, Retry-After, X-Request-Id, X-Total-Count, api-supported-versions, "
    "erroneous-dicom-attributes, WWW-Authenticate"
)
_MAX_AGE_S = 600

_ORIGIN = b"access-control-allow-origin"
_EXPOSE = (b"access-control-expose-headers", EXPOSED.encode())
_VARY = (b"vary", b"Origin")


class Cors:
    """ASGI middleware: lets pages of the own and of allowed origins read responses."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app = app
        self._site = site
        self._for_all = [(_ORIGIN, b"*"), _EXPOSE]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "origin" in headers and "access-control-request-method" in headers:
                await self._preflight(scope, headers)(scope, receive, send)
                return
        added = self._for_all if self._site.origins.has_all else self._for_one(scope)

        async def readable_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self.app(scope, receive, readable_send)

    def _for_one(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers of a response that depends on the origin; `Vary` is always included for caches."""
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        if origin is None or not self._site.is_allowed(origin.decode("latin-1"), scope):
            return [_VARY]
        return [(_ORIGIN, origin), _EXPOSE, _VARY]

    def _preflight(self, scope: Scope, request_headers: Headers) -> Response:
        """Answer a preflight request.

        Pages of the internet may access a private network (Private Network Access) only if their origin is configured;
        with "*", any page in a browser on that network would have access.
        """
        origin = request_headers["origin"]
        has_all = self._site.origins.has_all
        vary = {} if has_all else {"Vary": "Origin"}
        if not self._site.is_allowed(origin, scope):
            return PlainTextResponse("This origin is not allowed: see cors_origins.", 403, vary)
        headers = {
            "Access-Control-Allow-Origin": ALL if has_all else origin,
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": request_headers.get("access-control-request-headers") or ALLOWED,
            "Access-Control-Max-Age": str(_MAX_AGE_S),
            **vary,
        }
        is_named = origin.lower() in self._site.origins.named
        if is_named and request_headers.get("access-control-request-private-network") == "true":
            headers["Access-Control-Allow-Private-Network"] = "true"
        return Response(status_code=200, headers=headers)
