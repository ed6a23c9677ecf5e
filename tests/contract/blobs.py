"""The contract suite of BlobStore. An adapter runs it with its own fixture `store`; see test_file_blobs.py."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from crc32c import crc32c as crc32c_of

from server.model.errors import DataLoss, Reason
from server.model.ids import PartitionName
from server.model.receipt import Receipt
from server.ports.blobs import BlobStore, Derived, SharedBytes, Tail


def body_of(size: int) -> bytes:
    """Return bytes without a period that divides the size of a block."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


async def put(store: BlobStore, *pieces: bytes) -> str:
    async with store.open_write() as writer:
        for piece in pieces:
            await writer.write(piece)
        return await writer.commit(RECEIPT)


async def derive(store: BlobStore, head: bytes, base: str, body: bytes, offset: int) -> Derived:
    """Store `head` and the bytes of a blob from an offset on; `body` is the content of that blob."""
    tail = Tail(base, len(body), crc32c_of(body), offset, crc32c_of(body[:offset]))
    async with store.open_write() as writer:
        await writer.write(head)
        return await writer.commit_before(tail, RECEIPT)


RECEIPT = Receipt(PartitionName("a.partition"), datetime(2026, 3, 1, 12, 34, 56, 789012, tzinfo=UTC), 2**40)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def quarantined(store: BlobStore, until: datetime | None = None) -> list[list[str]]:
    return [sorted(batch) async for batch in store.quarantined(until)]


async def get(store: BlobStore, locator: str, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.read(locator, offset, length)])


async def all_blobs(store: BlobStore) -> dict[str, int]:
    return {locator: size async for locator, size in store.walk()}


Flip = Callable[[bytes, int], None]
"""Changes one byte, at an offset from the beginning of a blob, on the disk."""


def flipped(data: bytes, offset: int) -> bytes:
    return data[:offset] + bytes([data[offset] ^ 0x10]) + data[offset + 1 :]


def flip_below(root: Path, body: bytes, offset: int) -> None:
    """Change one byte in the file that holds `body`; `offset` is relative to the start of `body`, may be negative."""
    for path in (*root.glob("segments/*.seg"), *root.glob("blobs/*/*")):
        at = path.read_bytes().find(body)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at + offset)
                [byte] = file.read(1)
                file.seek(at + offset)
                file.write(bytes([byte ^ 0x10]))
            return
    raise AssertionError("no file holds the blob")


async def noted(pieces: AsyncIterator[bytes], found: list[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces and add each to `found`."""
    async for piece in pieces:
        found.append(piece)
        yield piece


class RecordedRelocation:
    """Relocation (see `server.ports.blobs`) that records what is moved.

    Args:
        named: the locators of instances with one version.
        versions: those of each other instance.
    """

    def __init__(self, named: Collection[str], *versions: Sequence[str]) -> None:
        self._instances = [[locator] for locator in named] + [list(some) for some in versions]
        self.copies: dict[str, str] = {}

    async def instances(self, locators: Sequence[str]) -> list[list[str]]:
        return [one for one in self._instances if set(one) & set(locators)]

    async def relocate(self, moves: Sequence[Mapping[str, str]]) -> int:
        for one in moves:
            assert list(one) in self._instances
            self.copies |= {old: new for old, new in one.items() if old != new}
        return len(self.copies)


RANGES = [(0, None), (0, 100), (70_000, 4096), (65_536, 65_536), (100_000, 400_000), (250_000, None), (299_999, 1)]


class BlobStoreContract:
    shares_bytes = True
    """Derived blobs share bytes with their base; otherwise they are copies."""

    keeps_deleted_for_readers = True
    """Whether a blob that is deleted while it is read is read to its end; otherwise that fails with BLOB_MISSING."""

    @pytest.fixture
    def flip(self, tmp_path: Path) -> Flip:
        return lambda body, offset: flip_below(tmp_path, body, offset)

    @pytest.mark.parametrize("size", [1, 300_000, 2_500_001])
    async def test_a_piece_alone_is_read_like_one_of_several(self, store: BlobStore, flip: Flip, size: int) -> None:
        body = random.Random(size).randbytes(size)
        locator, crc32c = await put(store, body), crc32c_of(body)
        ranges = [(0, min(size, 1 << 20)), (size // 3, max(1, min(size // 3, 70_000))), (size - 1, 1)]
        for offset, length in ranges:
            assert bytes(await store.read_piece(locator, offset, length, crc32c)) == body[offset : offset + length]
        for offset, length in ((0, 1), (size, 1)):
            with pytest.raises(DataLoss) as caught:
                await store.read_piece(locator, offset, length, crc32c ^ (offset == 0))
            assert caught.value.reason is Reason.BLOB_DAMAGED
        flip(body, size - 1)
        with pytest.raises(DataLoss) as caught:
            await store.read_piece(locator, size - 1, 1, crc32c)
        assert caught.value.reason is Reason.BLOB_DAMAGED
        await store.delete([locator])
        with pytest.raises(DataLoss) as caught:
            await store.read_piece(locator, 0, 1, crc32c)
        assert caught.value.reason is Reason.BLOB_MISSING

    @pytest.mark.parametrize("knows_crc32c", [True, False])
    @pytest.mark.parametrize("size", [300_000, 2_500_001])
    async def test_ranges_with_a_changed_byte_are_never_read_and_all_others_are(
        self, store: BlobStore, flip: Flip, size: int, knows_crc32c: bool
    ) -> None:
        body = random.Random(size).randbytes(size)
        locator = await put(store, body)
        crc32c = crc32c_of(body) if knows_crc32c else None
        for changed in (0, 65_535, 70_100, 131_072, size - 1):
            flip(body, changed)
            block = changed // 65_536 * 65_536
            for offset, length in RANGES:
                for piece in (1 << 20, 1 << 16):
                    end = size if length is None else min(offset + length, size)
                    read = store.read(locator, offset, min(length or size, size - offset), lambda: piece, crc32c)  # noqa: B023
                    if end <= block or offset >= block + 65_536:
                        assert b"".join([data async for data in read]) == body[offset:end]
                        continue
                    found: list[bytes] = []
                    with pytest.raises(DataLoss) as caught:
                        assert [data async for data in noted(read, found)] == []
                    assert caught.value.reason is Reason.BLOB_DAMAGED
                    assert body[offset:].startswith(b"".join(found))
                    assert offset + sum(map(len, found)) <= max(block, offset)
            flip(flipped(body, changed), changed)
            assert await get(store, locator) == body

    @pytest.mark.parametrize("size", [5, 300_000, 2_500_001])
    async def test_a_blob_other_than_the_expected_one_is_damaged(self, store: BlobStore, size: int) -> None:
        locator = await put(store, random.Random(size).randbytes(size))
        for offset, length in ((0, None), (1, 3)):
            with pytest.raises(DataLoss) as caught:
                async for _ in store.read(locator, offset, length, crc32c=12345):
                    pass
            assert caught.value.reason is Reason.BLOB_DAMAGED

    async def test_a_committed_blob_reads_back_byte_for_byte(self, store: BlobStore) -> None:
        body = bytes(range(256)) * 20_000  # several pieces
        locator = await put(store, body[:1], body[1:70_000], b"", body[70_000:])
        assert await get(store, locator) == body
        assert await store.size(locator) == len(body)

    async def test_pieces_are_at_most_one_mebibyte(self, store: BlobStore) -> None:
        locator = await put(store, b"x" * (3 << 20))
        assert max([len(piece) async for piece in store.read(locator)]) <= 1 << 20

    @pytest.mark.parametrize(("size", "most"), [(5000, 1000), (900_000, 1000), (3_000_000, 20_000)])
    async def test_pieces_are_no_larger_than_requested(self, store: BlobStore, size: int, most: int) -> None:
        body = body_of(size)
        locator = await put(store, body)
        for offset, length in ((0, None), (17, None), (4000, 900)):
            pieces = [piece async for piece in store.read(locator, offset, length, lambda: most)]
            assert max(map(len, pieces)) <= most
            assert b"".join(pieces) == body[offset:][:length]

    async def test_an_empty_blob_reads_back_empty(self, store: BlobStore) -> None:
        assert await get(store, await put(store)) == b""

    @pytest.mark.parametrize(("offset", "length"), [(0, 10), (5, 1), (1_500_000, 700_000), (2_999_999, 1), (7, None)])
    async def test_a_range_reads_exactly_that_range(self, store: BlobStore, offset: int, length: int | None) -> None:
        body = body_of(3_000_000)
        locator = await put(store, body)
        end = len(body) if length is None else offset + length
        assert await get(store, locator, offset, length) == body[offset:end]

    async def test_a_range_beyond_the_end_is_damage(self, store: BlobStore) -> None:
        locator = await put(store, b"short")
        with pytest.raises(DataLoss) as caught:
            await get(store, locator, 0, 6)
        assert caught.value.reason is Reason.BLOB_DAMAGED

    async def test_an_uncommitted_blob_leaves_nothing(self, store: BlobStore) -> None:
        async with store.open_write() as writer:
            await writer.write(b"x" * 2_000_000)
        assert await all_blobs(store) == {}

    async def test_a_writer_that_fails_leaves_nothing(self, store: BlobStore) -> None:
        async def fail_halfway() -> None:
            async with store.open_write() as writer:
                await writer.write(b"x" * 2_000_000)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail_halfway()
        assert await all_blobs(store) == {}

    async def test_a_cancelled_writer_leaves_nothing(self, store: BlobStore) -> None:
        wrote = asyncio.Event()

        async def write_forever() -> None:
            async with store.open_write() as writer:
                while True:
                    await writer.write(b"x" * 500_000)
                    wrote.set()
                    await asyncio.sleep(0)

        task = asyncio.create_task(write_forever())
        await wrote.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await all_blobs(store) == {}

    async def test_locators_are_unique(self, store: BlobStore) -> None:
        assert len({await put(store, b"same bytes") for _ in range(20)}) == 20

    @pytest.mark.parametrize("locator", ["0" * 32, "", "../../etc/passwd", "f" * 31, "x\x00y"])
    async def test_an_unknown_locator_is_missing(self, store: BlobStore, locator: str) -> None:
        for presentation in (get(store, locator), store.size(locator)):
            with pytest.raises(DataLoss) as caught:
                await presentation
            assert caught.value.reason is Reason.BLOB_MISSING

    async def test_a_deleted_blob_is_gone(self, store: BlobStore) -> None:
        keep, drop = await put(store, b"keep"), await put(store, b"drop")
        await store.settle([keep])
        await store.delete([drop])
        with pytest.raises(DataLoss):
            await get(store, drop)
        assert await all_blobs(store) == {keep: 4}

    async def test_deleting_and_settling_are_idempotent(self, store: BlobStore) -> None:
        locator = await put(store, b"x")
        for _ in range(2):
            await store.settle([locator, "0" * 32, "not a locator"])
        assert await get(store, locator) == b"x"
        for _ in range(2):
            await store.delete([locator, "0" * 32, "../x"])
        assert await all_blobs(store) == {}

    async def test_a_blob_deleted_while_it_is_read_never_ends_early_without_an_error(self, store: BlobStore) -> None:
        body = b"y" * (2 << 20) + b"end"
        locator = await put(store, body)
        reader = store.read(locator)
        first = await anext(reader)
        await store.delete([locator])
        try:
            found: bytes | Reason = b"".join([first, *[piece async for piece in reader]])
        except DataLoss as loss:
            found = loss.reason
        assert found == body or (found is Reason.BLOB_MISSING and not self.keeps_deleted_for_readers)

    async def test_concurrent_writers_do_not_mix_their_bytes(self, store: BlobStore) -> None:
        bodies = [bytes([i]) * (300_000 + i) for i in range(20)]
        locators = await asyncio.gather(*(put(store, body[:1000], body[1000:]) for body in bodies))
        for body, locator in zip(bodies, locators, strict=True):
            assert await get(store, locator) == body

    async def test_a_check_leaves_nothing_behind(self, store: BlobStore) -> None:
        await store.check()
        await store.check_writing()
        await store.check_writing(1_000_000)
        assert await all_blobs(store) == {}

    async def test_free_space_is_reported(self, store: BlobStore) -> None:
        assert await store.free_bytes() > 0

    async def test_a_quarantined_blob_is_listed_until_it_is_released(self, store: BlobStore) -> None:
        small, large = await put(store, b"small"), await put(store, b"x" * 2_000_000)
        await store.quarantine([small, large], NOON)
        assert await quarantined(store) == [sorted([small, large])]
        assert await get(store, small) == b"small"
        assert await all_blobs(store) == {small: 5, large: 2_000_000}
        for batch in await quarantined(store):
            await store.release(batch)
        assert await quarantined(store) == []
        assert await get(store, small) == b"small"

    async def test_quarantined_blobs_are_listed_by_time_of_quarantine_oldest_first(self, store: BlobStore) -> None:
        one, other = await put(store, b"one"), await put(store, b"other")
        await store.quarantine([other], NOON + timedelta(hours=1))
        await store.quarantine([one], NOON)
        assert await quarantined(store, NOON - timedelta(microseconds=1)) == []
        assert await quarantined(store, NOON) == [[one]]
        assert await quarantined(store, NOON + timedelta(hours=1)) == [[one], [other]]

    async def test_quarantining_a_blob_again_keeps_its_time(self, store: BlobStore) -> None:
        locators = [await put(store, b"one"), await put(store, b"other")]
        await store.quarantine(locators, NOON)
        await store.quarantine(locators[::-1], NOON + timedelta(days=1))
        assert await quarantined(store, NOON) == [sorted(locators)]
        assert await quarantined(store) == [sorted(locators)]

    async def test_quarantining_no_blobs_records_nothing(self, store: BlobStore) -> None:
        await store.quarantine([], NOON)
        await store.release(["unknown"])
        assert await quarantined(store) == []

    @pytest.mark.parametrize("size", [0, 1, 65_536, 500_000, 1_048_576, 3_000_001])
    async def test_a_blob_has_a_receipt_and_its_writer_returns_the_checksum(self, store: BlobStore, size: int) -> None:
        body = random.randbytes(size)
        async with store.open_write() as writer:
            for start in range(0, size, 100_000):
                await writer.write(body[start : start + 100_000])
            assert writer.crc32c == crc32c_of(body)
            locator = await writer.commit(RECEIPT)
        assert await store.receipt(locator) == (RECEIPT, crc32c_of(body))
        assert await get(store, locator) == body

    async def test_compacting_keeps_every_blob_readable_where_it_was_and_where_it_went(self, store: BlobStore) -> None:
        bodies = {await put(store, bytes([number]) * 3000): bytes([number]) * 3000 for number in range(10)}
        await store.settle(list(bodies))
        deleted = list(bodies)[:8]
        await store.delete(deleted)
        relocation = RecordedRelocation(set(bodies) - set(deleted))
        while await store.compact(relocation):
            pass
        for locator in set(bodies) - set(deleted):
            assert await get(store, locator) == bodies[locator]
        assert relocation.copies.keys() <= set(bodies) - set(deleted)
        for locator, copy in relocation.copies.items():
            assert await get(store, copy) == bodies[locator]
            assert await store.receipt(copy) == await store.receipt(locator)

    @pytest.mark.parametrize("head_size", [0, 700, 1_200_000])
    @pytest.mark.parametrize(("size", "offset"), [(300_000, 1234), (2_500_001, 70_001), (5000, 5000)])
    async def test_a_derived_blob_reads_as_its_own_bytes_and_those_of_its_base(
        self, store: BlobStore, size: int, offset: int, head_size: int
    ) -> None:
        head, body = random.Random(1).randbytes(head_size), random.Random(2).randbytes(size)
        base = await put(store, body)
        derived = await derive(store, head, base, body, offset)
        expected = head + body[offset:]
        assert (derived.size_bytes, derived.crc32c) == (len(expected), crc32c_of(expected))
        assert await get(store, derived.locator) == expected
        assert await store.size(derived.locator) == len(expected)
        assert await store.receipt(derived.locator) == (RECEIPT, derived.crc32c)
        assert b"".join([piece async for piece in store.read_unverified(derived.locator)]) == expected
        for start, length in ((0, 1), (max(0, head_size - 3), 5), (head_size, 900), (max(0, len(expected) - 7), 7)):
            length = min(length, len(expected) - start)
            if length > 0:
                assert await get(store, derived.locator, start, length) == expected[start : start + length]
                piece = await store.read_piece(derived.locator, start, length, derived.crc32c)
                assert bytes(piece) == expected[start : start + length]
        for at, crc32c in ((len(expected), derived.crc32c), (0, derived.crc32c ^ 1)):
            with pytest.raises(DataLoss) as caught:
                await store.read_piece(derived.locator, at, 1, crc32c)
            assert caught.value.reason is Reason.BLOB_DAMAGED
        assert await get(store, base) == body

    async def test_a_derived_blob_tells_which_bytes_it_shares(self, store: BlobStore) -> None:
        body = b"x" * 200_000
        base = await put(store, body)
        derived = await derive(store, b"head", base, body, 100)
        expected = SharedBytes(4, base, len(body), crc32c_of(body), 100)
        assert await store.shared(derived.locator) == (expected if self.shares_bytes else None)
        assert await store.shared(base) is None

    @pytest.mark.parametrize("offset", [0, 500, 1000, 1001, 90_000])
    async def test_a_blob_derived_from_a_derived_one_needs_only_the_base_of_that(
        self, store: BlobStore, offset: int
    ) -> None:
        head, body = random.Random(1).randbytes(1000), random.Random(2).randbytes(200_000)
        base = await put(store, body)
        first = await derive(store, head, base, body, 3000)
        content = head + body[3000:]
        second = await derive(store, b"second", first.locator, content, offset)
        await store.delete([first.locator])
        assert await get(store, second.locator) == b"second" + content[offset:]
        assert second.crc32c == crc32c_of(b"second" + content[offset:])

    async def test_a_derived_blob_is_listed_quarantined_and_deleted_like_others(self, store: BlobStore) -> None:
        body = b"x" * 200_000
        base = await put(store, body)
        derived = await derive(store, b"head", base, body, 100)
        await store.settle([base, derived.locator])
        assert (await all_blobs(store)).keys() == {base, derived.locator}
        await store.quarantine([derived.locator], NOON)
        assert await quarantined(store) == [[derived.locator]]
        assert await get(store, derived.locator) == b"head" + body[100:]
        await store.delete([derived.locator])
        assert (await all_blobs(store)).keys() == {base}
        for lost in (derived.locator, derived.locator):
            with pytest.raises(DataLoss) as caught:
                await get(store, lost)
            assert caught.value.reason is Reason.BLOB_MISSING
        assert await get(store, base) == body

    async def test_a_blob_cannot_be_derived_from_a_missing_one(self, store: BlobStore) -> None:
        body = b"x" * 5000
        base = await put(store, body)
        await store.delete([base])
        with pytest.raises(DataLoss) as caught:
            await derive(store, b"head", base, body, 10)
        assert caught.value.reason is Reason.BLOB_MISSING
        assert await all_blobs(store) == {}

    async def test_an_unknown_blob_has_no_receipt(self, store: BlobStore) -> None:
        for locator in ("0" * 32, f"{'0' * 32}-0-5", "../x"):
            with pytest.raises(DataLoss) as caught:
                await store.receipt(locator)
            assert caught.value.reason is Reason.BLOB_MISSING
