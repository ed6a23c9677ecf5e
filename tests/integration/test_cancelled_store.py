"""A store cancelled between writing the blob and committing the row leaves no blob (server/domain/store/receive.py)."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.adapters.blobs.memory.blobs import MemoryBlobs
from server.adapters.sql.engine import migrate, open_database
from server.domain.access import Access
from server.domain.damage import DamageRecord
from server.domain.partition_names import PartitionNames
from server.domain.partitions import DuplicatePolicies
from server.domain.read_only import ReadOnlyState
from server.domain.store.commit import Committer
from server.domain.store.commit_order import CommitOrder
from server.domain.store.quota import Quotas
from server.domain.store.receive import Store
from server.domain.store.writability import Writing
from server.model.call import EVERYBODY, Call
from server.model.ids import NO_PARTITION, Address
from server.model.instance import ValidationMode
from server.model.partition import DuplicatePolicy
from server.model.receipt import Receipt
from tests.data import part10


def now() -> datetime:
    return datetime.now(UTC)


async def test_an_instance_cancelled_while_it_waits_to_commit_leaves_no_blob(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/index.db"
    await asyncio.to_thread(migrate, url)
    database, blobs = open_database(url), MemoryBlobs()
    committer = Committer(blobs, database.instances, now, lambda: None, now)
    names = PartitionNames(database.partitions, enabled=False, now=now)
    store = Store(
        blobs=blobs,
        committer=committer,
        writing=Writing(blobs, database.instances, low_bytes=0),
        access=Access(names, ReadOnlyState()),
        partitions=names,
        receipt=lambda partition: Receipt(partition, now(), 0),
        max_instance_bytes=1 << 20,
        max_header_bytes=1 << 20,
        damage=DamageRecord(database.instances),
        quotas=Quotas(database.partitions, {}),
        policies=DuplicatePolicies(database.partitions, DuplicatePolicy.REJECT),
        labels=database.labels,
        now=now,
    )
    target = await store.target(
        Call("r1", EVERYBODY), Address(NO_PARTITION), create_partition=False, mode=ValidationMode.LENIENT
    )
    receiver = store.receive(target)
    await receiver.write(part10())
    finishing = asyncio.create_task(receiver.finish(order=CommitOrder(before=CommitOrder())))
    while not [locator async for locator, _ in blobs.walk()]:  # noqa: ASYNC110 - the blob store has no event for it
        await asyncio.sleep(0)
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    await committer.resolve_in_doubt()
    assert [locator async for locator, _ in blobs.walk()] == []
    await database.close()
