"""The index of instances and their blobs. Each call is one transaction, implemented in another module."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from server.adapters.sql import earlier, reading
from server.adapters.sql.audit_outbox import change_outbox
from server.adapters.sql.core.counters import touch
from server.adapters.sql.core.sessions import Work
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.deletion_list import list_deletions
from server.adapters.sql.lifecycle.retained import kept
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.search.counting import count
from server.adapters.sql.search.search import check_size, search
from server.adapters.sql.state.schema import state_of_schema
from server.adapters.sql.writing.adding import add
from server.adapters.sql.writing.damage import change_damage
from server.adapters.sql.writing.deleting import delete_resource
from server.adapters.sql.writing.erasing import deleted_versions, erase_now
from server.adapters.sql.writing.locators import (
    begin_erasure,
    erased,
    has_erasable,
    known,
    referenced,
    relocate,
    visible,
)
from server.adapters.sql.writing.restoring import Step, undelete
from server.adapters.sql.writing.sequencing import number, to_do
from server.adapters.sql.writing.versioning import add_version, history
from server.model.damage import Damage
from server.model.errors import Reason, Unavailable
from server.model.ids import Address, InstanceId, PartitionName, Uid, Version
from server.model.instance import (
    Added,
    AddOutcome,
    BulkElement,
    Faulty,
    InstanceMetadata,
    InstanceVersion,
    Locator,
    NewInstance,
    PixelLayout,
    ResourceState,
    StoredInstance,
)
from server.model.lifecycle.deletion import Deletion, DeletionQuery
from server.model.lifecycle.erasure import ErasedVersion
from server.model.lifecycle.kept import KeptVersion
from server.model.search.query import Match, Query
from server.ports.index import Batch
from server.ports.outbox import DeletionRecordOf, RecordsOf
from server.ports.tags import Extract

Result = TypeVar("Result")
_Step = Callable[[Connection, int], Step]


class SqlInstanceIndex:
    """`server.ports.index.InstanceIndex` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys, extract: Extract) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys
        self._extract = extract

    async def add(self, instances: Batch, now: datetime, records_of: RecordsOf | None = None) -> list[AddOutcome]:
        """See the port."""
        return await self._transactions.write(
            lambda connection: add(connection, self._partition_keys, instances, now, self._extract, records_of),
        )

    async def delete(
        self,
        resource: Address,
        now: datetime,
        erase_after: datetime,
        *,
        reason: str = "",
        author: str = "",
        record_of: DeletionRecordOf | None = None,
    ) -> int:
        """See the port."""

        def work(connection: Connection, partition_key: int) -> int:
            count = delete_resource(connection, partition_key, resource, now, erase_after, reason, author)
            if count and record_of is not None:
                change_outbox(connection, record_of(count))
            return count

        return await self._transactions.write(self._in_partition(resource.partition, work, missing=0))

    async def undelete(self, resource: Address, now: datetime, not_erased_at: datetime) -> int:
        """See the port."""
        return await self._in_steps(
            resource.partition, lambda after: partial(self._undelete, resource, after, now, not_erased_at)
        )

    async def erase_now(self, resource: Address, now: datetime, *, reason: str = "", author: str = "") -> int:
        """See the port."""
        return await self._in_steps(
            resource.partition,
            lambda _: lambda connection, key: erase_now(connection, key, resource, now, reason, author),
        )

    async def _in_steps(self, partition: PartitionName, step_after: Callable[[int], _Step]) -> int:
        """Run the transactions of the steps; return the sum of their counts."""
        count, after = 0, 0
        while True:
            step = await self._transactions.write(
                self._in_partition(partition, step_after(after), missing=Step(0, None))
            )
            count += step.count
            if step.after is None:
                return count
            after = step.after
            if step.waits and self._transactions.has_sequencer:
                await self._transactions.number(lambda connection: number(connection, to_do(connection)))

    async def deletions(self, query: DeletionQuery, before: int | None, limit: int) -> list[Deletion]:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                query.scope.partition,
                lambda connection, key: list_deletions(connection, key, query, before, limit),
                missing=[],
            )
        )

    def _undelete(
        self,
        resource: Address,
        after: int,
        now: datetime,
        not_erased_at: datetime,
        connection: Connection,
        partition_key: int,
    ) -> Step:
        return undelete(connection, partition_key, resource, after, now, not_erased_at, self._extract)

    async def add_version(self, instance: NewInstance, now: datetime) -> Added | Faulty | None:
        """See the port."""
        return await self._transactions.write(
            lambda connection: add_version(connection, self._partition_keys, instance, now, self._extract)
        )

    async def history(self, resource: Address, after: int = 0, limit: int = 500) -> Sequence[InstanceVersion]:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                resource.partition,
                lambda connection, key: history(connection, key, resource, after, limit),
                missing=[],
            )
        )

    async def find(
        self, resource: Address, after: int = 0, limit: int = 500, *, as_of: int | None = None
    ) -> list[StoredInstance]:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                resource.partition,
                lambda connection, key: reading.find(connection, key, resource, after, limit, as_of),
                missing=[],
            )
        )

    async def find_by_uid(self, partition: PartitionName, uids: Collection[Uid]) -> list[StoredInstance]:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                partition, lambda connection, key: reading.find_by_uid(connection, key, uids), missing=[]
            )
        )

    async def find_originals(self, resource: Address, after: int = 0, limit: int = 500) -> list[StoredInstance]:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                resource.partition,
                lambda connection, key: earlier.originals(connection, key, resource, after, limit),
                missing=[],
            )
        )

    async def original_state(self, resource: Address) -> ResourceState | None:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                resource.partition,
                lambda connection, key: earlier.original_state(connection, key, resource),
                missing=None,
            )
        )

    async def damaged(self, resource: Address, after: int, limit: int) -> list[StoredInstance]:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                resource.partition,
                lambda connection, key: reading.damaged(connection, key, resource, after, limit),
                missing=[],
            )
        )

    async def add_damage(self, version: Version, damage: Damage) -> None:
        """See the port."""
        await self._transactions.write(
            lambda connection: change_damage(connection, version, lambda known: known.with_more(damage))
        )

    async def remove_damage(self, version: Version, damage: Damage) -> None:
        """See the port."""
        await self._transactions.write(
            lambda connection: change_damage(connection, version, lambda known: known.without(damage))
        )

    async def state(self, resource: Address) -> ResourceState | None:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                resource.partition,
                lambda connection, key: reading.state(connection, key, resource),
                missing=None,
            )
        )

    async def first_stored(self, resource: Address) -> datetime | None:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                resource.partition,
                lambda connection, key: reading.first_stored(connection, key, resource),
                missing=None,
            )
        )

    async def metadata(
        self, resource: Address, after: int, limit: int, as_of: int | None = None
    ) -> list[InstanceMetadata]:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                resource.partition,
                lambda connection, key: reading.metadata_of(connection, key, resource, after, limit, as_of),
                missing=[],
            )
        )

    async def find_version(self, instance: InstanceId, version: Version) -> StoredInstance | None:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                instance.partition,
                lambda connection, key: reading.find_version(connection, key, instance, version),
                missing=None,
            )
        )

    async def dicom_json(self, instance: InstanceId, version: Version) -> bytes | None:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                instance.partition,
                lambda connection, key: reading.dicom_json_of(connection, key, instance, version),
                missing=None,
            )
        )

    async def frames(
        self, instance: InstanceId, frames: Sequence[int], version: Version | None = None
    ) -> tuple[StoredInstance, PixelLayout | None, dict[int, tuple[int, int]]] | None:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                instance.partition,
                lambda connection, key: reading.frames_of(connection, key, instance, frames, version),
                missing=None,
            )
        )

    async def bulk(
        self, instance: InstanceId, path: str, version: Version | None = None
    ) -> tuple[StoredInstance, BulkElement | None] | None:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                instance.partition,
                lambda connection, key: reading.bulk_of(connection, key, instance, path, version),
                missing=None,
            )
        )

    async def bulk_elements(self, instance: InstanceId, version: Version, after: str, limit: int) -> list[BulkElement]:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                instance.partition,
                lambda connection, key: reading.bulk_elements_of(connection, key, instance, version, after, limit),
                missing=[],
            )
        )

    async def version_at(self, resource: Address, position: int) -> int | None:
        """See the port."""
        return await self._transactions.read(
            self._in_partition(
                resource.partition,
                lambda connection, key: reading.version_at(connection, key, resource, position),
                missing=None,
            )
        )

    async def search(self, query: Query) -> list[Match]:
        """See the port.

        Raises:
            InvalidRequest: INVALID_QUERY, the query has more values than a statement supports.
        """
        check_size(query.conditions)
        return await self._transactions.search(
            self._in_partition(
                query.scope.partition,
                lambda connection, key: search(connection, key, query),
                missing=[],
            )
        )

    async def count(self, query: Query) -> int:
        """See the port."""
        check_size(query.conditions)
        return await self._transactions.search(
            self._in_partition(
                query.scope.partition,
                lambda connection, key: count(connection, key, query),
                missing=0,
            )
        )

    async def known(self, locators: Collection[Locator]) -> set[Locator]:
        """See the port. Waits for running transactions, so that the result is final."""
        return await self._transactions.write(lambda connection: known(connection, locators), alone=True)

    async def referenced(self, locators: Collection[Locator]) -> set[Locator]:
        """See the port."""
        return await self._transactions.read(lambda connection: referenced(connection, locators))

    async def relocate(self, moves: Mapping[Locator, Locator], erase_after: datetime) -> set[Locator]:
        """See the port."""
        return await self._transactions.write(lambda connection: relocate(connection, moves, erase_after))

    async def begin_erasure(self, now: datetime, limit: int) -> list[Locator]:
        """See the port."""
        if not await self._transactions.read(lambda connection: has_erasable(connection, now)):
            return []
        return await self._transactions.write(lambda connection: begin_erasure(connection, now, limit))

    async def deleted_versions(self, locators: Sequence[Locator]) -> list[ErasedVersion]:
        """See the port."""
        return await self._transactions.read(lambda connection: deleted_versions(connection, locators))

    async def erased(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self._transactions.write(lambda connection: erased(connection, locators))

    async def locators(self, after: int, limit: int) -> list[StoredInstance]:
        """See the port."""
        return await self._transactions.read(lambda connection: visible(connection, after, limit))

    async def kept_versions(self, after: int, limit: int) -> list[KeptVersion]:
        """See the port."""
        return await self._transactions.read(lambda connection: kept(connection, after, limit))

    async def check(self) -> None:
        """See the port."""
        await self._transactions.read(_check)

    async def check_writing(self) -> None:
        """See the port."""
        await self._transactions.write(touch)

    def _in_partition(
        self, name: PartitionName, work: Callable[[Connection, int], Result], *, missing: Result
    ) -> Work[Result]:
        """Return work that also gets the key of a partition, and has the result `missing` if it does not exist."""

        def with_key(connection: Connection) -> Result:
            key = self._partition_keys.one(connection, name)
            return missing if key is None else work(connection, key)

        return with_key


def _check(connection: Connection) -> None:
    schema = state_of_schema(connection)
    if not schema.is_usable:
        raise Unavailable(
            Reason.DATABASE_UNAVAILABLE,
            f"The database has schema {schema.present or 'none'}, this program needs {schema.wanted}.",
        )
