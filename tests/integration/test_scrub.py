"""The scrub reads every stored byte within its period, records damage, and resumes after a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.adapters.blobs.archive_records.scrub_file import ScrubFile
from server.adapters.blobs.packed import PackedBlobs
from server.adapters.sql.engine import open_database
from server.bootstrap.serving import running
from server.domain.damage import DamageRecord
from server.domain.read_only import ReadOnlyState
from server.domain.upkeep.scrub import Scrub
from server.model.storage.scrub import ScrubPosition
from server.ports.index import InstanceIndex
from tests.contract.blobs import flip_below, flipped
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, serving, stored

STUDY = "1.2.826.0.1.3680043.10.1.1"
BODIES = [
    part10(SOPInstanceUID=f"1.2.{number}", frames=[bytes([number]) * 1000 * rows], Rows=rows, Columns=1000)
    for number, rows in enumerate((1, 100, 1500, 2), 1)
]
ALL = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
DAY = timedelta(days=1)


class Scrubbed:
    """A scrub of an archive that no core serves, with a clock that the test sets."""

    def __init__(self, scrub: Scrub, index: InstanceIndex, record: ScrubFile) -> None:
        self.scrub, self.record = scrub, record
        self._index = index
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    async def damaged(self) -> list[str]:
        """Return the instances that are recorded as damaged."""
        found = await self._index.locators(0, 100)
        return [one.id.instance for one in found if one.damage.is_of_bytes]


@asynccontextmanager
async def scrubbing(
    data: Path, period: timedelta = 4 * DAY, read_only: ReadOnlyState | None = None
) -> AsyncIterator[Scrubbed]:
    database = open_database(settings_for(data).database_url)
    record = ScrubFile(data)
    async with PackedBlobs(data) as blobs:
        found: Scrubbed
        scrub = Scrub(
            blobs=blobs,
            index=database.instances,
            damage=DamageRecord(database.instances),
            record=record,
            now=lambda: found.now,
            latest=lambda: len(BODIES),
            period=period,
            read_only=read_only or ReadOnlyState(),
        )
        found = Scrubbed(scrub, database.instances, record)
        yield found
    record.close()
    await database.close()


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with running(settings_for(tmp_path, scrub_days=0)) as core, serving(core.address) as web:
        await stored(web, *BODIES)
    return tmp_path


@pytest.mark.parametrize(("number", "offset"), [(1, 0), (2, 70_000), (3, -1)])
async def test_damage_is_recorded_until_the_bytes_are_restored(data: Path, number: int, offset: int) -> None:
    body = BODIES[number - 1]
    at = offset % len(body)
    flip_below(data, body, at)
    async with scrubbing(data) as found:
        await found.scrub.run_once()
        found.now += 4 * DAY
        await found.scrub.run_once()
        assert await found.damaged() == [f"1.2.{number}"]
        flip_below(data, flipped(body, at), at)
        for _ in range(2):  # the next pass begins, and ends when it is due
            await found.scrub.run_once()
            found.now += 4 * DAY
        assert await found.damaged() == []


async def test_reading_is_spread_over_the_period_and_resumes_after_a_restart(data: Path) -> None:
    for body in BODIES:
        flip_below(data, body, 300)
    began = datetime(2026, 3, 1, tzinfo=UTC)
    for days in range(5):
        async with scrubbing(data) as found:
            found.now = began + days * DAY
            await found.scrub.run_once()
            assert await found.damaged() == [f"1.2.{number}" for number in range(1, days + 1)]
            assert await found.record.load() == (
                ScrubPosition(began, days, None) if days < 4 else ScrubPosition(began, None, found.now)
            )
            if days == 4:  # nothing is due until the period ends, then everything is due again
                await found.scrub.run_once()
                assert await found.record.load() == ScrubPosition(found.now, 0, found.now)


async def test_earlier_versions_and_deleted_instances_are_read_and_reported_separately(data: Path) -> None:
    new = part10(SOPInstanceUID="1.2.1", frames=[bytes(3000)], Rows=3, Columns=1000)
    settings = settings_for(data, scrub_days=0, duplicates="new-version")
    async with running(settings) as core, serving(core.address) as web:
        await stored(web, new)
        [found] = (await web.get("/v2/instances", params={"SOPInstanceUID": "1.2.2"}, headers=JSON)).json()
        series = found["0020000E"]["Value"][0]
        assert (await web.delete(f"/v2/studies/{STUDY}/series/{series}/instances/1.2.2")).status_code == 204
    for body in BODIES[:2]:
        flip_below(data, body, 300)

    async def damaged(scrubbed: Scrubbed) -> list[int]:
        for _ in range(2):
            await scrubbed.scrub.run_once()
            scrubbed.now += 4 * DAY
        assert await scrubbed.damaged() == []
        position = await scrubbed.record.load()
        assert position is not None
        return sorted(position.damaged)

    async with scrubbing(data) as scrubbed:
        assert await damaged(scrubbed) == [1, 2]
        for body in BODIES[:2]:
            flip_below(data, flipped(body, 300), 300)
        assert await damaged(scrubbed) == []


async def test_missing_bytes_are_found(data: Path) -> None:
    [file] = (data / "blobs").glob("*/*")
    file.rename(data / "away")
    async with scrubbing(data) as found:
        await found.scrub.run_once()
        found.now += 5 * DAY
        await found.scrub.run_once()
        assert await found.damaged() == ["1.2.3"]


async def test_one_process_scrubs_at_a_time(data: Path) -> None:
    async with scrubbing(data) as one, scrubbing(data) as other, one.record.held() as is_held:
        assert is_held
        await other.scrub.run_once()
        assert await other.record.load() is None


async def test_a_read_only_archive_and_one_without_a_period_are_not_scrubbed(data: Path) -> None:
    read_only = ReadOnlyState()
    read_only.restrict("the index is behind")
    async with scrubbing(data, read_only=read_only) as found, scrubbing(data, timedelta(0)) as never:
        await asyncio.gather(found.scrub.run(), never.scrub.run())
        assert await found.record.load() is None


async def test_an_unreadable_position_restarts_the_scrub(data: Path) -> None:
    (data / "scrub").write_text('{"began"')
    async with scrubbing(data) as found:
        await found.scrub.run_once()
        assert await found.record.load() == ScrubPosition(found.now, 0, None)


async def test_a_running_core_finds_and_announces_damage_before_a_client_reads_it(data: Path) -> None:
    flip_below(data, BODIES[1], 50_000)
    settings = settings_for(data, scrub_days=1e-6)
    async with running(settings) as core, serving(core.address) as web:
        database = open_database(settings.database_url)
        async with asyncio.timeout(20):
            while not [one for one in await database.instances.locators(0, 9) if one.damage.is_of_bytes]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await database.close()
        response = await web.get(f"/v2/studies/{STUDY}", headers=ALL)
        assert response.status_code == 206
        assert "BLOB_DAMAGED" in response.headers["Warning"]
