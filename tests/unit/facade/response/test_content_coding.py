"""gzip and zstd made while they are sent."""

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
async def test_a_body_in_a_coding_is_the_body_again_when_it_is_unpacked(coding: str) -> None:
    body = b"".join(CHUNKS)

    assert UNPACKED[coding](await coded(body, coding)) == body
    assert UNPACKED[coding](b"".join([chunk async for chunk in coded_chunks(each(CHUNKS), coding)])) == body


async def test_without_a_coding_nothing_changes() -> None:
    assert await coded(b"[]", IDENTITY) == b"[]"
    assert [chunk async for chunk in coded_chunks(each(CHUNKS), IDENTITY)] == CHUNKS


async def test_a_chunk_in_gzip_can_be_read_before_the_next_is_there() -> None:
    unpacking = zlib.decompressobj(wbits=31)
    coming = coded_chunks(each(CHUNKS), GZIP)

    assert [unpacking.decompress(await anext(coming)) for _ in CHUNKS] == CHUNKS


async def test_a_chunk_in_zstd_can_be_read_before_the_next_is_there() -> None:
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
def test_the_coding_that_the_client_ranks_highest_is_taken(header: str, coding: str) -> None:
    assert preferred_coding([header], CODINGS) == coding


@pytest.mark.parametrize("coding", CODINGS)
async def test_packing_much_lets_others_run_in_between(coding: str) -> None:
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
