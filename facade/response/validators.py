"""Entity tags, Cache-Control, and conditional requests (RFC 9110 section 13, RFC 9111).

An endpoint that answers GET with bytes of an instance calls `cached(request, version, form)` when the version is known,
and returns `cached.not_modified()` if `is_known`, or adds `headers` to its response.

A version of an instance never changes; an instance that is stored again has another version. The instance of a URL may
be deleted or stored again, so by default clients must revalidate (`no-cache`), which needs one look-up. With
`cache_seconds` they need not revalidate for that time, and a browser may show a deleted object meanwhile. Responses are
`private`, so that shared caches do not store them, because access may depend on the user.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from facade.config import Settings
from facade.request.addresses import ORIGINAL_HEADER

_TAG = re.compile(r'(?:W/)?"([^"]*)"|([^\s,"]+)')
_FORM = re.compile(r"[^A-Za-z0-9._+=:-]+")

ANY = "*"
"""In If-None-Match: any current representation."""


@dataclass(frozen=True, slots=True)
class Cached:
    """Validators of a response, and whether the client has the current bytes.

    headers: ETag (strong, quoted), Cache-Control and Vary, for responses with the bytes and for 304.
    is_known: the client has these bytes, so the response is 304.
    """

    headers: Mapping[str, str]
    is_known: bool

    @property
    def tag(self) -> str:
        """The entity tag, with quotes."""
        return self.headers["ETag"]

    def not_modified(self) -> Response:
        """Return the 304 response."""
        return Response(status_code=304, headers=self.headers)


def cached(request: Request, version: int | str, form: str, vary: Iterable[str] = ("Accept",)) -> Cached:
    """Return the validators of a form of a version.

    Args:
        version: version of the instance; for a resource with several, a text that changes with any of them.
        form: identifies the form among all forms of this URL: transfer syntax, media type, coding. Equal tags promise
            equal bytes, so multipart bodies, which have random boundaries, have no tag.
        vary: request headers that select the form.
    """
    tag = entity_tag(version, form)
    headers = {"ETag": tag, "Cache-Control": cache_control(request), "Vary": varies(request, *vary)}
    known = known_tags(request.headers.getlist("if-none-match"))
    return Cached(headers, ANY in known or tag.strip('"') in known)


def entity_tag(version: int | str, form: str) -> str:
    """Return a strong entity tag with its quotes."""
    return f'"{version}-{_FORM.sub("-", form)}"' if form else f'"{version}"'


def cache_control(request: Request) -> str:
    """Return the Cache-Control header for bytes of one version of an instance."""
    settings: Settings = request.app.state.settings
    return f"private, max-age={settings.cache_seconds}" if settings.cache_seconds else "private, no-cache"


def varies(request: Request, *names: str) -> str:
    """Return the Vary header for bytes of an instance, whose form other request headers select.

    A cache that may reuse a response without revalidation must not confuse an original with the current version.
    """
    settings: Settings = request.app.state.settings
    return ", ".join((*names, ORIGINAL_HEADER) if settings.cache_seconds else names)


def known_tags(headers: Iterable[str]) -> list[str]:
    """Return the opaque tags in If-None-Match, weak or strong, with or without quotes, and "*" if present.

    If-None-Match uses weak comparison (RFC 9110 section 13.1.2).
    """
    return [quoted or bare for header in headers for quoted, bare in _TAG.findall(header) if quoted != ANY]
