"""Blobs unknown to the index are quarantined (server/domain/upkeep/garbage.py, server/domain/store/commit.py)."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from server.adapters.sql.engine import open_database
from server.model.errors import DataLoss, Reason, Unavailable
from server.model.ids import DEFAULT_PARTITION
from server.model.receipt import Receipt
from tests.core import settings_for
from tests.integration.test_compaction import QUARANTINE, RETENTION, Archive, Clock, opened


async def crash_after_storing(root: Path, now: Clock, bodies: dict[str, bytes]) -> None:
    """Leave the state of a process that stored instances and died: its segment counts as unsettled."""
    async with opened(root, now) as archive:
        for uid, body in bodies.items():
            await archive.store(uid, body)
        shutil.copytree(root / "segments/ingest", root / "copy")
    shutil.rmtree(root / "segments/ingest")
    shutil.move(root / "copy", root / "segments/ingest")


BODIES = {"1.1.1": b"one" * 100, "1.1.2": b"two" * 100}


async def test_a_start_with_an_empty_index_erases_no_blob(tmp_path: Path) -> None:
    now = Clock()
    await crash_after_storing(tmp_path, now, BODIES)
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        if (tmp_path / name).exists():
            (tmp_path / name).rename(tmp_path / f"right-{name}")
    async with opened(tmp_path, now) as archive:
        report = await archive.audit()
        assert (report.instances, report.unused, report.quarantined) == (0, 0, 2)
        assert report.quarantined_bytes == 600
    (tmp_path / "right-index.db").rename(tmp_path / "index.db")
    async with opened(tmp_path, now) as archive:
        now.advance(QUARANTINE)
        assert await archive.housekeeping.end_quarantine() == 0
        assert await archive.contents() == BODIES
        report = await archive.audit()
        assert (report.agrees, report.unused, report.quarantined) == (True, 0, 0)


async def unknown_blob(archive: Archive) -> str:
    async with archive.blobs.open_write() as writer:
        await writer.write(b"unknown")
        locator = await writer.commit(Receipt(DEFAULT_PARTITION, archive.now(), 0))
    assert await archive.committer.resolve([locator]) == 1
    return locator


async def test_a_blob_still_unknown_to_the_index_is_erased_when_its_quarantine_ends(
    tmp_path: Path,
) -> None:
    now = Clock()
    async with opened(tmp_path, now) as archive:
        locator = await unknown_blob(archive)
        now.advance(QUARANTINE - timedelta(seconds=1))
        assert await archive.housekeeping.end_quarantine() == 0
        assert await archive.read(locator) == b"unknown"
        now.advance(timedelta(seconds=1))
        assert await archive.housekeeping.end_quarantine() == 1
        with pytest.raises(DataLoss) as caught:
            await archive.read(locator)
        assert caught.value.reason is Reason.BLOB_MISSING
        assert await archive.housekeeping.end_quarantine() == 0


async def test_quarantine_is_never_shorter_than_retention(tmp_path: Path) -> None:
    now = Clock()
    async with opened(tmp_path, now, quarantine=timedelta(0)) as archive:
        await unknown_blob(archive)
        now.advance(RETENTION - timedelta(seconds=1))
        assert await archive.housekeeping.end_quarantine() == 0
        now.advance(timedelta(seconds=1))
        assert await archive.housekeeping.end_quarantine() == 1


async def test_a_blob_whose_transaction_failed_before_commit_is_erased_at_once(tmp_path: Path) -> None:
    now = Clock()
    async with opened(tmp_path, now) as archive:
        database = open_database(f"sqlite:///{tmp_path / 'gone.db'}")
        with pytest.raises(Unavailable):
            await Archive(archive.blobs, database, now).store("1.1.1", b"one")
        await database.close()
        assert [locator async for locator, _ in archive.blobs.walk()] == []
        assert [batch async for batch in archive.blobs.quarantined()] == []


def test_no_setting_lets_an_upload_of_a_suspended_process_be_erased_at_once(tmp_path: Path) -> None:
    """On an object store its lease ends after half a minute; then another process quarantines its blobs. When it runs
    again, it adds the instances to the index, and acknowledges them."""
    settings = settings_for(tmp_path, quarantine_hours=0, retention_hours=0)
    assert settings.quarantine_period >= timedelta(hours=1)
    assert settings_for(tmp_path, quarantine_hours=200).quarantine_period == timedelta(hours=200)
