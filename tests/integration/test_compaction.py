"""Compaction with a real index and real segments.

See server/adapters/blobs/segment_files/compaction.py and server/domain/upkeep/relocation.py.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from crc32c import crc32c as crc32c_of

from common.telemetry.tracing import Span, recorded, sampler_of
from server.adapters.blobs.packed import PackedBlobs
from server.adapters.blobs.segment_files import sparse_segments
from server.adapters.blobs.segment_files.segments import path_of, record_of
from server.adapters.sql.engine import Database, open_database
from server.domain.limits import MIN_GRACE_PERIOD
from server.domain.read_only import ReadOnlyState
from server.domain.store.commit import Committer
from server.domain.upkeep.audit import Audit, Report
from server.domain.upkeep.garbage import Housekeeping
from server.domain.upkeep.relocation import IndexRelocation
from server.domain.upkeep.steady_clock import SteadyClock
from server.model.errors import DataLoss, Exhausted, Reason
from server.model.ids import DEFAULT_PARTITION, Address, InstanceId, Uid
from server.model.instance import Added, LevelAttributes, NewInstance
from server.model.receipt import Receipt
from server.ports.blobs import BlobStore, Tail
from tests.contract.test_file_blobs import no_file_larger_than
from tests.contract.test_packed_blobs import segments
from tests.core import Ref
from tests.data import new_uid, part10
from tests.databases import migrated
from tests.integration.archive_process import die_after, in_a_process
from tests.integration.conftest import a_core

RETENTION = timedelta(hours=8)
GRACE = RETENTION
QUARANTINE = timedelta(days=7)
EVERYTHING = Address(DEFAULT_PARTITION)
NOTHING = LevelAttributes({}, {})


@dataclass
class Clock:
    """A clock that the test advances."""

    time: datetime = field(default_factory=lambda: datetime(2026, 3, 1, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.time

    def elapsed(self) -> float:
        return self.time.timestamp()

    def advance(self, time: timedelta) -> None:
        self.time += time


def address(uid: str) -> Address:
    return Address(DEFAULT_PARTITION, Uid("1"), Uid("1.1"), Uid(uid))


def new(uid: str, size_bytes: int, crc32c: int, locator: str) -> NewInstance:
    return NewInstance(
        id=InstanceId(DEFAULT_PARTITION, Uid("1"), Uid("1.1"), Uid(uid)),
        sop_class_uid="1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        size_bytes=size_bytes,
        crc32c=crc32c,
        locator=locator,
        dicom_json=b"{}",
        study=NOTHING,
        series=NOTHING,
        instance=NOTHING,
        pixels=None,
        bulk=(),
    )


class Archive:
    """Blobs, an index, and their maintenance tasks."""

    def __init__(self, blobs: BlobStore, database: Database, now: Clock, quarantine: timedelta = QUARANTINE) -> None:
        self.now = now
        self.blobs = blobs
        self.index = database.instances
        self.moves = database.blob_moves
        self.committer = Committer(blobs, self.index, now, lambda: None, now)
        self.housekeeping = Housekeeping(
            blobs=blobs,
            index=self.index,
            moves=database.blob_moves,
            committer=self.committer,
            clock=SteadyClock(database.clock, now, now.elapsed, largest_jump=timedelta(0)),
            retention=RETENTION,
            quarantine=quarantine,
            read_only=ReadOnlyState(),
        )
        self.relocation = IndexRelocation(
            blobs=blobs, moves=database.blob_moves, committer=self.committer, now=now, retention=RETENTION
        )
        self._audit = Audit(blobs=blobs, index=self.index, changes=database.changes)

    async def store(self, uid: str, body: bytes) -> None:
        assert isinstance(await self.committer.add(await self._written(uid, body)), Added)

    async def replace(self, uid: str, body: bytes) -> None:
        """Add a version with other bytes."""
        assert isinstance(await self.committer.replace(await self._written(uid, body)), Added)

    async def _written(self, uid: str, body: bytes) -> NewInstance:
        async with self.blobs.open_write() as writer:
            await writer.write(body)
            locator = await writer.commit(Receipt(DEFAULT_PARTITION, self.now(), 0))
        return new(uid, len(body), crc32c_of(body), locator)

    async def update(self, uid: str, head: bytes, body: bytes, offset: int) -> None:
        """Replace the bytes before an offset by `head`; `body` is the current content."""
        [stored] = await self.index.find(address(uid))
        tail = Tail(stored.locator, len(body), crc32c_of(body), offset, crc32c_of(body[:offset]))
        async with self.blobs.open_write() as writer:
            await writer.write(head)
            derived = await writer.commit_before(tail, Receipt(DEFAULT_PARTITION, self.now(), 0))
        instance = new(uid, derived.size_bytes, derived.crc32c, derived.locator)
        assert isinstance(await self.committer.replace(instance), Added)

    async def delete(self, uid: str) -> None:
        assert await self.index.delete(address(uid), self.now(), self.now() + RETENTION) == 1

    async def locators(self) -> dict[str, str]:
        """Return the locator of each instance, by UID."""
        return {stored.id.instance: stored.locator for stored in await self.index.find(EVERYTHING, limit=10_000)}

    async def read(self, locator: str) -> bytes:
        return b"".join([piece async for piece in self.blobs.read(locator)])

    async def contents(self) -> dict[str, bytes]:
        return {uid: await self.read(locator) for uid, locator in (await self.locators()).items()}

    async def compact(self) -> None:
        while await self.blobs.compact(self.relocation):
            pass

    async def audit(self) -> Report:
        return await self._audit.run(deep=True)


@asynccontextmanager
async def opened(root: Path, now: Clock, quarantine: timedelta = QUARANTINE) -> AsyncIterator[Archive]:
    """Open the parts of an archive as one process of the core does."""
    url = f"sqlite:///{root / 'index.db'}"
    if not (root / "index.db").exists():
        migrated(root / "index.db")
    database = open_database(url)
    try:
        async with PackedBlobs(root) as blobs:
            archive = Archive(blobs, database, now, quarantine)
            await archive.housekeeping.recover()
            yield archive
            await archive.committer.resolve_in_doubt()
    finally:
        await database.close()


def disk_bytes(root: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in segments(root))


async def mostly_deleted(root: Path, now: Clock, *, size: int = 3000, count: int = 60) -> dict[str, bytes]:
    """Make an archive with a closed segment in which every tenth blob is live; return its contents by UID."""
    bodies = {f"1.1.{number}": random.randbytes(size) for number in range(1, count + 1)}
    async with opened(root, now) as archive:
        for uid, body in bodies.items():
            await archive.store(uid, body)
    async with opened(root, now) as archive:
        for uid in list(bodies):
            if not uid.endswith("0"):
                await archive.delete(uid)
                del bodies[uid]
        now.advance(RETENTION)
        await archive.housekeeping.erase()
    return bodies


async def test_live_blobs_move_and_the_space_of_deleted_ones_is_freed(tmp_path: Path) -> None:
    now = Clock()
    bodies = await mostly_deleted(tmp_path, now)
    before = disk_bytes(tmp_path)
    async with opened(tmp_path, now) as archive:
        old = await archive.locators()
        await archive.compact()
        assert set((await archive.locators()).values()).isdisjoint(old.values())
        assert await archive.contents() == bodies
        now.advance(GRACE)
        await archive.housekeeping.erase()
        assert await archive.contents() == bodies
        assert disk_bytes(tmp_path) < before / 3
        assert (await archive.audit()) == Report(instances=6, blobs=6, current_changes=6)


async def test_batches_of_garbage_collection_and_compaction_are_traces_and_runs_without_work_are_not(
    tmp_path: Path,
) -> None:
    now, spans = Clock(), list[Span]()
    with recorded(spans.append, sampler_of({"OTEL_TRACES_SAMPLER": "always_on"})):
        await mostly_deleted(tmp_path, now)
        async with opened(tmp_path, now) as archive:
            assert await archive.housekeeping.erase() == 0
            await archive.compact()
            worked = list(spans)
            assert await archive.housekeeping.erase() == 0
            await archive.compact()
            assert spans == worked
    roots = [span for span in worked if not span.parent_id]
    assert [(span.name, dict(span.attributes)) for span in roots] == [
        ("erase blobs", {"dicomstore.blobs": 54}),
        ("move blobs", {"dicomstore.blobs": 6}),
    ]
    for root in roots:
        assert {span.name for span in worked if span.parent_id == root.span_id} >= {"index write"}


async def test_a_reader_with_an_old_locator_can_read_the_blob_during_the_grace_period(tmp_path: Path) -> None:
    now = Clock()
    bodies = await mostly_deleted(tmp_path, now)
    async with opened(tmp_path, now) as archive:
        old = await archive.locators()
        await archive.compact()
        now.advance(GRACE - timedelta(seconds=1))
        await archive.housekeeping.erase()
        assert {uid: await archive.read(locator) for uid, locator in old.items()} == bodies
        now.advance(timedelta(seconds=1))
        await archive.housekeeping.erase()
        with pytest.raises(DataLoss) as caught:
            await archive.read(old["1.1.10"])
        assert caught.value.reason is Reason.BLOB_MISSING


async def test_the_bytes_that_an_updated_instance_shares_with_the_version_before_stay_when_blobs_move(
    tmp_path: Path,
) -> None:
    now = Clock()
    body = random.randbytes(3000)
    others = {f"1.1.{number}": random.randbytes(3000) for number in range(2, 12)}
    async with opened(tmp_path, now) as archive:
        for uid, content in {"1.1.1": body, **others}.items():
            await archive.store(uid, content)
    async with opened(tmp_path, now) as archive:
        await archive.update("1.1.1", b"corrected", body, 1000)
        for uid in others:
            await archive.delete(uid)
        now.advance(RETENTION)
        await archive.housekeeping.erase()
    async with opened(tmp_path, now) as archive:
        await archive.compact()
        now.advance(GRACE)
        await archive.housekeeping.erase()
        assert await archive.contents() == {"1.1.1": b"corrected" + body[1000:]}
        [first, _] = await archive.index.history(address("1.1.1"))
        assert await archive.read(first.locator) == body


async def test_without_retention_old_copies_stay_for_the_minimum_grace_period(tmp_path: Path) -> None:
    now = Clock()
    await mostly_deleted(tmp_path, now)
    async with opened(tmp_path, now) as archive:
        relocation = IndexRelocation(
            blobs=archive.blobs, moves=archive.moves, committer=archive.committer, now=now, retention=timedelta(0)
        )
        await archive.blobs.compact(relocation)
        assert await archive.index.begin_erasure(now() + MIN_GRACE_PERIOD - timedelta(seconds=1), 10) == []
        assert len(await archive.index.begin_erasure(now() + MIN_GRACE_PERIOD, 10)) == 6


async def test_a_running_core_compacts_segments(tmp_path: Path) -> None:
    study, others = new_uid(), new_uid()
    async with a_core(tmp_path) as core:
        await core.stored(*(part10(StudyInstanceUID=study) for _ in range(4)))
        await core.stored(*(part10(StudyInstanceUID=others) for _ in range(36)))
    async with a_core(tmp_path, retention_hours=0, erase_interval_seconds=0.01) as core:
        await core.delete(Ref(study_instance_uid=others))
        while len(list((tmp_path / "segments").glob("*.seg"))) < 2 or await core.blob_count() != 8:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert len(await core.retrieve(Ref(study_instance_uid=study))) == 4


async def test_the_audit_is_correct_while_both_copies_exist(tmp_path: Path) -> None:
    now = Clock()
    await mostly_deleted(tmp_path, now)
    async with opened(tmp_path, now) as archive:
        await archive.compact()
        assert (await archive.audit()) == Report(instances=6, blobs=12, current_changes=6)


async def test_a_moved_blob_is_not_moved_again_even_after_a_restart(tmp_path: Path) -> None:
    now = Clock()
    await mostly_deleted(tmp_path, now)
    async with opened(tmp_path, now) as archive:
        await archive.compact()
        moved = await archive.locators()
        await archive.compact()
        assert await archive.locators() == moved
    async with opened(tmp_path, now) as archive:
        await archive.compact()
        assert await archive.locators() == moved


async def test_restarts_do_not_increase_disk_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spare = 1 << 20
    monkeypatch.setattr(sparse_segments, "_SPARE_BYTES", spare)
    now, starts, size = Clock(), 40, 102_000
    on_disk = 102_400  # in whole filesystem blocks
    for start in range(starts):
        async with opened(tmp_path, now) as archive:
            await archive.store(f"1.1.{start}", random.randbytes(size))
            await archive.compact()
        assert disk_bytes(tmp_path) <= 2 * (start + 1) * on_disk + spare
    for _ in range(3):
        now.advance(GRACE)
        async with opened(tmp_path, now) as archive:
            await archive.housekeeping.erase()
            await archive.compact()
            assert len(await archive.contents()) == starts
    assert len(segments(tmp_path)) < 10


@pytest.mark.parametrize("turns", [0, 5, 10, 20, 30])
async def test_both_copies_of_an_instance_deleted_during_its_move_are_erased(tmp_path: Path, turns: int) -> None:
    now = Clock()
    bodies = await mostly_deleted(tmp_path, now)
    async with opened(tmp_path, now) as archive:
        compacting = asyncio.create_task(archive.compact())
        for _ in range(turns):
            await asyncio.sleep(0)
        for uid in ("1.1.10", "1.1.20"):
            await archive.delete(uid)
            del bodies[uid]
        await compacting
        assert await archive.contents() == bodies
        now.advance(GRACE)
        await archive.housekeeping.erase()
        assert (await archive.audit()) == Report(instances=4, blobs=4, current_changes=4)


async def test_a_damaged_blob_is_not_moved_and_the_others_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = Clock()
    bodies = await mostly_deleted(tmp_path, now)
    async with opened(tmp_path, now) as archive:
        old = await archive.locators()
        record = record_of(old["1.1.30"])
        assert record is not None
        damage(path_of(tmp_path / "segments", record.segment), record.offset + 500)
        await archive.compact()
        assert {uid for uid, locator in (await archive.locators()).items() if locator == old[uid]} == {"1.1.30"}
        now.advance(GRACE)
        await archive.housekeeping.erase()
        report = await archive.audit()
        assert (report.instances, report.damaged, report.missing, report.unused) == (6, 1, 0, 0)
        del bodies["1.1.30"]
        assert {uid: await archive.read((await archive.locators())[uid]) for uid in bodies} == bodies
    assert "can't be moved" in caplog.text


def damage(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))


async def test_a_full_disk_ends_a_compaction_and_the_next_run_completes_it(tmp_path: Path) -> None:
    now = Clock()
    bodies = await mostly_deleted(tmp_path, now, size=7000, count=100)
    async with opened(tmp_path, now) as archive:
        old = await archive.locators()
        with no_file_larger_than(50_000), pytest.raises(Exhausted):
            await archive.compact()
        assert await archive.locators() == old
        assert await archive.contents() == bodies
        await archive.compact()
        await archive.committer.resolve_in_doubt()
        assert set((await archive.locators()).values()).isdisjoint(old.values())
        assert await archive.contents() == bodies
        report = await archive.audit()
        assert (report.agrees, report.unused) == (True, 0)


async def test_a_cancelled_compaction_loses_nothing(tmp_path: Path) -> None:
    now = Clock()
    bodies = await mostly_deleted(tmp_path, now, count=200)
    for turns in range(12):
        async with opened(tmp_path, now) as archive:
            compacting = asyncio.create_task(archive.compact())
            for _ in range(turns):
                await asyncio.sleep(0)
            compacting.cancel()
            await asyncio.gather(compacting, return_exceptions=True)
        async with opened(tmp_path, now) as archive:
            assert await archive.contents() == bodies
            report = await archive.audit()
            assert (report.agrees, report.unused) == (True, 0)


def compact_and_die(_events: Connection, root: Path, after_s: float) -> None:
    """Compact all segments; die without a clean-up, at the end or before."""
    asyncio.run(_compact_and_die(root, after_s))


async def _compact_and_die(root: Path, after_s: float) -> None:
    now, database = Clock(datetime(2026, 3, 2, tzinfo=UTC)), open_database(f"sqlite:///{root / 'index.db'}")
    blobs = await PackedBlobs(root).__aenter__()
    committer = Committer(blobs, database.instances, now, lambda: None, now)
    relocation = IndexRelocation(
        blobs=blobs, moves=database.blob_moves, committer=committer, now=now, retention=timedelta(hours=8)
    )
    die_after(after_s)
    while await blobs.compact(relocation):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("after_ms", [0, 5, 10, 15, 20, 40, 5000])
async def test_kill_9_during_compaction_loses_nothing_and_leaves_no_duplicates(tmp_path: Path, after_ms: int) -> None:
    now = Clock()
    bodies = await mostly_deleted(tmp_path, now, count=300)
    assert await asyncio.to_thread(in_a_process, compact_and_die, tmp_path, after_ms / 1000) == []  # it was killed
    now.advance(timedelta(days=2))
    async with opened(tmp_path, now) as archive:
        assert await archive.contents() == bodies
        await archive.compact()
        now.advance(QUARANTINE)
        await archive.housekeeping.erase()
        await archive.housekeeping.end_quarantine()
        assert await archive.contents() == bodies
        assert (await archive.audit()) == Report(instances=30, blobs=30, current_changes=30)


@pytest.mark.parametrize("seed", range(3))
async def test_random_stores_deletes_and_moves_leave_the_expected_contents(tmp_path: Path, seed: int) -> None:
    """Random operations compared with a dictionary, with restarts and with two processes sharing the blob store."""
    chance, now = random.Random(seed), Clock()
    expected: dict[str, bytes] = {}
    for _ in range(4):
        async with opened(tmp_path, now) as one, opened(tmp_path, now) as other:
            for _ in range(12):
                archive = chance.choice([one, other])
                await act(archive, expected, chance)
                assert await chance.choice([one, other]).contents() == expected
            report = await one.audit()
            assert (report.agrees, report.unused, report.instances) == (True, 0, len(expected))
    now.advance(GRACE)
    async with opened(tmp_path, now) as archive:
        await archive.housekeeping.erase()
        await archive.compact()
        now.advance(GRACE)
        await archive.housekeeping.erase()
        assert await archive.contents() == expected
        assert (await archive.audit()).blobs == len(expected)


async def act(archive: Archive, expected: dict[str, bytes], chance: random.Random) -> None:
    """Apply one random operation to an archive and to its expected contents."""
    match chance.choice(["store", "store", "delete", "delete", "erase", "compact"]):
        case "store":
            for _ in range(chance.randrange(1, 15)):
                uid, size = f"1.1.{chance.randrange(1, 10**9)}", chance.choice([0, 100, 5000, 200_000, 1_100_000])
                expected[uid] = chance.randbytes(chance.randrange(size + 1))
                await archive.store(uid, expected[uid])
        case "delete":
            for uid in chance.sample(sorted(expected), len(expected) * 2 // 3):
                await archive.delete(uid)
                del expected[uid]
        case "erase":
            archive.now.advance(timedelta(hours=chance.randrange(12)))
            await archive.housekeeping.erase()
        case "compact":
            await archive.compact()
