"""The route of the viewer: its files and pages below `/viewer/`, and redirects of addresses at the root.

It is designed for OHIF, which is complete in the npm package `@ohif/app`. The settings that it reads are generated.
"""

import base64
import hashlib
import re
from pathlib import Path
from types import MappingProxyType

from dicomstore.v1.partition_service_pb2 import ListPartitionsRequest
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from facade.browsers.origins import Origins
from facade.channel import Core
from facade.errors import CoreFailure
from facade.request.addresses import service_root
from facade.serving.observe import call_metadata
from facade.sessions import login
from facade.viewer.files import REVALIDATE, Files, media_type
from facade.viewer.public_path import BASE, rewritten
from facade.viewer.settings import config

ISOLATION = MappingProxyType(
    {
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
    }
)
"""Headers that browsers require before a page may share memory with its workers, which then decode in parallel. Content
in a frame of that page, such as a rendered PDF, needs them too, so all responses of the service have them."""

INDEX = "index.html"
CONFIG = "app-config.js"

_SHARED_PAGE = re.compile(r"/share-[0-9a-f]{32}(-|/|$)")
_SOURCE = r"(?:dicomstore|partition-[^/]+|share-[0-9a-f]{32}[^/]*)"
_MODE_AT_ROOT = re.compile(r"/(?!viewer/)[A-Za-z0-9-]+(/[^/]+)?/?")
_VIEWER_AT_ROOT = re.compile(rf"/viewer/{_SOURCE}/?")
_HAS_STUDY = re.compile(rb"(^|&)StudyInstanceUIDs?=", re.IGNORECASE)


class Viewer(BaseRoute):
    """Route for all paths below `/viewer/`: files of the viewer, its settings, or its index page.

    A path without a file returns the index page if `Accept` names HTML, otherwise 404. Addresses of studies that OHIF
    has if it is served at the root, such as `/viewer?StudyInstanceUIDs=1.2`, are redirected.
    """

    def __init__(self, folder: Path, origins: Origins) -> None:
        """Serve the files of `folder`; pages of `origins` may show the viewer in a frame."""
        self._files = Files(folder)
        self._policy = _policy(rewritten(INDEX, (folder / INDEX).read_bytes()).decode(), origins)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the paths below `BASE`, and former addresses of studies; other routes must be tried first."""
        if scope["type"] != "http" or not (scope["path"].startswith(BASE) or _moved(scope)):
            return Match.NONE, {}
        # The path and the query of a viewer may contain patient data, so the log gets a constant.
        scope["template"] = "viewer"
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._answer(scope)
        response.headers["Content-Security-Policy"] = self._policy
        await response(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        query = scope["query_string"].decode("latin-1")
        if moved := _moved(scope):
            return RedirectResponse(f"{service_root(Request(scope))}{moved}?{query}".rstrip("?"), 308)
        path = scope["path"].removeprefix(BASE)
        if path == CONFIG and scope["method"] in ("GET", "HEAD"):
            text = config(await _partitions(Request(scope)))
            return Response(text, 200, {"Content-Type": media_type(CONFIG), "Cache-Control": REVALIDATE})
        if path not in ("", INDEX):
            try:
                return await self._files.get_response(path, scope)
            except HTTPException as error:
                if error.status_code != 404 or "text/html" not in Headers(scope=scope).get("accept", ""):
                    raise
        if await _needs_login(scope):
            return await login.begin(Request(scope), login.local_path(f"{scope['path']}?{query}".rstrip("?")))
        return await self._files.get_response(INDEX, scope)


def _moved(scope: Scope) -> str | None:
    """Return the path to which an address at the root has moved; None if it is not such an address.

    OHIF has a path for each mode, optionally with the name of a data source: `/segmentation`, `/viewer/partition-A`.
    """
    path: str = scope["path"]
    if path == BASE.rstrip("/") and not _HAS_STUDY.search(scope["query_string"]):
        return BASE
    if not _HAS_STUDY.search(scope["query_string"]):
        return None
    if _MODE_AT_ROOT.fullmatch(path) or _VIEWER_AT_ROOT.fullmatch(path):
        return BASE + path[1:]
    return None


_INLINE_SCRIPT = re.compile(r"<script\b[^>]*>(.+?)</script\s*>", re.DOTALL | re.IGNORECASE)


def _policy(page: str, origins: Origins) -> str:
    """Return the Content-Security-Policy of the viewer.

    Scripts are the files of the viewer and the inline scripts of its page, so text from stored objects cannot become
    one. Viewers compile WebAssembly and code (`unsafe-eval`: OHIF does it for arrays of any dimension), create workers
    and styles, and show documents and images from memory (`blob:`).
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE_SCRIPT.findall(page))
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'self'; script-src 'self' 'unsafe-eval' {hashes}; worker-src 'self' blob:; "
        "connect-src 'self' blob: data:; img-src 'self' blob: data:; media-src 'self' blob:; font-src 'self' data:; "
        "style-src 'self' 'unsafe-inline'; object-src 'self' blob:; frame-src 'self' blob:; base-uri 'self'; "
        f"form-action 'self'; frame-ancestors {origins.frame_ancestors}"
    )


async def _needs_login(scope: Scope) -> bool:
    """Return whether the page of the viewer could show nothing without a login.

    The page of a shared study needs none. The files of the viewer contain no data.
    """
    headers = Headers(scope=scope)
    is_page = scope["method"] in ("GET", "HEAD") and "text/html" in headers.get("accept", "")
    if not is_page or "authorization" in headers or _SHARED_PAGE.search(scope["path"]):
        return False
    core: Core = scope["app"].state.core
    try:
        return (await core.get_capabilities(())).features.authentication_required
    except CoreFailure:
        return False


async def _partitions(request: Request) -> list[str]:
    """Return the names of the data partitions; an empty list if partitions are disabled."""
    core: Core = request.app.state.core
    try:
        answer = await core.call(core.partitions.ListPartitions, ListPartitionsRequest(), call_metadata(request))
    except CoreFailure as failure:
        # Without credentials the settings are for shared studies only.
        if failure.reason in ("PARTITIONS_DISABLED", "UNAUTHENTICATED", "PERMISSION_DENIED"):
            return []
        raise
    return [partition.name for partition in answer.partitions]
