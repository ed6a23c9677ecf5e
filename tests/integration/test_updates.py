"""Updates whose worker is killed, readers during an update, and a lost index, with an index in each database."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import httpx
import pydicom
import pytest
from dicomstore.v1.operation_service_pb2 import StartOperationRequest
from dicomstore.v1.operation_service_pb2_grpc import OperationServiceStub
from dicomstore.v1.operation_types_pb2 import UpdateRequest

from server.adapters.sql.engine import open_database
from server.bootstrap.maintenance import auditing, recover
from server.bootstrap.serving import running
from server.config import Settings
from server.domain.operations import update
from server.model.operation import OperationState, OperationUpdate
from tests.core import Ref, settings_for
from tests.data import UID_ROOT, part10
from tests.integration.archive_process import in_a_process
from tests.integration.conftest import a_core
from tests.integration.facade.serving import JSON, parts_of, serving, stow
from tests.operations import perform

STUDY = f"{UID_ROOT}.1"
ANY = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
ORIGINAL = {"msdicom-request-original": "true"}
STEPS = ("pwrite", "pwritev", "write", "fsync", "fdatasync", "rename", "replace", "link", "unlink")
COUNT = int(os.environ.get("DICOMSTORE_UPDATE_SLICES", "100"))
"""Instances of the study whose update is killed."""
FEED = "/v2/changefeed?limit=200&offset={}&includeMetadata=false"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    return settings_for(tmp_path, database=url)


async def test_the_targets_of_an_update_are_in_one_partition(tmp_path: Path) -> None:
    async with a_core(tmp_path, partitions=True) as core:
        targets = []
        for name in ("one", "two"):
            await core.stored(part10(StudyInstanceUID=STUDY), address={"partition": name}, create_partition=True)
            targets.append(Ref(partition=name, study_instance_uid=STUDY))
        changes = b'{"00100010":{"vr":"PN","Value":["New^Name"]}}'
        request = StartOperationRequest()
        request.request.Pack(UpdateRequest(targets=targets, changes=changes))
        stub = OperationServiceStub(core.channel)
        with pytest.raises(grpc.aio.AioRpcError, match="all of one partition"):
            await stub.StartOperation(request)


def pixels(number: int) -> bytes:
    return bytes([number % 251]) * 17_000


@asynccontextmanager
async def archive(settings: Settings, count: int = COUNT) -> AsyncIterator[httpx.AsyncClient]:
    """An archive with a study."""
    async with running(settings) as core, serving(core.address) as web:
        for start in range(1, count + 1, 100):
            files = [
                part10(InstanceNumber=str(number), PatientName="Old^Name", frames=[pixels(number)])
                for number in range(start, min(start + 100, count + 1))
            ]
            assert (await stow(web, *files)).status_code == 200
        yield web


async def start(web: httpx.AsyncClient, name: str) -> str:
    changes = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]}}
    body = {"studyInstanceUids": [STUDY], "changeDataset": changes}
    started = await web.post("/v2/studies/$bulkUpdate", json=body)
    assert started.status_code == 202
    href: str = started.json()["href"]
    return href


async def names(web: httpx.AsyncClient, count: int = COUNT, **headers: str) -> set[str]:
    """Return the names in the metadata and in the files of the study, after checking that it is complete."""
    return await names_in_metadata(web, count, **headers) | await names_of_files(web, count, **headers)


async def names_in_metadata(web: httpx.AsyncClient, count: int, **headers: str) -> set[str]:
    metadata = (await web.get(f"/v2/studies/{STUDY}/metadata", headers=JSON | headers)).json()
    found = {one["00100010"]["Value"][0]["Alphabetic"] for one in metadata}
    assert len(metadata) == count
    assert len(found) == 1
    return found


async def names_of_files(web: httpx.AsyncClient, count: int, **headers: str) -> set[str]:
    answer = await web.get(f"/v2/studies/{STUDY}", headers=ANY | headers)
    files = [pydicom.dcmread(BytesIO(body)) for _, body in parts_of(answer)]
    assert len({file.SOPInstanceUID for file in files}) == len(files) == count
    assert all(file.PixelData == pixels(int(file.InstanceNumber)) for file in files)
    found = {str(file.PatientName) for file in files}
    assert len(found) == 1
    return found


def work(events: Connection, settings: Settings, kill_at: int) -> None:
    """Do what a worker does; be killed before a step of the disk."""
    count = 0

    def counted(step: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments, **options)

        return call

    update._PAGE, update._STEP_SECONDS = COUNT // 10, 0
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    asyncio.run(perform(settings))
    events.send(("steps", count))


@asynccontextmanager
async def reading(web: httpx.AsyncClient, count: int) -> AsyncIterator[list[str]]:
    """Read the study again and again meanwhile; the names that were found, in the order of the requests."""
    seen: list[str] = []
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            for names_of in (names_of_files, names_in_metadata):
                seen.extend(await names_of(web, count))
                await asyncio.sleep(0.1)  # without a pause it would take the processor from the worker

    task = asyncio.create_task(read())
    yield seen
    done.set()
    await task


@pytest.mark.timeout(600)
async def test_an_update_that_is_killed_again_and_again_is_completed(settings: Settings) -> None:
    async with archive(settings) as web:
        before, began = blob_bytes(settings), time.monotonic()
        async with reading(web, COUNT) as seen:
            operation = await start(web, "New^Name")
            for _ in range(3):
                events = await asyncio.to_thread(in_a_process, work, settings, 26)
                assert events == []  # it was killed
                percent = (await web.get(operation)).json()["percentComplete"]
                print(f"killed at {percent} %")
                assert 0 < percent < 100
                assert await names(web) == {"Old^Name"}
            assert await asyncio.to_thread(in_a_process, work, settings, 0)
            print(f"{time.monotonic() - began:.1f} s, {blob_bytes(settings) - before} bytes of blobs")
        assert seen == sorted(seen, reverse=True)  # never the old name after the new one
        print(f"{len(seen)} reads meanwhile")
        assert (await web.get(operation)).json()["results"]["instanceUpdated"] == COUNT
        assert await names(web) == {"New^Name"}
        assert await names(web, **ORIGINAL) == {"Old^Name"}
        entries: list[Any] = []
        while page := (await web.get(FEED.format(COUNT + len(entries)))).json():
            entries += page
        assert [one["action"] for one in entries] == ["Update"] * COUNT
    async with running(settings):  # cleans up after the killed processes
        pass
    async with auditing(settings) as audit:
        report = await audit.run(deep=True)
    assert report.agrees
    assert (report.instances, report.unused) == (COUNT, 0)


def blob_bytes(settings: Settings) -> int:
    directories = (settings.data / name for name in ("segments", "blobs"))
    return sum(path.stat().st_size for directory in directories for path in directory.rglob("*") if path.is_file())


async def test_a_study_is_reverted_on_both_databases_also_if_the_worker_is_killed(settings: Settings) -> None:
    count = 30
    async with archive(settings, count) as web:
        operation = await start(web, "New^Name")
        assert await asyncio.to_thread(in_a_process, work, settings, 0)
        body = {"beforeOperation": operation.rpartition("/")[2]}
        reverting = (await web.post(f"/v2/studies/{STUDY}/$revert", json=body)).json()["href"]
        assert await asyncio.to_thread(in_a_process, work, settings, 12) == []  # it was killed
        assert await names(web, count) == {"New^Name"}
        assert await asyncio.to_thread(in_a_process, work, settings, 0)
        assert (await web.get(reverting)).json()["results"]["instanceUpdated"] == count
        assert await names(web, count) == {"Old^Name"}


async def test_a_reader_never_sees_a_part_of_an_update(settings: Settings) -> None:
    count = 510  # more than a page of the index
    async with archive(settings, count) as web:
        async with reading(web, count) as seen:
            await start(web, "New^Name")
            await perform(settings)
        assert set(seen) <= {"Old^Name", "New^Name"}
        assert await names(web, count) == {"New^Name"}


async def test_pages_that_were_begun_before_an_update_are_completed_from_the_state_before(settings: Settings) -> None:
    count = 510
    async with archive(settings, count) as web:
        async with web.stream("GET", f"/v2/studies/{STUDY}", headers=ANY) as answer:
            pieces = answer.aiter_raw(1 << 16)
            body = await anext(pieces)
            await start(web, "New^Name")
            await perform(settings)
            async for piece in pieces:
                body += piece
        assert body.count(b"Old^Name") == count
        assert b"New^Name" not in body
        assert await names(web, count) == {"New^Name"}


async def test_a_rebuilt_index_has_the_updates_and_the_originals(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with archive(settings, 5) as web:
        await start(web, "New^Name")
        await perform(settings)
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        await asyncio.to_thread((tmp_path / name).unlink, missing_ok=True)
    await recover(settings)
    async with running(settings) as core, serving(core.address) as web:
        assert await names(web, 5) == {"New^Name"}
        assert await names(web, 5, **ORIGINAL) == {"Old^Name"}


async def test_a_cancelled_update_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "_PAGE", 60)
    monkeypatch.setattr(update, "_STEP_SECONDS", 0)
    async with archive(settings) as web:
        operation = (await start(web, "New^Name")).rpartition("/")[2]
        await perform(settings, most_steps=1)
        database = open_database(settings.database_url)
        cancelled = await database.operations.update(
            operation, lambda found: OperationUpdate(replace(found, state=OperationState.CANCELING))
        )
        assert cancelled is not None
        assert (cancelled.done, cancelled.total) == (60, COUNT)
        await perform(settings)
        assert (await web.get(f"/v2/operations/{operation}")).json()["status"] == "canceled"
        erasable = await database.instances.begin_erasure(datetime.now(UTC) + timedelta(days=1), 1000)
        assert len(erasable) == 60
        await database.close()
        assert await names(web) == {"Old^Name"}
