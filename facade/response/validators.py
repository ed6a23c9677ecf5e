"""Entity tags, what may be kept, and requests with conditions (RFC 9110 section 13, RFC 9111).

Whoever answers GET with bytes of an instance calls `cached(request, version, form)` as soon as the version is known,
and answers `cached.not_modified()` if `is_known`, or else puts `headers` on its answer.

A version of an instance never changes: what is stored anew has another version. A URL however may be deleted, or be
stored anew, so by default everything is asked for again (`no-cache`) and answered 304 at the cost of one look-up. With
`cache_seconds` nobody asks for so long, and a deleted object is seen for as long in a browser that has it. All is
`private`: what one user may see says nothing about others, so no cache that is shared keeps it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from facade.config import Settings

_TAG = re.compile(r'(?:W/)?"([^"]*)"|([^\s,"]+)')
_FORM = re.compile(r"[^A-Za-z0-9._+=:-]+")

ANY = "*"
"""In If-None-Match: whatever there is."""


@dataclass(frozen=True, slots=True)
class Cached:
    """What an answer says about itself, and whether the client has it.

    headers: ETag (strong, quoted), Cache-Control and Vary; of an answer with any status that has the bytes, and of 304.
    is_known: the client has these very bytes, so the answer is 304.
    """

    headers: Mapping[str, str]
    is_known: bool

    @property
    def tag(self) -> str:
        """The entity tag, with quotes."""
        return self.headers["ETag"]

    def not_modified(self) -> Response:
        """Return the answer to a client that has these bytes."""
        return Response(status_code=304, headers=self.headers)


def cached(request: Request, version: int | str, form: str, vary: Iterable[str] = ("Accept",)) -> Cached:
    """Return what to say about one form of a version.

    Args:
        version: of the instance; of a resource with several, whatever changes when any of them does.
        form: tells apart all forms of that version that this URL may have: transfer syntax, media type, coding. Equal
            tags promise equal bytes, so an envelope with a boundary made for each answer has no tag at all.
        vary: request headers that choose among them.
    """
    tag = entity_tag(version, form)
    headers = {"ETag": tag, "Cache-Control": cache_control(request), "Vary": ", ".join(vary)}
    known = known_tags(request.headers.getlist("if-none-match"))
    return Cached(headers, ANY in known or tag.strip('"') in known)


def entity_tag(version: int | str, form: str) -> str:
    """Return a strong entity tag with its quotes."""
    return f'"{version}-{_FORM.sub("-", form)}"' if form else f'"{version}"'


def cache_control(request: Request) -> str:
    """Return the Cache-Control header of what belongs to one version of an instance."""
    settings: Settings = request.app.state.settings
    return f"private, max-age={settings.cache_seconds}" if settings.cache_seconds else "private, no-cache"


def known_tags(headers: Iterable[str]) -> list[str]:
    """Return what If-None-Match names: entity tags, weak or strong, with or without quotes, and perhaps "*".

    Weak ones compare like strong ones (RFC 9110 section 13.1.2).
    """
    return [quoted or bare for header in headers for quoted, bare in _TAG.findall(header) if quoted != ANY]
