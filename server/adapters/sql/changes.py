"""Reading the change feed; the package `writing` writes it."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, func, select, true

from server.adapters.sql.core.counters import own_entries
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.rows import IS_PENDING, AnyRow
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.changes import changes
from server.adapters.sql.tables.deletions import deletions
from server.adapters.sql.tables.instances import instances, metadata, series
from server.adapters.sql.tables.studies import studies
from server.adapters.sql.writing.deleting import move_on
from server.adapters.sql.writing.sequencing import ToDo, number, to_do
from server.model.change import Change, ChangeAction, ChangeState, ChangeWindow
from server.model.ids import InstanceId, PartitionName, Uid, Version
from server.ports.index import Sequenced

_ENTRIES = select(changes, partitions.c.name.label("partition")).join_from(
    changes, partitions, partitions.c.key == changes.c.partition_key
)


_BOUND = Prepared(
    select(func.min(deletions.c.first_sequence + deletions.c.done)).where(
        deletions.c.is_pending == 1, deletions.c.first_sequence.is_not(None)
    )
)
_ARE_PENDING = Prepared(select(IS_PENDING))

_AFTER_ALL = 2**63 - 1
"""Higher than every sequence."""


Listen = Callable[[Callable[[], None]], Awaitable[None]]


class SqlChangeLog:
    """`server.ports.index.ChangeLog` in a database."""

    def __init__(self, transactions: Transactions, listen: Listen, partition_keys: PartitionKeys) -> None:
        """`listen` calls its argument after new entries of any process, until cancelled."""
        self._transactions = transactions
        self._partition_keys = partition_keys
        self._listen = listen
        self._own = own_entries.count
        self._all: int | None = None
        self.is_numbered_later = transactions.has_sequencer
        self.share = 1.0

    async def list(self, window: ChangeWindow) -> list[Change]:
        """See the port."""
        return await self._transactions.read(lambda connection: _list(connection, window, self._partition_keys))

    async def latest(self, metadata: bool, partitions: frozenset[PartitionName] | None = None) -> Change | None:
        """See the port."""
        return await self._transactions.read(
            lambda connection: _latest(connection, metadata, partitions, self._partition_keys)
        )

    async def sequence(self) -> Sequenced:
        """See the port."""
        if not self.is_numbered_later:
            is_pending = await self._transactions.read(lambda connection: _ARE_PENDING.tuples(connection, {})[0][0])
            return await self._move_on() if is_pending is not None else Sequenced.NOTHING
        work = await self._transactions.look(to_do)
        self._note_share(work)
        if work.has_numbers or work.has_studies:
            await self._transactions.number(lambda connection: number(connection, work))
            if work.is_for_several:
                return Sequenced.MAY_HAVE_MORE
        if work.is_pending:
            return await self._move_on()
        return Sequenced.ALL if work.has_numbers else Sequenced.NOTHING

    def _note_share(self, work: ToDo) -> None:
        own, total = own_entries.count, work.sequence + work.entries
        if self._all is not None and total > self._all:
            self.share = min((own - self._own) / (total - self._all), 1.0)
        self._own, self._all = own, total

    async def _move_on(self) -> Sequenced:
        """Move instances of a numbered deletion."""
        is_more = await self._transactions.write(move_on)
        return Sequenced.MAY_HAVE_MORE if is_more else Sequenced.ALL

    async def listen(self, changed: Callable[[], None]) -> None:
        """See the port."""
        await self._listen(changed)


def _list(connection: Connection, window: ChangeWindow, partition_keys: PartitionKeys) -> list[Change]:
    bound = bound_of(connection)
    if window.partitions is None:
        query = _in_window(window, bound)
    else:
        keys = partition_keys.of(connection, window.partitions).values()
        query = _in_partitions(window, bound, keys, connection.dialect.name)
    return _as_changes(connection, connection.execute(query).all(), window.metadata)


def _latest(
    connection: Connection,
    with_metadata: bool,
    permitted: frozenset[PartitionName] | None,
    partition_keys: PartitionKeys,
) -> Change | None:
    bound = bound_of(connection)
    if permitted is None:
        query = _newest(bound)
    else:
        keys = partition_keys.of(connection, permitted).values()
        query = _in_partitions(ChangeWindow(limit=1), bound, keys, connection.dialect.name, newest=True)
    return next(iter(_as_changes(connection, connection.execute(query).all(), with_metadata)), None)


def _bounds(window: ChangeWindow, bound: int | None, table: Any = changes) -> list[ColumnElement[bool]]:
    """Return the conditions of a window on sequences. `bound`: see `bound_of`."""
    conditions = [table.c.sequence > window.after_sequence]
    if window.through_sequence is not None:
        conditions.append(table.c.sequence <= window.through_sequence)
    if bound is not None:
        conditions.append(table.c.sequence < bound)
    return conditions


def bound_of(connection: Connection) -> int | None:
    """Return the sequence from which entries must not be served yet, because lower ones are still to be written."""
    bound: int | None = _BOUND.tuples(connection, {})[0][0]
    return bound


def _in_window(window: ChangeWindow, bound: int | None) -> Select[Any]:
    query = _ENTRIES.where(*_bounds(window, bound)).limit(window.limit).offset(window.skip)
    if window.start is not None:
        query = query.where(changes.c.time >= to_microseconds(window.start))
    if window.end is not None:
        query = query.where(changes.c.time < to_microseconds(window.end))
    if window.start is None and window.end is None:
        return query.order_by(changes.c.sequence)
    # The same order, because times ascend with sequences, but it uses the index on time.
    return query.order_by(changes.c.time, changes.c.sequence)


def _in_partitions(
    window: ChangeWindow, bound: int | None, keys: Collection[int], dialect: str, *, newest: bool = False
) -> Select[Any]:
    """Return the query for a window of some partitions.

    It reads at most `limit` + `skip` entries of each partition, and none of others, however many there are. Times are
    first translated to sequences, with which they ascend, because the index of a partition is by sequence.
    """
    one = changes.alias("entry")
    page = select(one.c.sequence).where(one.c.partition_key == partitions.c.key, *_bounds(window, bound, one))
    if window.start is not None:
        page = page.where(one.c.sequence >= _first_at(to_microseconds(window.start)))
    if window.end is not None:
        page = page.where(one.c.sequence < func.coalesce(_first_at(to_microseconds(window.end)), _AFTER_ALL))
    in_order, in_result = one.c.sequence, changes.c.sequence
    page = page.order_by(in_order.desc() if newest else in_order).limit(window.limit + window.skip)
    entries = select(changes, partitions.c.name.label("partition")).select_from(partitions)
    if dialect == "sqlite":  # which has no lateral joins
        entries = entries.join(changes, changes.c.sequence.in_(page.correlate(partitions)))
    else:
        pages = page.lateral("page")
        entries = entries.join(pages, true()).join(changes, changes.c.sequence == pages.c.sequence)
    return (
        entries.where(partitions.c.key.in_(keys))
        .order_by(in_result.desc() if newest else in_result)
        .limit(window.limit)
        .offset(window.skip)
    )


def _first_at(time: int) -> ScalarSelect[int]:
    """Return the first sequence at or after a time; NULL if there is none."""
    later = changes.alias("later")
    return (
        select(later.c.sequence)
        .where(later.c.time >= time)
        .order_by(later.c.time, later.c.sequence)
        .limit(1)
        .scalar_subquery()
    )


def _newest(bound: int | None) -> Select[Any]:
    highest = select(func.max(changes.c.sequence))
    if bound is not None:
        highest = highest.where(changes.c.sequence < bound)
    return _ENTRIES.where(changes.c.sequence == highest.scalar_subquery())


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
