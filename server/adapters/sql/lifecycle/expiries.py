"""The record of expiry."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from server.adapters.sql.core import counters
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.shards import shard_of
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.lifecycle import expiries, holds
from server.adapters.sql.tables.studies import studies
from server.adapters.sql.writing.deleting import delete_resource
from server.model.ids import Address, PartitionName, Uid
from server.model.lifecycle.expiry import Expiry
from server.ports.journal import ExpiryChange

_IS_HELD = (
    select(holds.c.key)
    .where(holds.c.partition_key == expiries.c.partition_key, holds.c.study_uid == expiries.c.study_uid)
    .correlate(expiries)
    .exists()
)


class SqlExpiries:
    """`server.ports.lifecycle.expiries.Expiries` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def set(self, study: Address, expiry: Expiry | None, now: datetime) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            partition_key = self._partition_keys.one(connection, study.partition)
            return partition_key is not None and _set(connection, partition_key, study, expiry, now)

        return await self._transactions.write(work)

    async def get(self, study: Address) -> Expiry | None:
        """See the port."""

        def work(connection: Connection) -> Expiry | None:
            partition_key = self._partition_keys.one(connection, study.partition)
            row = None if partition_key is None else _row(connection, partition_key, study)
            return None if row is None else Expiry(to_datetime(row.expires), row.author, to_datetime(row.time))

        return await self._transactions.read(work)

    async def due(self, now: datetime, limit: int) -> Sequence[Address]:
        """See the port."""
        found = (
            select(partitions.c.name, expiries.c.study_uid)
            .join_from(expiries, partitions, partitions.c.key == expiries.c.partition_key)
            .where(expiries.c.expires <= to_microseconds(now), ~_IS_HELD)
            .order_by(expiries.c.expires, expiries.c.study_key)
            .limit(limit)
        )
        return await self._transactions.read(
            lambda connection: [
                Address(PartitionName(row.name), Uid(row.study_uid)) for row in connection.execute(found)
            ]
        )

    async def expire(
        self, study: Address, due: datetime, now: datetime, erase_after: datetime, *, author: str, reason: str
    ) -> int:
        """See the port."""

        def work(connection: Connection) -> int:
            partition_key = self._partition_keys.one(connection, study.partition)
            if partition_key is None or not _is_due(connection, partition_key, study, due):
                return 0
            return delete_resource(connection, partition_key, study, now, erase_after, reason, author)

        return await self._transactions.write(work)


def _set(connection: Connection, partition_key: int, study: Address, expiry: Expiry | None, now: datetime) -> bool:
    assert study.study is not None, "a study"
    shard = shard_of(connection, partition_key, study.study)
    last = counters.lock(connection, [shard])
    found = select(studies.c.key).where(studies.c.partition_key == partition_key, studies.c.uid == study.study)
    study_key = connection.execute(found).scalar()
    if study_key is None:
        return False
    version = last.next_version()  # an index without this change is recognised as older
    if progress := progress_of(connection.info):
        progress.journal.expires(ExpiryChange(version, to_datetime(last.time(now)), study, expiry))
    connection.execute(delete(expiries).where(expiries.c.study_key == study_key))
    if expiry is not None:
        row = {
            "study_key": study_key,
            "shard": shard,
            "partition_key": partition_key,
            "study_uid": study.study,
            "expires": to_microseconds(expiry.expires),
            "author": expiry.author,
            "time": to_microseconds(expiry.time),
        }
        connection.execute(insert(expiries), row)
    last.save()
    return True


def _is_due(connection: Connection, partition_key: int, study: Address, due: datetime) -> bool:
    assert study.study is not None, "a study"
    counters.lock(connection, [shard_of(connection, partition_key, study.study)])
    row = _row(connection, partition_key, study, ~_IS_HELD, expiries.c.expires <= to_microseconds(due))
    return row is not None


def _row(connection: Connection, partition_key: int, study: Address, *conditions: Any) -> Any:
    return connection.execute(
        select(expiries)
        .join_from(expiries, studies, studies.c.key == expiries.c.study_key)
        .where(studies.c.partition_key == partition_key, studies.c.uid == study.study, *conditions)
    ).one_or_none()
