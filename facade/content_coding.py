"""gzip for JSON (RFC 9110 section 8.4), made in steps so short that other requests do not notice.

DICOM and pixels are never compressed here: that costs much and gains little.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator

from starlette.requests import Request

from facade.accept import prefers_gzip

GZIP = "gzip"
IDENTITY = ""

WORTH_BYTES = 1 << 10
"""Bodies that are not known to be larger than this are not worth it."""

_LEVEL = 3
"""Of metadata as fast as level 1 and a third smaller; from 4 on half as dear again and more."""

_GZIP_FORMAT = 31
_STEP_BYTES = 1 << 16  # half a millisecond


def coding_of(request: Request) -> str:
    """Return the content coding that the client prefers."""
    return GZIP if prefers_gzip(request.headers.getlist("accept-encoding")) else IDENTITY


def coding_headers(coding: str) -> dict[str, str]:
    """Return the headers of an answer that might have had another coding."""
    headers = {"Vary": "Accept-Encoding"}
    return headers | {"Content-Encoding": coding} if coding else headers


async def coded(body: bytes, coding: str) -> bytes:
    """Return a whole body in a coding."""
    if not coding:
        return body
    gzip = _Gzip()
    return await gzip.compressed(body) + gzip.end()


async def coded_chunks(chunks: AsyncIterator[bytes], coding: str) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a body in a coding; a client can read each before the next is there."""
    gzip = _Gzip() if coding else None
    async for chunk in chunks:
        yield chunk if gzip is None else await gzip.compressed(chunk, zlib.Z_SYNC_FLUSH)
    if gzip is not None:
        yield gzip.end()


class _Gzip:
    """One gzip stream."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_LEVEL, wbits=_GZIP_FORMAT)

    async def compressed(self, data: bytes, flush: int = zlib.Z_NO_FLUSH) -> bytes:
        """Return what becomes of data, letting others run between the steps."""
        pieces = []
        for start in range(0, len(data), _STEP_BYTES):
            if start:
                await asyncio.sleep(0)
            pieces.append(self._compressor.compress(data[start : start + _STEP_BYTES]))
        return b"".join([*pieces, self._compressor.flush(flush)])

    def end(self) -> bytes:
        """Return the end of the stream."""
        return self._compressor.flush()
