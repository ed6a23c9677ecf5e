"""Blobs by where they lie: which ones something still needs, and which ones are to be erased."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from server.adapters.sql.core.counters import Counters
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.tables import erasures, instances
from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.rows import STORED, stored_instance
from server.model.instance import Locator, StoredInstance

_IN_ONE_STATEMENT = 500
"""Values of an IN; both databases take more, but neither is faster with more."""

Value = TypeVar("Value")


def known(connection: Connection, locators: Collection[Locator]) -> set[Locator]:
    """Return the locators that something names.

    The answer is final: a transaction that its caller has lost sight of, because a connection broke or a process
    died while it was committed, has ended before.
    """
    Counters.lock(connection)
    known: set[Locator] = set()
    for some in slices(locators):
        for column in (instances.c.locator, erasures.c.locator):
            known.update(connection.execute(select(column).where(column.in_(some))).scalars())
    return known


def named(connection: Connection, locators: Collection[Locator]) -> set[Locator]:
    """Return the locators that a visible instance names."""
    return set(_versions(connection, locators))


def relocate(connection: Connection, moves: Mapping[Locator, Locator], erase_after: datetime) -> set[Locator]:
    """Do what `InstanceIndex.relocate` promises."""
    last = Counters.lock(connection)  # nobody deletes an instance while it moves
    moved = _versions(connection, moves)
    if moved:
        if progress := progress_of(connection.info):
            progress.journal.moved({old: moves[old] for old in moved})
        last.next_version()  # so that an index from before the move is known to be older
        last.save(connection)
        connection.execute(
            update(instances).where(instances.c.locator == bindparam("old")).values(locator=bindparam("new")),
            [{"old": old, "new": moves[old]} for old in moved],
        )
        connection.execute(
            insert(erasures),
            [
                {"locator": old, "version": version, "erase_after": to_microseconds(erase_after)}
                for old, version in moved.items()
            ],
        )
    return set(moved)


def _versions(connection: Connection, locators: Iterable[Locator]) -> dict[Locator, int]:
    """Return the versions of the visible instances that name these locators."""
    versions: dict[Locator, int] = {}
    for some in slices(locators):
        found = connection.execute(
            select(instances.c.locator, instances.c.version).where(instances.c.locator.in_(some))
        )
        versions.update((row.locator, row.version) for row in found)
    return versions


def erasable(connection: Connection, now: datetime, limit: int) -> list[Locator]:
    return list(
        connection.execute(
            select(erasures.c.locator)
            .where(erasures.c.erase_after <= to_microseconds(now))
            .order_by(erasures.c.erase_after, erasures.c.version)
            .limit(limit)
        ).scalars()
    )


def erased(connection: Connection, locators: Sequence[Locator]) -> None:
    for some in slices(locators):
        connection.execute(delete(erasures).where(erasures.c.locator.in_(some)))


def visible(connection: Connection, after: int, limit: int) -> list[StoredInstance]:
    rows = connection.execute(STORED.where(instances.c.version > after).order_by(instances.c.version).limit(limit))
    return [stored_instance(row) for row in rows]


def slices(values: Iterable[Value]) -> Iterator[list[Value]]:
    iterator = iter(values)
    while some := list(islice(iterator, _IN_ONE_STATEMENT)):
        yield some
