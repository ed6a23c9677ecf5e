"""Consistency of RetrieveMetadata while instances are stored and deleted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.adapters.blobs.memory.blobs import MemoryBlobs
from server.adapters.sql.engine import Database, open_database
from server.domain.access import Access
from server.domain.flow.response_budget import ResponseBudget
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.domain.retrieve.blob_reader import BlobReader
from server.domain.retrieve.metadata import OpenMetadata, RetrieveMetadata
from server.model.call import EVERYBODY, Call
from server.model.ids import NO_PARTITION, Address
from server.model.instance import ResourceState
from tests.contract.index.samples import NOON, identity, sample, study_ref
from tests.databases import migrated


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = migrated(tmp_path / "index.db")
    database = open_database(url)
    yield database
    await database.close()


async def opened(database: Database) -> OpenMetadata:
    access = Access(PartitionNames(database.partitions, enabled=False, now=lambda: NOON), ReadOnlyState())
    reading = BlobReader(MemoryBlobs(), ResponseBudget(1 << 20))
    retrieve = RetrieveMetadata(blob_reader=reading, index=database.instances, access=access, labels=database.labels)
    return await retrieve.open(Call("r1", EVERYBODY), Address(NO_PARTITION, study_ref().study), known=None)


async def store(database: Database, *numbers: int) -> None:
    await database.instances.add([sample(instance=number) for number in numbers], NOON)


async def delete(database: Database, number: int) -> None:
    await database.instances.delete(identity(instance=number).address, NOON, NOON)


async def test_instances_stored_during_the_response_are_not_part_of_it(database: Database) -> None:
    await store(database, *range(1, 61))
    answer = await opened(database)
    seen = list(await anext(answer.pages))
    await store(database, *range(61, 300))
    async for page in answer.pages:
        seen += page

    assert [item.id for item in seen] == [identity(instance=number) for number in range(1, 61)]
    assert answer.state == ResourceState(seen[-1].version, len(seen))


async def test_instances_deleted_during_the_response_are_left_out_without_replacement(database: Database) -> None:
    await store(database, *range(1, 61))
    answer = await opened(database)
    seen = list(await anext(answer.pages))
    for number in (1, 30, 60):
        await delete(database, number)
    await store(database, 30, 99)
    async for page in answer.pages:
        seen += page

    assert [item.id for item in seen] == [identity(instance=n) for n in range(1, 60) if n != 30]
    assert answer.state.instance_count == 60


@pytest.mark.parametrize("size", [10, 30_000, 700_000])
async def test_a_page_of_large_instances_has_few_of_them(database: Database, size: int) -> None:
    for number in range(1, 61):
        await database.instances.add([sample(instance=number, dicom_json=b" " * size)], NOON)
    pages = [page async for page in (await opened(database)).pages]

    assert sum(map(len, pages)) == 60
    assert all(len(page) == 1 or len(page) * size < 600_000 for page in pages[1:])
    assert len(pages[0]) == 20
