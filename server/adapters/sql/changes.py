"""Reading the change feed; the package `writing` writes it."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.tables import changes, deletions, instances, metadata, partitions, series, studies
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.rows import IS_PENDING, AnyRow
from server.adapters.sql.writing.deleting import move_on
from server.adapters.sql.writing.sequencing import number
from server.model.change import Change, ChangeAction, ChangeState, ChangeWindow
from server.model.ids import InstanceId, PartitionName, Uid, Version

_ENTRIES = select(changes, partitions.c.name.label("partition")).join_from(
    changes, partitions, partitions.c.key == changes.c.partition_key
)


_BOUND = Prepared(
    select(func.min(deletions.c.first_sequence + deletions.c.done)).where(
        deletions.c.is_pending == 1, deletions.c.first_sequence.is_not(None)
    )
)
_ARE_PENDING = Prepared(select(IS_PENDING))


Listen = Callable[[Callable[[], None]], Awaitable[None]]


class SqlChangeLog:
    """`server.ports.index.ChangeLog` in a database."""

    def __init__(self, transactions: Transactions, listen: Listen) -> None:
        """`listen` calls its argument after new entries of any process, until cancelled."""
        self._transactions = transactions
        self._listen = listen
        self.is_numbered_later = transactions.has_sequencer

    async def list(self, window: ChangeWindow) -> list[Change]:
        """See the port."""
        return await self._transactions.read(lambda connection: _list(connection, window))

    async def latest(self, metadata: bool) -> Change | None:
        """See the port."""
        return await self._transactions.read(lambda connection: _latest(connection, metadata))

    async def sequence(self) -> bool:
        """See the port."""
        is_more = self.is_numbered_later and await self._transactions.number(number)
        if await self._transactions.read(lambda connection: _ARE_PENDING.tuples(connection, {})[0][0] is not None):
            is_more = await self._transactions.write(move_on) or is_more
        return is_more

    async def listen(self, changed: Callable[[], None]) -> None:
        """See the port."""
        await self._listen(changed)


def _list(connection: Connection, window: ChangeWindow) -> list[Change]:
    query = _in_window(window)
    if (bound := _bound(connection)) is not None:
        query = query.where(changes.c.sequence < bound)
    return _as_changes(connection, connection.execute(query).all(), window.metadata)


def _bound(connection: Connection) -> int | None:
    """Return the sequence from which entries must not be served yet, because lower ones are still to be written."""
    bound: int | None = _BOUND.tuples(connection, {})[0][0]
    return bound


def _in_window(window: ChangeWindow) -> Select[Any]:
    query = _ENTRIES.where(changes.c.sequence > window.after_sequence).limit(window.limit).offset(window.skip)
    if window.through_sequence is not None:
        query = query.where(changes.c.sequence <= window.through_sequence)
    if window.start is not None:
        query = query.where(changes.c.time >= to_microseconds(window.start))
    if window.end is not None:
        query = query.where(changes.c.time < to_microseconds(window.end))
    if window.start is None and window.end is None:
        return query.order_by(changes.c.sequence)
    # The same order, because times ascend with sequences, but it uses the index on time.
    return query.order_by(changes.c.time, changes.c.sequence)


def _latest(connection: Connection, with_metadata: bool) -> Change | None:
    highest = select(func.max(changes.c.sequence))
    if (bound := _bound(connection)) is not None:
        highest = highest.where(changes.c.sequence < bound)
    newest = highest.scalar_subquery()
    rows = connection.execute(_ENTRIES.where(changes.c.sequence == newest)).all()
    return next(iter(_as_changes(connection, rows, with_metadata)), None)


def _as_changes(connection: Connection, rows: Sequence[AnyRow], with_metadata: bool) -> list[Change]:
    """Add the current state of the instances."""
    present = _present_versions(connection, rows)
    jsons = _metadata(connection, set(present.values())) if with_metadata else {}
    return [_as_change(row, present, jsons) for row in rows]


def _as_change(row: AnyRow, present: dict[InstanceId, int], jsons: dict[int, bytes]) -> Change:
    instance = _instance_id(row)
    version = present.get(instance)
    if version is None:
        state = ChangeState.DELETED
    elif version == row.version:
        state = ChangeState.CURRENT
    else:
        state = ChangeState.REPLACED
    return Change(
        sequence=row.sequence,
        instance=instance,
        action=ChangeAction(row.action),
        state=state,
        time=to_datetime(row.time),
        version=Version(row.version),
        dicom_json=None if version is None else jsons.get(version),
    )


def _present_versions(connection: Connection, rows: Sequence[AnyRow]) -> dict[InstanceId, int]:
    """Return the current versions of the instances of these entries."""
    if not rows:
        return {}
    query = (
        select(
            partitions.c.name.label("partition"),
            studies.c.uid.label("study_uid"),
            series.c.uid.label("series_uid"),
            instances.c.uid.label("sop_uid"),
            instances.c.version,
        )
        .join_from(instances, series, series.c.key == instances.c.series_key)
        .join(studies, studies.c.key == instances.c.study_key)
        .join(partitions, partitions.c.key == instances.c.partition_key)
        .where(
            instances.c.partition_key.in_({row.partition_key for row in rows}),
            instances.c.uid.in_({row.sop_uid for row in rows}),
        )
    )
    return {_instance_id(row): row.version for row in connection.execute(query)}


def _instance_id(row: AnyRow) -> InstanceId:
    return InstanceId(PartitionName(row.partition), Uid(row.study_uid), Uid(row.series_uid), Uid(row.sop_uid))


def _metadata(connection: Connection, versions: Collection[int]) -> dict[int, bytes]:
    rows = connection.execute(select(metadata.c.version, metadata.c.dicom_json).where(metadata.c.version.in_(versions)))
    return {row.version: row.dicom_json for row in rows}
