"""Data partitions."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from server.adapters.sql.core.tables import partition_usage, partitions
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.model.ids import PartitionName
from server.model.partition import DuplicatePolicy, Partition


class PartitionKeys:
    """Keys of partitions by name. They never change, so they are cached."""

    def __init__(self) -> None:
        self._known: dict[PartitionName, int] = {}

    def of(self, connection: Connection, names: Collection[PartitionName]) -> dict[PartitionName, int]:
        """Return the keys of existing partitions."""
        unknown = [name for name in set(names) if name not in self._known]
        if unknown:
            rows = connection.execute(select(partitions.c.name, partitions.c.key).where(partitions.c.name.in_(unknown)))
            self._known.update((PartitionName(name), key) for name, key in rows)
        return {name: self._known[name] for name in names if name in self._known}

    def one(self, connection: Connection, name: PartitionName) -> int | None:
        """Return the key of a partition; None if it does not exist."""
        return self.of(connection, (name,)).get(name)


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

    async def create(self, name: PartitionName, now: datetime) -> Partition | None:
        """See the port."""
        return await self._transactions.write(lambda connection: _create(connection, name, now), alone=True)

    async def update(self, name: PartitionName, duplicates: DuplicatePolicy | None) -> Partition | None:
        """See the port."""
        return await self._transactions.write(lambda connection: _update(connection, name, duplicates), alone=True)


def _partition(row: Any) -> Partition:
    policy = None if row.duplicates is None else DuplicatePolicy(row.duplicates)
    return Partition(row.key, PartitionName(row.name), to_datetime(row.created), policy)


def _update(connection: Connection, name: PartitionName, policy: DuplicatePolicy | None) -> Partition | None:
    changed = update(partitions).where(partitions.c.name == name)
    connection.execute(changed.values(duplicates=None if policy is None else int(policy)))
    return _get(connection, name)


def _list(connection: Connection, names: Collection[PartitionName] | None) -> list[Partition]:
    query = select(partitions).order_by(partitions.c.key)
    rows = connection.execute(query if names is None else query.where(partitions.c.name.in_(names)))
    return [_partition(row) for row in rows]


def _get(connection: Connection, name: PartitionName) -> Partition | None:
    row = connection.execute(select(partitions).where(partitions.c.name == name)).one_or_none()
    return None if row is None else _partition(row)


def _create(connection: Connection, name: PartitionName, now: datetime) -> Partition | None:
    if _get(connection, name):
        return None
    created = to_microseconds(now)
    key = connection.execute(select(func.max(partitions.c.key))).scalar_one() + 1
    connection.execute(insert(partitions), {"key": key, "name": name, "created": created})
    return Partition(key, name, to_datetime(created))
