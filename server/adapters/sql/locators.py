"""Blobs by where they lie: which ones something still needs, and which ones are to be erased."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, delete, select

from server.adapters.sql.counters import Counters
from server.adapters.sql.rows import STORED, stored_instance
from server.adapters.sql.tables import erasures, instances
from server.adapters.sql.times import to_microseconds
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
