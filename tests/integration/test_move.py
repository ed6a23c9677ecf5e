"""Moving the blobs of an archive to another store, with readers, writers and killed workers (operation type `move`)."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from dicomstore.v1.operation_service_pb2 import (
    OPERATION_STATE_CANCELED,
    OPERATION_STATE_FAILED,
    OPERATION_STATE_RUNNING,
    OPERATION_STATE_SUCCEEDED,
    CancelOperationRequest,
    GetOperationRequest,
    ListOperationErrorsRequest,
    StartOperationRequest,
)
from dicomstore.v1.operation_service_pb2_grpc import OperationServiceStub
from dicomstore.v1.operation_types_pb2 import ImportRequest, MoveRequest, MoveResult

from server.adapters.blobs.factory import storage_of
from server.adapters.sql.engine import open_database
from server.bootstrap.maintenance import auditing, recover
from server.bootstrap.serving import Core, running
from server.config import Settings
from server.domain.operations import move
from server.opening import StartError, prepare
from tests.core import settings_for
from tests.data import UID_ROOT, new_uid, part10
from tests.integration.archive_process import in_a_process
from tests.integration.facade.serving import JSON, parts_of, serving, stow
from tests.object_store import ObjectStore
from tests.operations import perform

STUDY, DELETED, ADDED = (f"{UID_ROOT}.{number}" for number in (1, 2, 3))
ANY = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
STEPS = ("pwrite", "pwritev", "write", "fsync", "fdatasync", "rename", "replace", "link", "unlink")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of an archive before the move: everything is in the data directory."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    return settings_for(tmp_path / "data", database=url)


def after(settings: Settings) -> Settings:
    """Return the settings from the move on."""
    new = (settings.data.parent / "new").as_uri()
    return settings.model_copy(update={"blobs": new, "blobs_also": settings.data.as_uri()})


@dataclass
class Stored:
    """The files of an archive: of the current versions, and of those before an update, in order."""

    current: list[bytes] = field(default_factory=list)
    originals: list[bytes] = field(default_factory=list)
    deleted: list[bytes] = field(default_factory=list)


def files(study: str, count: int) -> list[bytes]:
    """Return files with pixel data of three sizes: most fit into a segment, one in ten does not."""
    sizes = (100, 20_000, 1_300_000)
    return [
        part10(
            StudyInstanceUID=study,
            InstanceNumber=str(number),
            Rows=100,
            Columns=size // 100,
            frames=[bytes([number % 251]) * size],
        )
        for number, size in ((one, sizes[2 if one % 10 == 0 else one % 2]) for one in range(1, count + 1))
    ]


async def read(web: httpx.AsyncClient, study: str, **headers: str) -> list[bytes]:
    answer = await web.get(f"/v2/studies/{study}", headers=ANY | headers)
    assert answer.status_code == 200
    return sorted(bytes(body) for _, body in parts_of(answer))


async def update(web: httpx.AsyncClient, settings: Settings, name: str) -> None:
    changes = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]}}
    body = {"studyInstanceUids": [STUDY], "changeDataset": changes}
    assert (await web.post("/v2/studies/$bulkUpdate", json=body)).status_code == 202
    await perform(settings)


async def filled(settings: Settings, count: int) -> Stored:
    """Store studies: one with two versions of each instance, and a deleted one."""
    found = Stored()
    async with running(settings) as core, serving(core.address) as web:
        assert (await stow(web, *files(STUDY, count))).status_code == 200
        assert (await stow(web, *files(DELETED, 6))).status_code == 200
        found.originals, found.deleted = await read(web, STUDY), await read(web, DELETED)
        await update(web, settings, "New^Name")
        found.current = await read(web, STUDY)
        assert (await web.delete(f"/v2/studies/{DELETED}")).status_code == 204
    return found


@asynccontextmanager
async def archive(settings: Settings) -> AsyncIterator[tuple[Core, httpx.AsyncClient]]:
    async with running(settings) as core, serving(core.address) as web:
        yield core, web


async def start(core: Core, to: str, **fields: Any) -> str:
    return await begin(core, MoveRequest(to=to, **fields))


async def begin(core: Core, message: Any) -> str:
    async with grpc.aio.insecure_channel(core.address) as channel:
        request = StartOperationRequest()
        request.request.Pack(message)
        answer = await OperationServiceStub(channel).StartOperation(request)
    operation_id: str = answer.operation.id
    return operation_id


async def ended(core: Core, operation_id: str) -> tuple[Any, MoveResult, list[Any]]:
    """Return a finished operation, its result, and the errors of its items."""
    result = MoveResult()
    async with grpc.aio.insecure_channel(core.address) as channel:
        stub = OperationServiceStub(channel)
        found = (await stub.GetOperation(GetOperationRequest(id=operation_id))).operation
        errors = await stub.ListOperationErrors(ListOperationErrorsRequest(id=operation_id))
    found.result.Unpack(result)
    return found, result, list(errors.errors)


async def perform_all(settings: Settings) -> None:
    """Do what a worker does until no operation is left; paused ones continue at once."""
    database = open_database(settings.database_url)
    while await database.operations.unfinished():
        await perform(settings)
    await database.close()


async def require_all(web: httpx.AsyncClient, stored: Stored) -> None:
    assert await read(web, STUDY) == stored.current
    assert await read(web, STUDY, **{"msdicom-request-original": "true"}) == stored.originals


async def erase_old_copies(settings: Settings, expected: int) -> None:
    """Do what garbage collection does after the retention time."""
    database = open_database(settings.database_url)
    storage = storage_of(settings.blobs_url, settings.further_blobs_urls)
    try:
        async with storage.blobs() as blobs:
            old = await database.instances.begin_erasure(datetime.now(UTC) + timedelta(hours=73), 10_000)
            assert len(old) == expected
            await blobs.delete(old)
            await database.instances.erased(old)
    finally:
        storage.close()
        await database.close()


def blobs_in(directory: Path) -> list[Path]:
    return [*directory.glob("segments/*.seg"), *directory.glob("blobs/*/*")]


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

    move._PAGE, move._PAGE_BYTES = 4, 1 << 20
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    asyncio.run(perform_all(settings))
    events.send(("steps", count))


async def test_an_archive_is_moved_while_it_serves_though_the_worker_is_killed_again_and_again(
    settings: Settings,
) -> None:
    stored = await filled(settings, 20)
    now = after(settings)
    async with archive(now) as (core, web):
        operation = await start(core, now.blobs_url)
        done = asyncio.Event()
        written: list[bytes] = []

        async def keep_reading() -> None:
            while not done.is_set():
                await require_all(web, stored)
                await asyncio.sleep(0.2)

        async def keep_writing() -> None:
            while not done.is_set():
                written.append(part10(StudyInstanceUID=ADDED, frames=[bytes(500 + len(written) % 100 * 500)]))
                assert (await stow(web, written[-1])).status_code == 200
                await asyncio.sleep(0.2)

        tasks = [asyncio.create_task(keep_reading()), asyncio.create_task(keep_writing())]
        for kill_at in (10, 25, 40):
            assert await asyncio.to_thread(in_a_process, work, now, kill_at) == []  # it was killed
        assert await asyncio.to_thread(in_a_process, work, now, 0)
        done.set()
        await asyncio.gather(*tasks)
        found, result, errors = await ended(core, operation)
        assert (found.state, errors, result.versions_left) == (OPERATION_STATE_SUCCEEDED, [], 0)
        # A worker that is killed between a transaction and its record leaves some uncounted.
        assert 46 - 3 * 8 <= found.done == found.total == result.versions_moved <= 46
        await require_all(web, stored)
        assert len(await read(web, ADDED)) == len(written)
        assert (await web.post(f"/v2/studies/{DELETED}/$undelete")).status_code == 200
        assert await read(web, DELETED) == stored.deleted
    async with archive(now):  # cleans up after the killed processes
        pass
    async with auditing(now) as audit:
        report = await audit.run(deep=True)
    assert report.agrees
    await erase_old_copies(now, 46)
    assert blobs_in(settings.data) == []
    alone = now.model_copy(update={"blobs_also": ""})
    async with archive(alone) as (_, web):
        await require_all(web, stored)
        assert await read(web, DELETED) == stored.deleted
        await update(web, alone, "Newer^Name")
        assert await read(web, STUDY, **{"msdicom-request-original": "true"}) == stored.originals


@pytest.mark.parametrize("kinds", [("file", "s3"), ("s3", "file"), ("s3", "s3")], ids="-".join)
async def test_an_archive_is_moved_into_between_and_out_of_object_stores(
    kinds: tuple[str, str], tmp_path: Path, bucket_url: str, object_store: ObjectStore
) -> None:
    urls = {"file": (tmp_path / "files").as_uri(), "s3": bucket_url}
    old, new = urls[kinds[0]], object_store.bucket() if kinds == ("s3", "s3") else urls[kinds[1]]
    settings = settings_for(tmp_path / "data", blobs=old)
    stored = await filled(settings, 10)
    now = settings.model_copy(update={"blobs": new, "blobs_also": old})
    async with archive(now) as (core, web):
        operation = await start(core, now.blobs_url)
        await perform(now)
        found, result, _ = await ended(core, operation)
        assert (found.state, result.versions_moved, result.versions_left) == (OPERATION_STATE_SUCCEEDED, 26, 0)
        await require_all(web, stored)
    await erase_old_copies(now, 26 + 6)
    async with archive(settings.model_copy(update={"blobs": new})) as (_, web):
        await require_all(web, stored)


async def test_updated_instances_share_their_bytes_in_the_new_store_as_well(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "data")
    await filled(settings, 10)
    now = after(settings)
    async with archive(now) as (core, _):
        await start(core, now.blobs_url)
        await perform(now)
    [large] = [path for path in blobs_in(tmp_path / "new") if path.parent.parent.name == "blobs"]
    assert large.stat().st_size > 1_300_000
    small = sum(path.stat().st_size for path in (tmp_path / "new").glob("segments/*.seg"))
    assert small < 1_000_000


async def test_an_index_that_is_lost_or_from_before_the_move_is_recovered_from_the_new_store_alone(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path / "data")
    stored = await filled(settings, 10)
    shutil.copytree(tmp_path / "data", tmp_path / "before", ignore=shutil.ignore_patterns("blobs", "segments"))
    now = after(settings)
    async with archive(now) as (core, web):
        label = {"labels": {"project": "lung"}}
        assert (await web.patch(f"/v2/studies/{STUDY}/labels", json=label["labels"])).status_code in (200, 204)
        await update(web, now, "Newer^Name")  # derived from versions in the other store
        stored.current = await read(web, STUDY)
        await start(core, now.blobs_url)
        await perform(now)
    await erase_old_copies(now, 26 + 6)  # and the deleted study
    alone = now.model_copy(update={"blobs_also": ""})
    for has_older_index in (False, True):
        for path in (tmp_path / "data").glob("index.db*"):
            path.unlink()
        if has_older_index:
            shutil.copy(tmp_path / "before" / "index.db", tmp_path / "data" / "index.db")
        await recover(alone)
        async with archive(alone) as (_, web):
            await require_all(web, stored)
            assert (await web.get(f"/v2/studies/{DELETED}/metadata", headers=JSON)).status_code == 404
            labels = (await web.get(f"/v2/studies/{STUDY}/labels", headers={"Accept": "application/json"})).json()
            assert labels["project"] == "lung"


async def test_adopted_files_and_versions_derived_from_them_are_copied_to_the_new_store(tmp_path: Path) -> None:
    folder = tmp_path / "pacs"
    folder.mkdir()
    for number, data in enumerate(files(STUDY, 3)):
        (folder / str(number)).write_bytes(data)
    settings = settings_for(tmp_path / "data", adopted_folders={"old": folder})
    stored = Stored()
    async with archive(settings) as (core, web):
        await begin(core, ImportRequest(source=str(folder), in_place=True))
        await perform(settings)
        stored.originals = await read(web, STUDY)
        await update(web, settings, "New^Name")
        stored.current = await read(web, STUDY)
    now = after(settings)
    async with archive(now) as (core, _):
        operation = await start(core, now.blobs_url)
        await perform(now)
        _, result, errors = await ended(core, operation)
        assert (result.versions_moved, errors) == (6, [])
    await erase_old_copies(now, 6)
    assert len(list(folder.iterdir())) == 3
    shutil.move(folder, tmp_path / "away")
    async with archive(now.model_copy(update={"blobs_also": "", "adopted_folders": {}})) as (_, web):
        await require_all(web, stored)


async def test_a_damaged_blob_stays_where_it_is_and_all_others_are_moved(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "data")
    study = new_uid()
    async with archive(settings) as (_, web):
        large = [
            part10(StudyInstanceUID=study, Rows=1000, Columns=1200, frames=[bytes([one]) * 1_200_000])
            for one in range(3)
        ]
        assert (await stow(web, *large)).status_code == 200
    damaged = next(iter((tmp_path / "data").glob("blobs/*/*")))
    with damaged.open("r+b") as file:
        file.seek(600_000)
        file.write(b"damage")
    now = after(settings)
    async with archive(now) as (core, web):
        operation = await start(core, now.blobs_url)
        await perform(now)
        assert (await ended(core, operation))[0].state == OPERATION_STATE_RUNNING  # it waits, and tries again
        await perform(now)
        found, result, errors = await ended(core, operation)
        assert found.state == OPERATION_STATE_FAILED
        assert "1 versions are left" in found.error
        assert (found.done, found.failed, found.total) == (3, 1, 3)
        assert (result.versions_moved, result.versions_left) == (2, 1)
        [error] = errors
        assert error.address.study_instance_uid == study
        assert "truncated or have changed" in error.message
    assert damaged.exists()
    with pytest.raises(StartError, match="without an id"):
        prepare(now.model_copy(update={"blobs_also": ""}))


async def test_blobs_are_moved_to_the_primary_store_only_and_the_error_says_how_to_change_it(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with archive(settings) as (core, _):
        for to, message in ((f"{tmp_path.as_uri()}/new", "DICOMSTORE_BLOBS_ALSO to"), ("", "is not the primary store")):
            with pytest.raises(grpc.aio.AioRpcError, match=message):
                await start(core, to)
        with pytest.raises(grpc.aio.AioRpcError, match="negative"):
            await start(core, settings.blobs_url, max_bytes_per_second=-1)
        operation = await start(core, f"{settings.blobs_url}/")  # nothing to move
        await perform(settings)
        found, _, _ = await ended(core, operation)
        assert (found.state, found.done) == (OPERATION_STATE_SUCCEEDED, 0)


async def test_nothing_is_moved_while_a_process_still_writes_to_the_old_store(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "data")
    await filled(settings, 3)
    now = after(settings)
    both = now.model_copy(update={"blobs": now.blobs_also, "blobs_also": now.blobs})
    async with archive(both), archive(now) as (core, _):
        operation = await start(core, now.blobs_url)
        await perform(now)
        found, result, _ = await ended(core, operation)
        assert found.state == OPERATION_STATE_FAILED
        assert "start it again with the present settings" in found.error
        assert result.versions_moved == 0


async def test_a_cancelled_move_keeps_what_is_moved_and_another_one_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "_PAGE", 4)
    settings = settings_for(tmp_path / "data")
    stored = await filled(settings, 6)
    now = after(settings)
    async with archive(now) as (core, web):
        operation = await start(core, now.blobs_url)
        with pytest.raises(grpc.aio.AioRpcError, match="is not finished"):
            await start(core, now.blobs_url)
        await perform(now, most_steps=1)
        async with grpc.aio.insecure_channel(core.address) as channel:
            await OperationServiceStub(channel).CancelOperation(CancelOperationRequest(id=operation))
        await perform(now)
        found, first, _ = await ended(core, operation)
        assert (found.state, found.total) == (OPERATION_STATE_CANCELED, 18)
        assert 0 < first.versions_moved < 18
        await require_all(web, stored)
        operation = await start(core, now.blobs_url)
        await perform(now)
        found, second, _ = await ended(core, operation)
        assert found.state == OPERATION_STATE_SUCCEEDED
        assert first.versions_moved + second.versions_moved == 18
        assert second.old_copies_until.ToDatetime(UTC) > datetime.now(UTC) + timedelta(hours=71)
        await require_all(web, stored)


async def test_a_long_copy_is_recorded_as_progress_so_that_no_other_worker_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "_HEARTBEAT_SECONDS", 0.02)
    settings = settings_for(tmp_path / "data")
    async with archive(settings) as (_, web):
        large = part10(Rows=1000, Columns=1500, frames=[bytes(1_500_000)])
        assert (await stow(web, large)).status_code == 200
    now = after(settings)
    async with archive(now) as (core, _):
        operation = await start(core, now.blobs_url, max_bytes_per_second=3_000_000)
        working = asyncio.create_task(perform(now))
        times = set()
        while not working.done():
            found, _, _ = await ended(core, operation)
            if not found.done:
                times.add(found.updated.ToDatetime())
            await asyncio.sleep(0.01)
        await working
        assert len(times) > 3
        assert (await ended(core, operation))[1].versions_moved == 1
