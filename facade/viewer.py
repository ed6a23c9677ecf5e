"""Serves a built web viewer at the root, and generates its settings with `/v2` as data source.

It is designed for OHIF, which is complete in the npm package `@ohif/app` and expects the root of its host. The paths of
the API and of the health check take precedence.

Guarantees: only files below the folder are sent; symbolic links out of it are not followed.
"""

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from dicomstore.v1.partition_service_pb2 import ListPartitionsRequest
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

from facade.browsers.origins import Origins
from facade.channel import Core
from facade.errors import CoreFailure
from facade.request.accept import prefers_gzip
from facade.serving.observe import call_metadata
from facade.sessions import login

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

_API = re.compile(r"/(v\d+|health|shared?|login|logout)(/|$)")
_SHARED_PAGE = re.compile(r"/share-[0-9a-f]{32}(-|/|$)")
_HASHED = re.compile(r"[.-][0-9a-f]{16,}\.\w+$|/[0-9a-f]{16,}\.\w+$")
_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"

# Browsers refuse modules and WebAssembly with other media types, so the tables of the system are not used.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jsonc": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webapp": "application/manifest+json",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
_OTHER_TYPE = "application/octet-stream"


class Viewer(BaseRoute):
    """Route for all paths that do not belong to the API: files of the viewer, its settings, or its index page.

    A path without a file returns the index page if `Accept` names HTML, otherwise 404. Clients that accept gzip get
    `name.gz` instead of `name`; these files must exist when the program starts.
    """

    def __init__(self, folder: Path, origins: Origins) -> None:
        """Serve the files of `folder`; pages of `origins` may show the viewer in a frame."""
        self._files = _Files(folder)
        self._policy = _policy((folder / INDEX).read_text(), origins)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match all paths that do not belong to the API."""
        if scope["type"] != "http" or _API.match(scope["path"]):
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
        path = self._files.get_path(scope)
        if path == CONFIG and scope["method"] in ("GET", "HEAD"):
            text = config(await _partitions(Request(scope)))
            return Response(text, 200, {"Content-Type": _TYPES[".js"], "Cache-Control": _REVALIDATE})
        if path not in (".", INDEX):
            try:
                return await self._files.get_response(path, scope)
            except HTTPException as error:
                if error.status_code != 404 or "text/html" not in Headers(scope=scope).get("accept", ""):
                    raise
        if await _needs_login(scope):
            query: str = scope["query_string"].decode("latin-1")
            return await login.begin(Request(scope), login.local_path(f"{scope['path']}?{query}".rstrip("?")))
        return await self._files.get_response(INDEX, scope)


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


class _Files(StaticFiles):
    """Files of a folder, with media types, content codings and cache headers for browsers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        root = folder.resolve()
        self._compressed = {str(path.with_suffix("")): path.stat() for path in root.rglob("*.gz")}

    def file_response(
        self, full_path: Any, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file, or 304 if the client has the current one."""
        name, request = str(full_path), Headers(scope=scope)
        headers = {
            "Content-Type": _TYPES.get(os.path.splitext(name)[1], _OTHER_TYPE),
            "Cache-Control": _FOREVER if _HASHED.search(name) else _REVALIDATE,
        }
        if compressed := self._compressed.get(name):
            headers["Vary"] = "Accept-Encoding"
            if prefers_gzip(request.getlist("accept-encoding")):
                headers["Content-Encoding"] = "gzip"
                name, stat_result = f"{name}.gz", compressed
        response = FileResponse(name, status_code, headers, stat_result=stat_result)
        return NotModifiedResponse(response.headers) if self.is_not_modified(response.headers, request) else response


def config(partitions: list[str]) -> bytes:
    """Return OHIF's settings: a data source for each data partition, or a single one without partitions.

    The script builds absolute URLs in the browser, so they are right behind any proxy that keeps paths.
    """
    sources = [_source(f"partition-{name}", name, f"/v2/partitions/{name}") for name in partitions] or [
        _source("dicomstore", "dicomstore", "/v2")
    ]
    settings = {
        "name": "dicomstore",
        "routerBasename": None,
        "extensions": [],
        "modes": [],
        "customizationService": {},
        "showStudyList": True,
        "maxNumberOfWebWorkers": 3,
        "showWarningMessageForCrossOrigin": True,
        "showCPUFallbackMessage": True,
        "showLoadingIndicator": True,
        "strictZSpacingForVolumeViewport": True,
        "groupEnabledModesFirst": True,
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
        "defaultDataSourceName": sources[0]["sourceName"],
        "dataSources": sources,
    }
    shared = orjson.dumps(_source("share", "Shared images", "", can_store=False))
    text = b"window.config = " + orjson.dumps(settings, option=orjson.OPT_INDENT_2) + b";\n"
    return text + _SHARED.replace(b"SOURCE", shared) + _ABSOLUTE


# A shared study has the path /viewer/share-ID or /viewer/share-ID-PARTITION (see `facade.sharing.redeem`). Then it is
# the only data source; the browser sends the cookie of the link to its path.
_SHARED = rb"""{
  const share = /\/(share-([0-9a-f]{32})(?:-([A-Za-z0-9._-]{1,64}))?)(?:\/|$)/.exec(window.location.pathname);
  if (share) {
    const source = SOURCE;
    const base = `/shared/${share[2]}/v2` + (share[3] ? `/partitions/${share[3]}` : "");
    source.sourceName = share[1];
    Object.assign(source.configuration, { qidoRoot: base, wadoRoot: base, wadoUriRoot: `${base}/wado` });
    window.config.dataSources = [source];
    window.config.defaultDataSourceName = source.sourceName;
  }
}
"""

_ABSOLUTE = b"""for (const { configuration } of window.config.dataSources) {
  for (const root of ["qidoRoot", "wadoRoot", "wadoUriRoot"]) {
    configuration[root] = window.location.origin + configuration[root];
  }
}
"""


def _source(name: str, title: str, base: str, *, can_store: bool = True) -> Mapping[str, Any]:
    """Return a data source of OHIF, with all supported features enabled, and bodies without multipart."""
    return {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": name,
        "configuration": {
            "friendlyName": title,
            "name": name,
            "qidoRoot": base,
            "wadoRoot": base,
            "wadoUriRoot": f"{base}/wado",
            "qidoSupportsIncludeField": True,
            "supportsFuzzyMatching": True,
            "supportsWildcard": True,
            "imageRendering": "wadors",
            "thumbnailRendering": "thumbnail",
            "thumbnailRequestStrategy": "fetch",
            "enableStudyLazyLoad": True,
            "singlepart": "bulkdata,video,pdf",
            "bulkDataURI": {"enabled": True},
            "dicomUploadEnabled": can_store,
        },
    }


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
