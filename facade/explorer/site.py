"""Serves the web explorer: its page at `/`, its files below `/explorer/{digest}/`, and its settings.

The explorer uses only the public API. Its state is in the fragment of the URL, so search keys do not reach the server.
"""

import html
from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from facade.channel import Core
from facade.config import Settings, viewers_of
from facade.endpoints import home
from facade.errors import CoreFailure
from facade.explorer.files import STYLESHEET, TYPES, File, Files
from facade.request.accept import parse_accept, prefers_gzip
from facade.serving.observe import call_metadata

PREFIX = "/explorer/"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content-Security-Policy of the page: only files of this service, no inline scripts and styles, and no text that a
script turns into HTML or code."""

_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_OF_FILES = {"Vary": "Accept-Encoding", "Content-Security-Policy": "default-src 'none'"}
_FIRST = ("app.js", "pages/studies.js")
"""Modules of the page that most users open first."""

_OHIF = "/viewer/viewer?StudyInstanceUIDs={study}"
_OHIF_OF_PARTITION = "/viewer/viewer/partition-{partition}?StudyInstanceUIDs={study}"

_FILES = Files()


async def root(request: Request) -> Response:
    """GET /: the explorer for clients that prefer HTML, otherwise the description of the service."""
    if not _prefers_html(request):
        return await home.home(request)
    tag = f'W/"{_FILES.digest}"'
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": _REVALIDATE,
        "Vary": "Accept, Accept-Encoding",
        "ETag": tag,
    }
    if request.headers.get("if-none-match") == tag:
        return Response(None, 304, headers)
    return _file(request, _page(), headers)


@cache
def _page() -> File:
    return File(TYPES[".html"], _page_text("index.html", PREFIX.strip("/"), *_FIRST).encode())


def page_with(name: str, root: str, module: str, values: Mapping[str, str]) -> bytes:
    """Return another page of the explorer, with its only module.

    Args:
        root: path of the service, "" without a prefix.
        values: by placeholder in the page; they are escaped.
    """
    page = _page_text(name, f"{root}{PREFIX.rstrip('/')}", module)
    for placeholder, value in values.items():
        page = page.replace(f'"{placeholder}"', f'"{html.escape(value)}"')
    return page.encode()


@cache
def _page_text(name: str, folder: str, *modules: str) -> str:
    """Return a page with one stylesheet, and with a list of all modules that it needs at first."""
    base = f"{folder}/{_FILES.digest}"
    preloaded = "\n".join(
        f'<link rel="modulepreload" href="{base}/{html.escape(each)}">' for each in _FILES.imported_by(*modules)
    )
    page = STYLESHEET.sub("", _FILES.by_path[name].content.decode())
    start = f'<link rel="stylesheet" href="{base}/styles/all.css">\n{preloaded}'
    return page.replace("<!-- modules -->", start).replace("BASE/", f"{base}/")


def _prefers_html(request: Request) -> bool:
    """Return whether the client names HTML and ranks it above JSON."""
    names = [each.name for each in parse_accept(", ".join(request.headers.getlist("accept")))]
    kinds = ("text/html", "application/xhtml+xml", "application/json", "application/dicom+json")
    return next((name in kinds[:2] for name in names if name in kinds), False)


class Explorer(BaseRoute):
    """Route for `/explorer/{digest}/{file}` and `/explorer/settings.json`.

    Browsers keep files with the current digest. Another digest is that of an earlier or later version, for example
    while nodes are updated: the current file is sent, and not kept.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the paths of the explorer."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            return Match.NONE, {}
        scope["template"] = PREFIX.rstrip("/")
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response("Method Not Allowed", 405, {"Allow": "GET, HEAD"})
        path = request.url.path.removeprefix(PREFIX)
        if path == "settings.json":
            body = orjson.dumps(await _settings(request))
            return Response(body, 200, {"Content-Type": "application/json", "Cache-Control": "no-store"})
        digest, _, name = path.partition("/")
        file = _FILES.by_path.get(name)
        if file is None or name.endswith(".html"):
            return Response("The requested resource does not exist.", 404, {"Content-Type": "text/plain"})
        caching = _FOREVER if digest == _FILES.digest else _REVALIDATE
        return _file(request, file, {**_OF_FILES, "Cache-Control": caching})


def _file(request: Request, file: File, headers: Mapping[str, str]) -> Response:
    """Return a file, compressed if the client accepts it."""
    headers = {"Content-Type": file.media_type, **headers}
    if prefers_gzip(request.headers.getlist("accept-encoding")):
        return Response(file.compressed, 200, headers | {"Content-Encoding": "gzip"})
    return Response(file.content, 200, headers)


async def _settings(request: Request) -> dict[str, Any]:
    """Return what the explorer has to know before its first request to the API; no data of the archive."""
    core: Core = request.app.state.core
    settings: Settings = request.app.state.settings
    try:
        features = (await core.get_capabilities(call_metadata(request))).features
        has_partitions, needs_login = features.partitions, features.authentication_required
    except CoreFailure:
        has_partitions, needs_login = False, False
    return {
        "hasPartitions": has_partitions,
        "needsLogin": needs_login,
        "hasSession": getattr(request.state, "session", None) is not None,
        "viewers": _viewers(settings, has_partitions=has_partitions),
    }


def _viewers(settings: Settings, *, has_partitions: bool) -> list[dict[str, str]]:
    """Return names and URL templates of the viewers for studies, that of this service first."""
    own = [{"name": "OHIF", "url": _OHIF_OF_PARTITION if has_partitions else _OHIF}] if settings.viewer else []
    return [*own, *({"name": name, "url": url} for name, url in viewers_of(settings.explorer_viewers))]
