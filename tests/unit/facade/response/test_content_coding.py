"""Streaming gzip and zstd."""

import asyncio
import gzip
import random
import zlib
from collections.abc import AsyncIterator, Iterable

import pytest
from backports import zstd

from facade.request.accept import preferred_coding
from facade.response.content_coding import CODINGS, GZIP, IDENTITY, ZSTD, coded, coded_chunks

UNPACKED = {GZIP: gzip.decompress, ZSTD: zstd.decompress}

CHUNKS = [b"[" + random.Random(1).randbytes(300_000), b"", b"x" * 2_000_000, b"]"]


async def each(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_coded_body_decodes_to_the_original(coding: str) -> None:
    body = b"".join(CHUNKS)

    assert UNPACKED[coding](await coded(body, coding)) == body
    assert UNPACKED[coding](b"".join([chunk async for chunk in coded_chunks(each(CHUNKS), coding)])) == body


async def test_without_a_coding_nothing_changes() -> None:
    assert await coded(b"[]", IDENTITY) == b"[]"
    assert [chunk async for chunk in coded_chunks(each(CHUNKS), IDENTITY)] == CHUNKS


async def test_a_gzip_chunk_can_be_decoded_before_the_next_arrives() -> None:
    unpacking = zlib.decompressobj(wbits=31)
    coming = coded_chunks(each(CHUNKS), GZIP)

    assert [unpacking.decompress(await anext(coming)) for _ in CHUNKS] == CHUNKS


async def test_a_zstd_chunk_can_be_decoded_before_the_next_arrives() -> None:
    unpacking = zstd.ZstdDecompressor()
    coming = coded_chunks(each(CHUNKS), ZSTD)

    assert [unpacking.decompress(await anext(coming)) for _ in CHUNKS] == CHUNKS


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip, deflate, br, zstd", ZSTD),
        ("gzip;q=1.0, zstd;q=0.9", GZIP),
        ("zstd;q=0, gzip;q=0.2, identity;q=0.1", GZIP),
        ("*", ZSTD),
        ("*;q=0.5, zstd;q=0", GZIP),
        ("br", IDENTITY),
        ("", IDENTITY),
        ("zstd;q=0.5, gzip;q=0.5, identity", IDENTITY),
        ("ZSTD", ZSTD),
    ],
)
def test_the_highest_ranked_coding_is_used(header: str, coding: str) -> None:
    assert preferred_coding([header], CODINGS) == coding


@pytest.mark.parametrize("coding", CODINGS)
async def test_compressing_much_data_yields_to_the_event_loop(coding: str) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await coded(bytes(10 << 20), coding)
    task.cancel()

    assert turns > 100
