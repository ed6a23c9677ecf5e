"""The record of transfers between the archive and other systems."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.operations import transfers
from server.model.ids import Address, PartitionName, Uid
from server.model.lifecycle.transfer import (
    CommitmentReport,
    Notification,
    Pull,
    RetrieveMethod,
    Send,
    Transfer,
    TransferProgress,
    TransferState,
    TransferWork,
)
from server.ports.lifecycle.transfers import Change

_t = transfers.c


class SqlTransfers:
    """`server.ports.lifecycle.transfers.TransferRecord` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def add(self, transfer: Transfer, request_id: str, limit: int, expired: datetime) -> Transfer | None:
        """See the port. Alone, because another process may add one at the same time."""

        def work(connection: Connection) -> Transfer | None:
            connection.execute(delete(transfers).where(_t.due.is_(None), _t.updated < to_microseconds(expired)))
            if request_id:
                known = connection.execute(select(transfers).where(_t.request_id == request_id)).one_or_none()
                if known is not None:
                    return _transfer(known)
            unfinished = select(_t.key).where(_t.due.is_not(None)).limit(limit).subquery()
            if connection.execute(select(func.count()).select_from(unfinished)).scalar_one() >= limit:
                return None
            last = connection.execute(select(func.coalesce(func.max(_t.key), 0))).scalar_one()
            row = {"key": last + 1, "request_id": request_id or None, **_defined(transfer), **_state(transfer)}
            connection.execute(insert(transfers), row)
            return transfer

        return await self._transactions.write(work, alone=True)

    async def find(self, transfer_id: str) -> Transfer | None:
        """See the port."""
        named = select(transfers).where(_t.id == transfer_id)

        def work(connection: Connection) -> Transfer | None:
            row = connection.execute(named).one_or_none()
            return None if row is None else _transfer(row)

        return await self._transactions.read(work)

    async def list(
        self,
        *,
        partitions: Collection[PartitionName] | None,
        states: Collection[TransferState],
        remote: str,
        before: int | None,
        limit: int,
    ) -> Sequence[tuple[int, Transfer]]:
        """See the port."""
        newest = select(transfers).order_by(_t.key.desc()).limit(limit)
        if partitions is not None:
            newest = newest.where(_t.partition.in_(partitions))
        if states:
            newest = newest.where(_t.state.in_(map(int, states)))
        if remote:
            newest = newest.where(_t.remote == remote)
        if before is not None:
            newest = newest.where(_t.key < before)
        return await self._transactions.read(
            lambda connection: [(row.key, _transfer(row)) for row in connection.execute(newest)]
        )

    async def numbers(self) -> Mapping[TransferState, int]:
        """See the port."""
        counted = select(_t.state, func.count()).group_by(_t.state)
        return await self._transactions.read(
            lambda connection: {TransferState(state): count for state, count in connection.execute(counted)}
        )

    async def change(self, transfer_id: str, change: Change) -> Transfer | None:
        """See the port."""
        locked = select(transfers).where(_t.id == transfer_id).with_for_update()

        def work(connection: Connection) -> Transfer | None:
            row = connection.execute(locked).one_or_none()
            return None if row is None else _changed(connection, row, change)

        return await self._transactions.write(work)

    async def claim(self, now: datetime, limit: int, change: Change) -> Sequence[Transfer]:
        """See the port. Without transfers that are due, this only reads."""
        due = select(transfers).where(_t.due <= to_microseconds(now)).order_by(_t.due, _t.key).limit(limit)
        if not await self._transactions.read(lambda connection: connection.execute(due.limit(1)).one_or_none()):
            return ()
        locked = due.with_for_update(skip_locked=True)
        return await self._transactions.write(
            lambda connection: [_changed(connection, row, change) for row in connection.execute(locked).all()]
        )


def _changed(connection: Connection, row: Any, change: Change) -> Transfer:
    """Store and return the next state of a locked transfer."""
    transfer = _transfer(row)
    following = change(transfer)
    if following is None or following == transfer:
        return transfer
    connection.execute(update(transfers).where(_t.key == row.key).values(_state(following)))
    return following


def _defined(transfer: Transfer) -> dict[str, Any]:
    """Return the columns that never change."""
    return {
        "id": transfer.id,
        "partition": transfer.partition,
        "remote": transfer.remote,
        "work": json.dumps(_written(transfer.work)),
        "rule": transfer.rule,
        "creator": transfer.creator,
        "created": to_microseconds(transfer.created),
        "trace": transfer.trace or None,
    }


def _state(transfer: Transfer) -> dict[str, Any]:
    progress = transfer.progress
    return {
        "updated": to_microseconds(transfer.updated),
        "state": int(transfer.state),
        "attempts": transfer.attempts,
        "due": None if transfer.due is None else to_microseconds(transfer.due),
        "lease": transfer.lease,
        "cursor": transfer.cursor,
        "total": progress.total,
        "completed": progress.completed,
        "failed": progress.failed,
        "warnings": progress.warnings,
        "problem": transfer.problem,
    }


def _transfer(row: Any) -> Transfer:
    partition = PartitionName(row.partition)
    return Transfer(
        id=row.id,
        partition=partition,
        remote=row.remote,
        work=_read(json.loads(row.work), partition),
        creator=row.creator,
        created=to_datetime(row.created),
        updated=to_datetime(row.updated),
        due=None if row.due is None else to_datetime(row.due),
        rule=row.rule,
        state=TransferState(row.state),
        attempts=row.attempts,
        lease=row.lease,
        cursor=row.cursor,
        progress=TransferProgress(row.total, row.completed, row.failed, row.warnings),
        problem=row.problem,
        trace=row.trace or "",
    )


def _written(work: TransferWork) -> dict[str, Any]:
    """Return the JSON of what to transfer."""
    match work:
        case Pull():
            return {
                "type": "pull",
                "resources": list(map(_uids, work.resources)),
                "keys": dict(work.keys),
                "method": int(work.method),
            }
        case Send():
            return {"type": "send", "resources": list(map(_uids, work.resources))}
        case Notification():
            return {"type": "notification", "study": _uids(work.study)}
        case CommitmentReport():
            return {"type": "commitment", "transaction": work.transaction, "ae_title": work.ae_title}


def _read(work: dict[str, Any], partition: PartitionName) -> TransferWork:
    match work["type"]:
        case "pull":
            resources = tuple(Address(partition, *uids) for uids in work["resources"])
            return Pull(resources, work["keys"], RetrieveMethod(work["method"]))
        case "send":
            return Send(tuple(Address(partition, *uids) for uids in work["resources"]))
        case "notification":
            return Notification(Address(partition, *work["study"]))
        case _:
            return CommitmentReport(Uid(work["transaction"]), work["ae_title"])


def _uids(address: Address) -> list[str]:
    return [uid for uid in (address.study, address.series, address.instance) if uid]
