"""gzip made while it is sent."""

import asyncio
import gzip
import random
import zlib
from collections.abc import AsyncIterator, Iterable

from facade.content_coding import GZIP, IDENTITY, coded, coded_chunks

CHUNKS = [b"[" + random.Random(1).randbytes(300_000), b"", b"x" * 2_000_000, b"]"]


async def each(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_body_in_gzip_is_the_body_again_when_it_is_unpacked() -> None:
    body = b"".join(CHUNKS)

    assert gzip.decompress(await coded(body, GZIP)) == body
    assert gzip.decompress(b"".join([chunk async for chunk in coded_chunks(each(CHUNKS), GZIP)])) == body


async def test_without_a_coding_nothing_changes() -> None:
    assert await coded(b"[]", IDENTITY) == b"[]"
    assert [chunk async for chunk in coded_chunks(each(CHUNKS), IDENTITY)] == CHUNKS


async def test_a_chunk_in_gzip_can_be_read_before_the_next_is_there() -> None:
    unpacking = zlib.decompressobj(wbits=31)
    coming = coded_chunks(each(CHUNKS), GZIP)

    assert [unpacking.decompress(await anext(coming)) for _ in CHUNKS] == CHUNKS


async def test_packing_much_lets_others_run_in_between() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await coded(bytes(10 << 20), GZIP)
    task.cancel()

    assert turns > 100
