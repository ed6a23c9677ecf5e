"""An index older than the data directory is served read-only (server/domain/read_only.py)."""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from dicomstore.v1 import extended_query_tag_service_pb2 as tags
from dicomstore.v1 import extended_query_tag_service_pb2_grpc
from dicomstore.v1 import search_service_pb2 as search
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from server.bootstrap.working import working
from server.opening import StartError, check_binding, migrate
from tests.core import CoreClient, Ref, reason_of, settings_for, store_requests, stream_reason
from tests.data import new_uid, part10
from tests.integration.conftest import a_core
from tests.integration.test_opening import contents, remove_index

Change = Callable[[CoreClient, str], Awaitable[object]]


async def store(core: CoreClient, study: str) -> None:
    await core.stored(part10(StudyInstanceUID=study))


async def delete(core: CoreClient, study: str) -> None:
    assert await core.delete(Ref(study_instance_uid=study)) == 1


@dataclass
class Older:
    """An archive of one study whose index was copied before a later change."""

    data: Path
    study: str

    @asynccontextmanager
    async def started(self) -> AsyncIterator[CoreClient]:
        async with a_core(self.data) as core:
            yield core


@pytest.fixture
async def older(tmp_path: Path, request: pytest.FixtureRequest) -> Older:
    change: Change = getattr(request, "param", store)
    data, study = tmp_path / "data", new_uid()
    async with a_core(data) as core:
        await store(core, study)
        await store(core, "1.2.3")
    shutil.copy(data / "index.db", tmp_path / "older.db")
    async with a_core(data) as core:
        await change(core, "1.2.4" if change is store else "1.2.3")
    shutil.copytree(data, tmp_path / "right")
    remove_index(data)
    shutil.copy(tmp_path / "older.db", data / "index.db")
    return Older(data, study)


async def health(core: CoreClient, service: str) -> int:
    answer = await HealthStub(core.channel).Check(HealthCheckRequest(service=service))
    return int(answer.status)


async def refused(core: CoreClient, study: str) -> None:
    """Check that every kind of change is refused."""
    requests = store_requests([part10()])
    assert await stream_reason(core.store_stub.StoreInstances(requests)) == "ARCHIVE_READ_ONLY"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await delete(core, study)
    assert reason_of(caught.value) == "ARCHIVE_READ_ONLY"
    stub = extended_query_tag_service_pb2_grpc.ExtendedQueryTagServiceStub(core.channel)
    new = tags.NewExtendedQueryTag(path="00081010", vr="SH", level=search.QUERY_LEVEL_STUDY)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.AddExtendedQueryTags(tags.AddExtendedQueryTagsRequest(tags=[new]))
    assert reason_of(caught.value) == "ARCHIVE_READ_ONLY"


@pytest.mark.parametrize("older", [store, delete], indirect=True)
async def test_an_older_index_is_served_read_only_until_the_right_one_is_restored(older: Older) -> None:
    before = contents(older.data)
    for _ in range(2):
        async with older.started() as core:
            assert len(await core.retrieve(Ref(study_instance_uid=older.study))) == 1
            await refused(core, older.study)
            assert await health(core, "changes") == HealthCheckResponse.NOT_SERVING
            assert await health(core, "") == HealthCheckResponse.SERVING
        assert contents(older.data) == before
    assert "older copy" in check_binding(settings_for(older.data))
    remove_index(older.data)
    shutil.copy(older.data.parent / "right" / "index.db", older.data / "index.db")
    async with older.started() as core:
        assert await health(core, "changes") == HealthCheckResponse.SERVING
        await store(core, new_uid())
    assert check_binding(settings_for(older.data)) == ""


async def test_an_older_index_is_not_migrated(older: Older) -> None:
    with sqlite3.connect(older.data / "index.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0008'")
    connection.close()
    with pytest.raises(StartError, match=r"0008.*can't be migrated.*older copy"):
        async with older.started():
            pass
    with pytest.raises(StartError, match="can't be migrated"):
        migrate(settings_for(older.data))


async def test_a_worker_does_nothing_on_a_read_only_archive(older: Older) -> None:
    async with working(settings_for(older.data)) as engine:
        assert engine is None


async def test_replacing_the_index_by_an_older_one_makes_a_running_core_read_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = new_uid()
    async with a_core(tmp_path) as core:
        await store(core, study)
        await store(core, new_uid())
        with sqlite3.connect(tmp_path / "index.db") as connection:
            connection.execute("UPDATE counters SET version = version - 1")
        connection.close()
        [outcome] = await core.store(part10())
        assert outcome.failed.reason == 124
        await refused(core, study)
        assert len(await core.retrieve(Ref(study_instance_uid=study))) == 1
    assert "replaced or restored while the program was running" in caplog.text
