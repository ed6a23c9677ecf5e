"""DeleteService, as specified in protos/dicomstore/v1/delete_service.proto."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from tests.core import CoreClient, Ref, reason_of, ref_of
from tests.data import new_uid, part10
from tests.integration.conftest import a_core


async def count(core: CoreClient, resource: object) -> int:
    try:
        return len(await core.retrieve(resource))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return 0


async def test_deleting_an_instance_keeps_its_siblings(core: CoreClient) -> None:
    study = new_uid()
    one, other = await core.stored(part10(StudyInstanceUID=study), part10(StudyInstanceUID=study))
    assert await core.delete(ref_of(one)) == 1
    assert await count(core, ref_of(one)) == 0
    assert await count(core, ref_of(other)) == 1


async def test_deleting_the_last_instance_removes_series_and_study(core: CoreClient) -> None:
    [stored] = await core.stored(part10())
    await core.delete(ref_of(stored))
    assert await count(core, Ref(study_instance_uid=stored.id.study_instance_uid)) == 0


async def test_deleting_a_study_removes_all_of_it_with_one_change_entry_per_instance(core: CoreClient) -> None:
    study = new_uid()
    await core.stored(*(part10(StudyInstanceUID=study) for _ in range(3)))
    assert await core.delete(Ref(study_instance_uid=study)) == 3
    assert len(await core.changes(after_sequence=3)) == 3


async def test_a_second_delete_deletes_nothing(core: CoreClient) -> None:
    [stored] = await core.stored(part10())
    assert [await core.delete(ref_of(stored)) for _ in range(2)] == [1, 0]


async def test_a_deleted_instance_may_be_stored_again_at_once(core: CoreClient) -> None:
    body = part10()
    [first] = await core.stored(body)
    await core.delete(ref_of(first))
    [second] = await core.stored(body)
    assert second.version > first.version


async def test_a_deletion_is_recorded_with_the_principal_of_the_call(core: CoreClient) -> None:
    [stored] = await core.stored(part10())
    await core.delete(ref_of(stored))
    with closing(sqlite3.connect(core.data / "index.db")) as connection:
        assert connection.execute("SELECT author, instances FROM deletions").fetchall() == [("anonymous", 1)]


async def test_a_study_is_required(core: CoreClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await core.delete(Ref())
    assert reason_of(caught.value) == "INVALID_FIELD"


async def test_deleting_in_one_partition_keeps_the_other(partitioned_core: CoreClient) -> None:
    body = part10()
    for name in ("a", "b"):
        [stored] = await partitioned_core.stored(body, address={"partition": name}, create_partition=True)
    resource = ref_of(stored)
    resource.partition = "a"
    assert await partitioned_core.delete(resource) == 1
    resource.partition = "b"
    assert await count(partitioned_core, resource) == 1


async def test_bytes_are_retained_for_the_retention_time_and_then_erased(tmp_path: Path) -> None:
    async with a_core(tmp_path, retention_hours=1) as core:
        [stored] = await core.stored(part10())
        await core.delete(ref_of(stored))
    async with a_core(tmp_path, retention_hours=0, erase_interval_seconds=0.01) as core:
        assert await core.blob_count() == 1  # the delete fixed its retention time
        [stored] = await core.stored(part10())
        await core.delete(ref_of(stored))
        while await core.blob_count() > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
