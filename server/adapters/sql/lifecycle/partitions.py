"""Data partitions."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.search.study_search import blocks_of_partition
from server.adapters.sql.tables.archive import partition_usage, partitions
from server.adapters.sql.writing.partition_deleting import (
    begin_deletion,
    delete_from_worklist,
    delete_study,
    end_deletions,
    has_worklist,
    next_study,
    open_partition_deletions,
)
from server.model.errors import Reason, WrongState
from server.model.ids import Address, PartitionName
from server.model.partition import DuplicatePolicy, Partition, PartitionUsage


class SqlPartitions:
    """`server.ports.index.Partitions` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def list(self, names: Collection[PartitionName] | None = None) -> list[Partition]:
        """See the port."""
        return await self._transactions.read(lambda connection: _list(connection, names))

    async def get(self, name: PartitionName) -> Partition | None:
        """See the port."""
        return await self._transactions.read(lambda connection: _get(connection, name))

    async def stored_bytes(self, name: PartitionName) -> int:
        """See the port."""
        total = (
            select(func.coalesce(func.sum(partition_usage.c.stored_bytes), 0))
            .join_from(partition_usage, partitions, partitions.c.key == partition_usage.c.partition_key)
            .where(partitions.c.name == name)
        )
        # PostgreSQL returns the sum of such columns as a decimal.
        return await self._transactions.read(lambda connection: int(connection.execute(total).scalar_one()))

    async def usage(self, names: Collection[PartitionName] | None = None) -> Sequence[PartitionUsage]:
        """See the port."""
        return await self._transactions.read(lambda connection: _usage(connection, names))

    async def create(self, name: PartitionName, now: datetime) -> Partition | None:
        """See the port."""
        return await self._transactions.write(lambda connection: _create(connection, name, now), alone=True)

    async def delete(self, name: PartitionName, now: datetime) -> bool:
        """See the port."""
        return await self._transactions.write(lambda connection: begin_deletion(connection, name, now), alone=True)

    async def purge(self, now: datetime, erase_after: datetime, *, reason: str, author: str) -> Address | None:
        """See the port."""
        found = await self._transactions.read(next_study)
        if found is not None:
            await self._transactions.write(
                lambda connection: delete_study(connection, *found, now, erase_after, reason, author)
            )
            return found[1]
        if await self._transactions.read(has_worklist):
            partition = await self._transactions.write(delete_from_worklist)
            return None if partition is None else Address(partition)
        if await self._transactions.read(open_partition_deletions):
            await self._transactions.write(end_deletions, alone=True)
        return None

    async def update(self, name: PartitionName, duplicates: DuplicatePolicy | None) -> Partition | None:
        """See the port."""
        return await self._transactions.write(lambda connection: _update(connection, name, duplicates), alone=True)


_EXISTS = partitions.c.deleted.is_(None)


def _partition(row: Any) -> Partition:
    policy = None if row.duplicates is None else DuplicatePolicy(row.duplicates)
    return Partition(row.key, PartitionName(row.name), to_datetime(row.created), policy)


def _update(connection: Connection, name: PartitionName, policy: DuplicatePolicy | None) -> Partition | None:
    changed = update(partitions).where(partitions.c.name == name, _EXISTS)
    connection.execute(changed.values(duplicates=None if policy is None else int(policy)))
    return _get(connection, name)


def _list(connection: Connection, names: Collection[PartitionName] | None) -> list[Partition]:
    query = select(partitions).where(_EXISTS).order_by(partitions.c.key)
    rows = connection.execute(query if names is None else query.where(partitions.c.name.in_(names)))
    return [_partition(row) for row in rows]


def _get(connection: Connection, name: PartitionName) -> Partition | None:
    row = connection.execute(select(partitions).where(partitions.c.name == name, _EXISTS)).one_or_none()
    return None if row is None else _partition(row)


def _usage(connection: Connection, names: Collection[PartitionName] | None) -> Sequence[PartitionUsage]:
    counted = ("series", "instances", "stored_bytes")
    sums = select(*(func.coalesce(func.sum(partition_usage.c[name]), 0).label(name) for name in counted)).where(
        partition_usage.c.partition_key == bindparam("of_partition")
    )
    blocks = blocks_of_partition(connection.dialect.name).subquery()
    total = select(func.coalesce(func.sum(blocks.c.studies), 0))
    found = []
    for partition in _list(connection, names):
        of_partition = {"of_partition": partition.key}
        numbers = connection.execute(sums, of_partition).one()
        studies = connection.execute(total, of_partition).scalar_one()
        # PostgreSQL returns the sum of such columns as a decimal.
        found.append(PartitionUsage(partition.name, int(studies), *map(int, numbers)))
    return found


def _create(connection: Connection, name: PartitionName, now: datetime) -> Partition | None:
    if _get(connection, name):
        return None
    created = to_microseconds(now)
    deleted = connection.execute(select(partitions).where(partitions.c.name == name)).one_or_none()
    if deleted is not None:
        if deleted.deletion_key is not None:
            raise WrongState(Reason.PARTITION_BEING_DELETED, "The partition is being deleted.", partition=name)
        again = update(partitions).where(partitions.c.key == deleted.key).values(deleted=None, created=created)
        connection.execute(again)
        return Partition(deleted.key, name, to_datetime(created))
    key = connection.execute(select(func.max(partitions.c.key))).scalar_one() + 1
    connection.execute(insert(partitions), {"key": key, "name": name, "created": created})
    return Partition(key, name, to_datetime(created))
