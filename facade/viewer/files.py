"""The files of a viewer, with media types, content codings and cache headers for browsers."""

import asyncio
import gzip
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from facade.request.accept import prefers_gzip
from facade.viewer.public_path import may_have_addresses, rewritten

_HASHED = re.compile(r"[.-][0-9a-f]{16,}\.\w+$|/[0-9a-f]{16,}\.\w+$")
_FOREVER = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"

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


@dataclass(frozen=True, slots=True)
class _Rewritten:
    """A file whose addresses were rewritten: gzip, since only old programs request anything else."""

    compressed: bytes
    etag: str


class Files(StaticFiles):
    """The files of a folder, with the addresses in them below the path of the viewer.

    A file is rewritten when it is first requested, in a thread; files without addresses are sent from the disk. Clients
    that accept gzip get `name.gz` instead of `name`; these files must exist when the program starts.

    Guarantees: only files below the folder are sent; symbolic links out of it are not followed. What is kept in memory
    are the rewritten files, compressed: 4 MB of the 244 MB of OHIF.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        root = folder.resolve()
        self._compressed = {str(path.with_suffix("")): path.stat() for path in root.rglob("*.gz")}
        self._rewritten: dict[tuple[str, int, int], _Rewritten | None] = {}
        self._rewriting = asyncio.Lock()

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or 304 if the client has the current one.

        Raises:
            HTTPException: 404 if there is no such file; 405 if the method is neither GET nor HEAD.
        """
        response = await super().get_response(path, scope)
        if not (isinstance(response, FileResponse) and may_have_addresses(path)):
            return response
        found = await self._with_addresses(str(response.path).removesuffix(".gz"))
        return response if found is None else _response(path, found, scope)

    async def _with_addresses(self, name: str) -> _Rewritten | None:
        """Return a rewritten file; None if it has no addresses."""
        status = os.stat(name)
        key = (name, status.st_mtime_ns, status.st_size)
        async with self._rewriting:
            if key not in self._rewritten:
                self._rewritten[key] = await asyncio.to_thread(_rewrite, name)
        return self._rewritten[key]

    def file_response(
        self, full_path: Any, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file from the disk, or 304 if the client has the current one."""
        name, request = str(full_path), Headers(scope=scope)
        headers = {
            "Content-Type": media_type(name),
            "Cache-Control": _FOREVER if _HASHED.search(name) else REVALIDATE,
        }
        if compressed := self._compressed.get(name):
            headers["Vary"] = "Accept-Encoding"
            if prefers_gzip(request.getlist("accept-encoding")):
                headers["Content-Encoding"] = "gzip"
                name, stat_result = f"{name}.gz", compressed
        response = FileResponse(name, status_code, headers, stat_result=stat_result)
        return NotModifiedResponse(response.headers) if self.is_not_modified(response.headers, request) else response


def media_type(name: str) -> str:
    """Return the media type of a file by its name."""
    return _TYPES.get(os.path.splitext(name)[1], _OTHER_TYPE)


def _rewrite(name: str) -> _Rewritten | None:
    content = Path(name).read_bytes()
    moved = rewritten(name, content)
    if moved == content:
        return None
    return _Rewritten(gzip.compress(moved, 6, mtime=0), hashlib.sha256(moved).hexdigest()[:32])


def _response(path: str, file: _Rewritten, scope: Scope) -> Response:
    """Return a rewritten file, or 304.

    A hash in its name is that of the original, so it is revalidated: it changes when this program is updated.
    """
    request = Headers(scope=scope)
    is_gzip = prefers_gzip(request.getlist("accept-encoding"))
    etag = f'"{file.etag}-gzip"' if is_gzip else f'"{file.etag}"'
    headers = {
        "Content-Type": media_type(path),
        "Cache-Control": REVALIDATE,
        "Vary": "Accept-Encoding",
        "ETag": etag,
    }
    if etag in request.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if not is_gzip:
        return Response(gzip.decompress(file.compressed), 200, headers)
    return Response(file.compressed, 200, headers | {"Content-Encoding": "gzip"})
