"""Blob locators: which are referenced, and which are to be erased."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    union_all,
    update,
)

from server.adapters.sql.core import counters
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.rows import ALIVE, STORED, stored_instance
from server.adapters.sql.tables.deletions import deleted_instances, deleted_series, deleted_studies, deletions, erasures
from server.adapters.sql.tables.instances import instances, series, series_values, versions
from server.adapters.sql.tables.lifecycle import holds, labels
from server.adapters.sql.tables.operations import staged_versions
from server.adapters.sql.tables.studies import studies
from server.adapters.sql.writing.usage import UsageChanges
from server.model.instance import Locator, StoredInstance
from server.model.search.query import Level

ERASURE_BEGUN = 0
"""Value of `erase_after` of a deleted instance whose bytes may be erased already: it cannot be restored or held."""

_IN_ONE_STATEMENT = 500
"""Values of an IN; both databases support more, but are not faster with more."""

Value = TypeVar("Value")


def _uid_of(table: Table, deleted: Table, key: ColumnElement[int]) -> ColumnElement[str]:
    """Return the UID of an existing or deleted study or series."""
    uids = (
        select(one.c.uid).where(one.c.key == key).correlate(deleted_instances).scalar_subquery()
        for one in (table, deleted)
    )
    return func.coalesce(*uids)


_HELD = (
    select(holds.c.key)
    .where(
        holds.c.partition_key == deleted_instances.c.partition_key,
        holds.c.study_uid == _uid_of(studies, deleted_studies, deleted_instances.c.study_key),
        holds.c.series_uid.in_(("", _uid_of(series, deleted_series, deleted_instances.c.series_key))),
        holds.c.sop_uid.in_(("", deleted_instances.c.uid)),
    )
    .correlate(deleted_instances)
    .exists()
)
"""The deleted instance is on hold, so it is not erased."""


def known(connection: Connection, locators: Collection[Locator]) -> set[Locator]:
    """Return the locators that are referenced.

    The result is final: a transaction whose caller lost its connection or was killed during the commit has ended
    before.
    """
    known: set[Locator] = set()
    for some in slices(locators):
        for column in (versions.c.locator, staged_versions.c.locator, erasures.c.locator):
            known.update(connection.execute(select(column).where(column.in_(some))).scalars())
    return known


def referenced(connection: Connection, locators: Collection[Locator]) -> set[Locator]:
    """Return the locators that visible instances reference, also those of earlier versions."""
    found = set(_current(connection, locators))
    is_deleted = select(deleted_instances.c.key).where(deleted_instances.c.key == versions.c.instance_key).exists()
    replaced = (
        select(versions.c.locator)
        .join(series, series.c.key == versions.c.series_key)
        .where(versions.c.replaced.is_not(None), ~is_deleted)
    )
    for some in slices(locators):
        found.update(connection.execute(replaced.where(versions.c.locator.in_(some))).scalars())
    return found


def relocate(connection: Connection, moves: Mapping[Locator, Locator], erase_after: datetime) -> set[Locator]:
    """Implements `InstanceIndex.relocate`."""
    shards = {shard for _, shard in _current(connection, moves).values()}
    last = counters.lock(connection, shards)  # no instance is deleted while it is relocated
    moved = _current(connection, moves)
    if moved:
        if progress := progress_of(connection.info):
            progress.journal.moved({old: moves[old] for old in moved})
        last.next_version()  # so that an index from before the relocation is recognised as older
        last.save()
        connection.execute(
            update(versions).where(versions.c.locator == bindparam("old")).values(locator=bindparam("new")),
            [{"old": old, "new": moves[old]} for old in moved],
        )
        connection.execute(
            insert(erasures),
            [
                {"locator": old, "version": version, "erase_after": to_microseconds(erase_after)}
                for old, (version, _) in moved.items()
            ],
        )
    return set(moved)


def _current(connection: Connection, locators: Iterable[Locator]) -> dict[Locator, tuple[int, int]]:
    """Return version and shard of the current versions of visible instances with these locators."""
    found: dict[Locator, tuple[int, int]] = {}
    current = (
        select(versions.c.locator, versions.c.version, versions.c.shard)
        .join_from(versions, instances, instances.c.version == versions.c.version)
        .where(ALIVE)
    )
    for some in slices(locators):
        rows = connection.execute(current.where(versions.c.locator.in_(some)))
        found.update((row.locator, (row.version, row.shard)) for row in rows)
    return found


def has_erasable(connection: Connection, now: datetime) -> bool:
    """Return whether `begin_erasure` would return anything."""
    moved = select(erasures.c.version).where(erasures.c.erase_after <= to_microseconds(now))
    deleted = _due(connection, now, 1).with_only_columns(deleted_instances.c.version)
    return any(connection.execute(due.limit(1)).scalar() is not None for due in (moved, deleted))


def _due(connection: Connection, now: datetime, limit: int) -> Select[Any]:
    """Select deleted instances that are to be erased, oldest first."""
    due = select(deleted_instances).where(deleted_instances.c.erase_after <= to_microseconds(now))
    if connection.execute(select(holds.c.key).limit(1)).scalar() is not None:
        due = due.where((deleted_instances.c.erase_after == ERASURE_BEGUN) | ~_HELD)
    return due.order_by(deleted_instances.c.erase_after, deleted_instances.c.version).limit(limit)


def begin_erasure(connection: Connection, now: datetime, limit: int) -> list[Locator]:
    """Implements `InstanceIndex.begin_erasure`."""
    due = connection.execute(_due(connection, now, limit)).all()
    if new := [row for row in due if row.erase_after != ERASURE_BEGUN]:
        counters.lock(connection, {row.shard for row in new})  # none of them is put on hold or restored meanwhile
        still_due = deleted_instances.c.version.in_([row.version for row in new]) & ~_HELD
        connection.execute(update(deleted_instances).where(still_due).values(erase_after=ERASURE_BEGUN))
    moved = select(erasures.c.locator, erasures.c.erase_after, erasures.c.version).where(
        erasures.c.erase_after <= to_microseconds(now)
    )
    begun = select(deleted_instances.c.erase_after, deleted_instances.c.version, deleted_instances.c.key).where(
        deleted_instances.c.erase_after == ERASURE_BEGUN
    )
    first = begun.order_by(deleted_instances.c.version).limit(limit).subquery()
    last_of = select(versions.c.locator, first.c.erase_after, versions.c.version).join_from(
        first, versions, versions.c.version == first.c.version
    )
    replaced = select(versions.c.locator, first.c.erase_after, versions.c.version).join_from(
        first, versions, (versions.c.instance_key == first.c.key) & versions.c.replaced.is_not(None)
    )
    every = union_all(moved, last_of, replaced).subquery()
    page = select(every.c.locator).order_by(every.c.erase_after, every.c.version).limit(limit)
    return list(connection.execute(page).scalars())


def erased(connection: Connection, locators: Sequence[Locator]) -> None:
    for some in slices(locators):
        connection.execute(delete(erasures).where(erasures.c.locator.in_(some)))
        _delete_erased(connection, some)


def _delete_erased(connection: Connection, locators: Sequence[Locator]) -> None:
    """Delete the versions of deleted instances with these blobs, and then empty instances, series, studies and
    deletions."""
    is_last = deleted_instances.c.version == versions.c.version
    is_replaced = (deleted_instances.c.key == versions.c.instance_key) & versions.c.replaced.is_not(None)
    found = connection.execute(
        select(
            *(versions.c.version, versions.c.locator, versions.c.size_bytes, versions.c.shard),
            *(deleted_instances.c.key, deleted_instances.c.partition_key),
        )
        .join_from(versions, deleted_instances, is_last | is_replaced)
        .where(versions.c.locator.in_(locators))
    ).all()
    if not found:
        return
    keys = {row.key for row in found}
    connection.execute(delete(versions).where(versions.c.version.in_([row.version for row in found])))
    usage = UsageChanges()
    for row in found:
        usage.stored_bytes[row.partition_key, row.shard] -= row.size_bytes
    usage.write(connection)
    has_versions = select(versions.c.version).where(
        (versions.c.version == deleted_instances.c.version)
        | ((versions.c.instance_key == deleted_instances.c.key) & versions.c.replaced.is_not(None))
    )
    no_versions = deleted_instances.c.key.in_(keys) & ~has_versions.exists()
    groups = connection.execute(
        select(deleted_instances.c.study_key, deleted_instances.c.series_key, deleted_instances.c.deletion_key).where(
            no_versions
        )
    ).all()
    _delete_labels(connection, Level.INSTANCE, select(deleted_instances.c.key).where(no_versions))
    connection.execute(delete(deleted_instances).where(no_versions))
    delete_empty_groups(connection, groups)


def delete_empty_groups(connection: Connection, left: Sequence[Any]) -> None:
    """Delete the deleted studies and series, and the deletions, whose last instances were these rows."""
    for table, key, column in (
        (deleted_series, deleted_series.c.key, deleted_instances.c.series_key),
        (deleted_studies, deleted_studies.c.key, deleted_instances.c.study_key),
        (deletions, deletions.c.key, deleted_instances.c.deletion_key),
    ):
        is_needed = select(column).where(column == key).exists()
        is_empty = key.in_({getattr(row, column.name) for row in left}) & ~is_needed
        if table is deletions:
            is_empty &= deletions.c.is_pending.is_(None)
        if table is deleted_series:
            unused = select(key).where(is_empty & key.not_in(select(series.c.key)))
            connection.execute(delete(series_values).where(series_values.c.series_key.in_(unused)))
        if (restored := _RESTORED.get(table)) is not None:
            level, existing = restored
            _delete_labels(connection, level, select(key).where(is_empty & key.not_in(select(existing.c.key))))
        connection.execute(delete(table).where(is_empty))


_RESTORED = {deleted_series: (Level.SERIES, series), deleted_studies: (Level.STUDY, studies)}
"""Tables of deleted rows whose keys may belong to restored rows, with their level and the tables of existing rows."""


def _delete_labels(connection: Connection, level: Level, owners: Select[int]) -> None:
    """Delete the labels of erased studies, series or instances."""
    connection.execute(delete(labels).where(labels.c.level == int(level), labels.c.owner.in_(owners)))


def visible(connection: Connection, after: int, limit: int) -> list[StoredInstance]:
    rows = connection.execute(STORED.where(instances.c.version > after).order_by(instances.c.version).limit(limit))
    return [stored_instance(row) for row in rows]


def slices(values: Iterable[Value]) -> Iterator[list[Value]]:
    iterator = iter(values)
    while some := list(islice(iterator, _IN_ONE_STATEMENT)):
        yield some
