"""zstd and gzip for JSON and XML (RFC 9110 section 8.4, RFC 8878), made in steps so short that others do not notice.

DICOM and pixels are never compressed here: that costs much and gains little. Of metadata, zstd makes less than half the
bytes that gzip does, in less than a fifth of the time (docs/decisions/0023-bulk-data.md), so it comes first where a
client likes both as well.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Protocol

from backports import zstd
from starlette.requests import Request

from facade.request.accept import preferred_coding

GZIP = "gzip"
ZSTD = "zstd"
IDENTITY = ""

CODINGS = (ZSTD, GZIP)
"""What can be made, best first."""

WORTH_BYTES = 1 << 10
"""Bodies that are not known to be larger than this are not worth it."""

_GZIP_LEVEL = 3
"""Of metadata as fast as level 1 and a third smaller; from 4 on half as dear again and more."""

_GZIP_FORMAT = 31

_ZSTD_OPTIONS: Mapping[int, int] = {
    zstd.CompressionParameter.compression_level: 1,
    # Data sets of a series resemble one another, so that the last few are all that has to be remembered: 256 KiB.
    zstd.CompressionParameter.window_log: 18,
}

_STEP_BYTES = 1 << 16  # of gzip half a millisecond


def coding_of(request: Request) -> str:
    """Return the content coding that the client prefers."""
    return preferred_coding(request.headers.getlist("accept-encoding"), CODINGS)


def coding_headers(coding: str, *others: str) -> dict[str, str]:
    """Return the headers of an answer that might have had another coding; `others` too choose among its forms."""
    headers = {"Vary": ", ".join((*others, "Accept-Encoding"))}
    return headers | {"Content-Encoding": coding} if coding else headers


async def coded(body: bytes, coding: str) -> bytes:
    """Return a whole body in a coding."""
    if not coding:
        return body
    encoder = _encoder(coding)
    return await _compressed(encoder, body, flush=False) + encoder.end()


async def coded_chunks(chunks: AsyncIterator[bytes], coding: str) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a body in a coding; a client can read each before the next is there."""
    encoder = _encoder(coding) if coding else None
    async for chunk in chunks:
        yield chunk if encoder is None else await _compressed(encoder, chunk, flush=True)
    if encoder is not None:
        yield encoder.end()


class _Encoder(Protocol):
    """One stream in a coding."""

    def compress(self, data: bytes) -> bytes:
        """Take some of the body; return what is ready."""
        ...

    def flush(self) -> bytes:
        """Return what is needed to read all that was taken."""
        ...

    def end(self) -> bytes:
        """Return the end of the stream."""
        ...


class _Gzip:
    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)

    def compress(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def flush(self) -> bytes:
        return self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._compressor.flush()


class _Zstd:
    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(options=_ZSTD_OPTIONS)

    def compress(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def flush(self) -> bytes:
        return self._compressor.flush(zstd.ZstdCompressor.FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._compressor.flush()


def _encoder(coding: str) -> _Encoder:
    return _Zstd() if coding == ZSTD else _Gzip()


async def _compressed(encoder: _Encoder, data: bytes, *, flush: bool) -> bytes:
    """Return what becomes of data, letting others run between the steps."""
    pieces = []
    for start in range(0, len(data), _STEP_BYTES):
        if start:
            await asyncio.sleep(0)
        pieces.append(encoder.compress(data[start : start + _STEP_BYTES]))
    if flush:
        pieces.append(encoder.flush())
    return b"".join(pieces)
