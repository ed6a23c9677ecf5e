"""Content coding of JSON and XML with zstd and gzip (RFC 9110 section 8.4, RFC 8878), in short steps.

DICOM objects and frames have no content coding, because it needs much time and saves little. For metadata, zstd
produces less than half the size of gzip in less than a fifth of the time (docs/decisions/0023-bulk-data.md), so it is
preferred at equal quality.
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
"""Supported codings, best first."""

WORTH_BYTES = 1 << 10
"""Minimum size of a body to be coded."""

_GZIP_LEVEL = 3
"""For metadata as fast as level 1 with a third less output; level 4 and above need at least half as much time again."""

_GZIP_FORMAT = 31

_ZSTD_OPTIONS: Mapping[int, int] = {
    zstd.CompressionParameter.compression_level: 1,
    # Data sets of a series are similar, so a window of 256 KiB, which contains the last few, is sufficient.
    zstd.CompressionParameter.window_log: 18,
}

_STEP_BYTES = 1 << 16  # half a millisecond with gzip


def coding_of(request: Request) -> str:
    """Return the content coding that the client prefers."""
    return preferred_coding(request.headers.getlist("accept-encoding"), CODINGS)


def coding_headers(coding: str, *others: str) -> dict[str, str]:
    """Return Content-Encoding and Vary; `others` are further request headers that select the form."""
    headers = {"Vary": ", ".join((*others, "Accept-Encoding"))}
    return headers | {"Content-Encoding": coding} if coding else headers


async def coded(body: bytes, coding: str) -> bytes:
    """Return a complete body in a coding."""
    if not coding:
        return body
    encoder = _encoder(coding)
    return await _compressed(encoder, body, flush=False) + encoder.end()


async def coded_chunks(chunks: AsyncIterator[bytes], coding: str) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a body in a coding; a client can decode each before the next arrives."""
    encoder = _encoder(coding) if coding else None
    async for chunk in chunks:
        yield chunk if encoder is None else await _compressed(encoder, chunk, flush=True)
    if encoder is not None:
        yield encoder.end()


class _Encoder(Protocol):
    """Encoder of a stream."""

    def compress(self, data: bytes) -> bytes:
        """Add data and return available output."""
        ...

    def flush(self) -> bytes:
        """Return the output needed to decode all data so far."""
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
    """Return the compressed data; yields to the event loop between steps."""
    pieces = []
    for start in range(0, len(data), _STEP_BYTES):
        if start:
            await asyncio.sleep(0)
        pieces.append(encoder.compress(data[start : start + _STEP_BYTES]))
    if flush:
        pieces.append(encoder.flush())
    return b"".join(pieces)
