"""The record of storage commitment requests."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.lifecycle import commitments
from server.model.ids import PartitionName, Uid
from server.model.lifecycle.commitment import Commitment, FailureReason, Failures, Reference

_c = commitments.c
_REQUESTS = select(commitments, partitions.c.name.label("partition")).join_from(
    commitments, partitions, partitions.c.key == _c.partition_key
)


class SqlCommitments:
    """`server.ports.lifecycle.commitments.CommitmentRecord` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def add(self, commitment: Commitment, expired: datetime) -> bool:
        """See the port. Alone, because another process may add the same one."""

        def work(connection: Connection) -> bool:
            key = self._partition_keys.one(connection, commitment.partition)
            assert key is not None, "access to the partition was permitted"
            connection.execute(
                delete(commitments).where(_c.created < to_microseconds(expired), _c.failures.is_not(None))
            )
            if connection.execute(_named(commitment.partition, commitment.transaction_uid)).one_or_none() is not None:
                return False
            last = connection.execute(select(func.coalesce(func.max(_c.key), 0))).scalar_one()
            connection.execute(insert(commitments), {"key": last + 1, "partition_key": key, **_row(commitment)})
            return True

        return await self._transactions.write(work, alone=True)

    async def get(self, partition: PartitionName, transaction_uid: Uid) -> Commitment | None:
        """See the port."""

        def work(connection: Connection) -> Commitment | None:
            row = connection.execute(_named(partition, transaction_uid)).one_or_none()
            return None if row is None else _commitment(row)

        return await self._transactions.read(work)

    async def finish(self, partition: PartitionName, transaction_uid: Uid, failures: Failures) -> None:
        """See the port."""

        def work(connection: Connection) -> None:
            row = connection.execute(_named(partition, transaction_uid)).one_or_none()
            if row is not None:
                unfinished = update(commitments).where(_c.key == row.key, _c.failures.is_(None))
                connection.execute(unfinished.values(failures=_text_of(failures)))

        await self._transactions.write(work)

    async def oldest_unfinished(self) -> Commitment | None:
        """See the port."""
        oldest = _REQUESTS.where(_c.failures.is_(None)).order_by(_c.key).limit(1)

        def work(connection: Connection) -> Commitment | None:
            row = connection.execute(oldest).one_or_none()
            return None if row is None else _commitment(row)

        return await self._transactions.read(work)


def _named(partition: PartitionName, transaction_uid: Uid) -> Any:
    return _REQUESTS.where(partitions.c.name == partition, _c.transaction_uid == transaction_uid)


def _row(commitment: Commitment) -> dict[str, Any]:
    references = [[one.sop_class_uid, one.instance, one.study, one.series] for one in commitment.references]
    return {
        "transaction_uid": commitment.transaction_uid,
        "created": to_microseconds(commitment.created),
        "author": commitment.author,
        "request": json.dumps(references),
        "failures": None if commitment.failures is None else _text_of(commitment.failures),
    }


def _text_of(failures: Failures) -> str:
    return json.dumps(sorted((position, int(reason)) for position, reason in failures.items()))


def _commitment(row: Any) -> Commitment:
    return Commitment(
        partition=PartitionName(row.partition),
        transaction_uid=row.transaction_uid,
        created=to_datetime(row.created),
        author=row.author,
        references=[Reference(*uids) for uids in json.loads(row.request)],
        failures=None
        if row.failures is None
        else {position: FailureReason(reason) for position, reason in json.loads(row.failures)},
    )
