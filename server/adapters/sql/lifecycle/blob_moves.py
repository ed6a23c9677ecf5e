"""Blobs by store, and transactions that refer instances to copies of them.

The blobs of a store are one range, or two, of the index of locators. A page therefore costs its rows only.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, bindparam, delete, func, insert, or_, select, update

from server.adapters.sql.core import counters
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.rows import ALIVE, has_key
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.deletions import deleted_instances, erasures
from server.adapters.sql.tables.instances import instances, series, versions
from server.adapters.sql.tables.operations import staged_versions
from server.adapters.sql.tables.studies import studies
from server.adapters.sql.writing.erasing import deleted_versions
from server.adapters.sql.writing.locators import ERASURE_BEGUN, slices
from server.model.ids import Address, PartitionName, Uid, Version
from server.model.instance import Locator
from server.model.lifecycle.blob_move import BlobPage, BlobsOfInstance, StoredBlob, StoreUsage
from server.model.store_id import StoreId, last_locator_of, prefix_of, store_of

_BEFORE_IDS, _AFTER_IDS = "@", "A"
"""Locators without a store id are below the first of these or not below the second."""


@dataclass
class _Instance:
    """All versions of an instance.

    is_known: it is visible or deleted; otherwise its deletion or its erasure is in progress.
    """

    rows: list[Any] = field(default_factory=list)
    is_known: bool = False


class SqlBlobMoves:
    """`server.ports.lifecycle.blob_moves.BlobMoves` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def usage(self) -> Sequence[StoreUsage]:
        """See the port."""
        return await self._transactions.read(_usage)

    async def count(self, store: StoreId) -> int:
        """See the port."""
        return await self._transactions.read(lambda connection: _count(connection, store))

    async def page(self, store: StoreId, after: Locator, limit: int) -> BlobPage:
        """See the port."""
        return await self._transactions.read(lambda connection: _page(connection, store, after, limit))

    async def instances(self, locators: Sequence[Locator]) -> Sequence[BlobsOfInstance]:
        """See the port."""
        return await self._transactions.read(lambda connection: _with_blobs(connection, locators))

    async def move(self, moves: Sequence[Mapping[Locator, Locator]], erase_after: datetime) -> set[Locator]:
        """See the port."""
        return await self._transactions.write(lambda connection: _move(connection, moves, erase_after))

    async def repeat(self, moves: Mapping[Locator, Locator], erase_after: datetime) -> int:
        """See the port."""
        return len(await self._transactions.write(lambda connection: _repeat(connection, moves, erase_after)))

    async def forget_old_copies(self, store: StoreId) -> None:
        """See the port."""
        of_store = delete(erasures).where(or_(*_ranges(erasures, store)))
        await self._transactions.write(lambda connection: connection.execute(of_store))

    async def address(self, locator: Locator) -> Address | None:
        """See the port."""
        return await self._transactions.read(lambda connection: _address(connection, locator))


def _ranges(table: Table, store: StoreId) -> Sequence[ColumnElement[bool]]:
    """Return the conditions for locators of a store, each of which is a range, in order."""
    locator = table.c.locator
    if store:
        return ((locator >= prefix_of(store)) & (locator < last_locator_of(store)),)
    return locator < _BEFORE_IDS, locator >= _AFTER_IDS


def _usage(connection: Connection) -> list[StoreUsage]:
    found: dict[StoreId, StoreUsage] = {}
    prefix = func.substr(versions.c.locator, 1, len(prefix_of("0" * 8)))
    is_of_id = (versions.c.locator >= _BEFORE_IDS) & (versions.c.locator < _AFTER_IDS)
    for condition, start in ((~is_of_id, func.substr(versions.c.locator, 1, 0)), (is_of_id, prefix)):
        sizes = select(
            start.label("start"), func.count().label("number"), func.sum(versions.c.size_bytes).label("size")
        )
        for row in connection.execute(sizes.where(condition).group_by("start")):
            store = store_of(row.start)
            found[store] = StoreUsage(store, row.number, int(row.size))
    return [
        StoreUsage(store, usage.versions, usage.size_bytes, *_old_copies(connection, store))
        for store, usage in sorted(_with_old_copies(connection, found).items())
    ]


def _with_old_copies(connection: Connection, found: Mapping[StoreId, StoreUsage]) -> dict[StoreId, StoreUsage]:
    """Add the stores that have only old copies."""
    after, complete = "", dict(found)
    while (lowest := connection.execute(_lowest(after)).scalar()) is not None:
        store = store_of(lowest)
        complete.setdefault(store, StoreUsage(store))
        if not store and lowest >= _AFTER_IDS:
            break
        after = last_locator_of(store) if store else _BEFORE_IDS
    return complete


def _lowest(after: str) -> Any:
    return select(func.min(erasures.c.locator)).where(erasures.c.locator > after)


def _old_copies(connection: Connection, store: StoreId) -> tuple[int, datetime | None]:
    row = connection.execute(
        select(func.count(), func.max(erasures.c.erase_after)).where(or_(*_ranges(erasures, store)))
    ).one()
    return row[0], None if row[1] is None else to_datetime(row[1])


def _count(connection: Connection, store: StoreId) -> int:
    number = select(func.count()).select_from(versions).where(or_(*_ranges(versions, store)))
    return int(connection.execute(number).scalar_one())


def _page(connection: Connection, store: StoreId, after: Locator, limit: int) -> BlobPage:
    rows: list[Any] = []
    for condition in _ranges(versions, store):
        following = select(versions.c.locator, versions.c.instance_key).where(condition, versions.c.locator > after)
        rows += connection.execute(following.order_by(versions.c.locator).limit(limit - len(rows)))
    found = _instances(connection, {row.instance_key for row in rows})
    firsts: dict[int, Locator] = {}
    for row in rows:
        firsts.setdefault(row.instance_key, row.locator)
    some = [BlobsOfInstance(first, _blobs(found[key], store)) for key, first in firsts.items()]
    return BlobPage(some, rows[-1].locator if len(rows) == limit else None)


def _with_blobs(connection: Connection, locators: Sequence[Locator]) -> list[BlobsOfInstance]:
    firsts: dict[int, Locator] = {}
    for some in slices(sorted(locators)):
        rows = connection.execute(
            select(versions.c.locator, versions.c.instance_key).where(versions.c.locator.in_(some))
        )
        for row in sorted(rows, key=lambda row: str(row.locator)):
            firsts.setdefault(row.instance_key, row.locator)
    found = _instances(connection, firsts.keys())
    return [
        BlobsOfInstance(first, _blobs(found[key], store_of(first)))
        for key, first in firsts.items()
        if found[key].is_known
    ]


def _blobs(instance: _Instance, store: StoreId) -> list[StoredBlob]:
    return [
        StoredBlob(Version(row.version), row.locator, row.size_bytes, row.crc32c)
        for row in sorted(instance.rows, key=lambda row: int(row.version))
        if store_of(row.locator) == store
    ]


def _instances(connection: Connection, keys: Collection[int]) -> dict[int, _Instance]:
    """Return all versions of some instances.

    That of an instance with a single version has the number of its key; of another one, the last version is named by
    its row in `instances` or `deleted_instances`, and the others are marked as replaced.
    """
    found = {key: _Instance() for key in keys}
    rows: dict[int, Any] = {}
    columns = select(
        *(versions.c.version, versions.c.instance_key, versions.c.locator, versions.c.size_bytes),
        *(versions.c.crc32c, versions.c.shard),
    )
    is_renumbered = instances.c.version != instances.c.key
    for some in slices(keys):
        last = [
            *connection.execute(select(instances.c.version).where(instances.c.key.in_(some), is_renumbered)).scalars(),
            *connection.execute(select(deleted_instances.c.version).where(deleted_instances.c.key.in_(some))).scalars(),
        ]
        for condition in (
            versions.c.version.in_([*some, *last]),
            versions.c.instance_key.in_(some) & versions.c.replaced.is_not(None),
        ):
            rows |= {row.version: row for row in connection.execute(columns.where(condition))}
    for row in rows.values():
        if row.instance_key in found:
            found[row.instance_key].rows.append(row)
    for some in slices(rows):
        visible = select(instances.c.key).where(instances.c.version.in_(some), ALIVE)
        is_kept = deleted_instances.c.erase_after > ERASURE_BEGUN
        deleted = select(deleted_instances.c.key).where(deleted_instances.c.version.in_(some), is_kept)
        for statement in (visible, deleted):
            for key in connection.execute(statement).scalars():
                if key in found:
                    found[key].is_known = True
    return found


def _lock(connection: Connection, locators: Iterable[Locator]) -> tuple[Any, dict[Locator, int]]:
    """Lock the shards of instances with these blobs, so that they do not change; return the counters, and the keys of
    the instances."""
    some = list(locators)
    keys: dict[Locator, int] = {}
    shards: set[int] = set()
    for part in slices(some):
        rows = connection.execute(
            select(versions.c.locator, versions.c.instance_key, versions.c.shard).where(versions.c.locator.in_(part))
        )
        for row in rows:
            keys[row.locator] = row.instance_key
            shards.add(row.shard)
    return counters.lock(connection, shards or {0}), keys


def _move(connection: Connection, moves: Sequence[Mapping[Locator, Locator]], erase_after: datetime) -> set[Locator]:
    last, keys = _lock(connection, (locator for one in moves for locator in one))
    found = _instances(connection, set(keys.values()))
    staged: set[int] = set()
    for some in slices(found):
        is_staged = staged_versions.c.instance_key.in_(some)
        staged.update(connection.execute(select(staged_versions.c.instance_key).where(is_staged)).scalars())
    accepted: dict[Locator, Locator] = {}
    for one in moves:
        key = keys.get(next(iter(one), ""))
        if key is None or key in staged or not found[key].is_known:
            continue
        stores = {store_of(locator) for locator in one}
        if {row.locator for row in found[key].rows if store_of(row.locator) in stores} == one.keys():
            accepted |= one
    accepted = {old: new for old, new in accepted.items() if old != new}
    rows = {row.locator: row for instance in found.values() for row in instance.rows}
    _refer(connection, last, accepted, rows, erase_after)
    return set(accepted)


def _repeat(connection: Connection, moves: Mapping[Locator, Locator], erase_after: datetime) -> set[Locator]:
    last, keys = _lock(connection, moves)
    found = _instances(connection, set(keys.values()))
    rows = {row.locator: row for instance in found.values() for row in instance.rows}
    accepted = {old: new for old, new in moves.items() if old in rows}
    _refer(connection, last, accepted, rows, erase_after)
    return set(accepted)


def _refer(
    connection: Connection,
    last: Any,
    moves: Mapping[Locator, Locator],
    rows: Mapping[Locator, Any],
    erase_after: datetime,
) -> None:
    if not moves:
        return
    if progress := progress_of(connection.info):
        deleted = {one.locator: one.id for some in slices(moves) for one in deleted_versions(connection, some)}
        if deleted:
            # Its copy is deleted, too: until it is restored, a rebuilt index must not have it.
            progress.journal.restored(deleted)
        progress.journal.moved(moves)
        if deleted:
            progress.journal.deleted([moves[old] for old in deleted])
    last.next_version()  # so that an index from before the move is recognised as older
    last.save()
    connection.execute(
        update(versions).where(versions.c.locator == bindparam("old")).values(locator=bindparam("new")),
        [{"old": old, "new": new} for old, new in moves.items()],
    )
    connection.execute(
        insert(erasures),
        [{"locator": old, "version": rows[old].version, "erase_after": to_microseconds(erase_after)} for old in moves],
    )


def _address(connection: Connection, locator: Locator) -> Address | None:
    found = connection.execute(
        select(partitions.c.name, studies.c.uid.label("study"), series.c.uid.label("series"), instances.c.uid)
        .join_from(versions, instances, has_key(versions.c.instance_key))
        .join(series, series.c.key == instances.c.series_key)
        .join(studies, studies.c.key == instances.c.study_key)
        .join(partitions, partitions.c.key == instances.c.partition_key)
        .where(versions.c.locator == locator)
    ).first()
    if found is not None:
        return Address(PartitionName(found.name), Uid(found.study), Uid(found.series), Uid(found.uid))
    deleted = deleted_versions(connection, [locator])
    return deleted[0].id.address if deleted else None
