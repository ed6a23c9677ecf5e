"""The record of consumers of the change feed."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.changes import consumers
from server.model.change import Consumer
from server.ports.consumers import Move

_c = consumers.c
_BY_NAME = select(consumers).where(_c.name == bindparam("name"))


class SqlConsumers:
    """`server.ports.consumers.Consumers` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def find(self, name: str) -> Consumer | None:
        """See the port."""

        def work(connection: Connection) -> Consumer | None:
            row = connection.execute(_BY_NAME, {"name": name}).one_or_none()
            return None if row is None else _consumer(row)

        return await self._transactions.read(work)

    async def list(self, owner: str | None, after_name: str, limit: int) -> Sequence[Consumer]:
        """See the port."""
        page = select(consumers).where(_c.name > after_name).order_by(_c.name).limit(limit)
        if owner is not None:
            page = page.where(_c.owner == owner)
        return await self._transactions.read(lambda connection: [_consumer(row) for row in connection.execute(page)])

    async def move(
        self, to: Consumer, *, owner: str | None, expected: int | None, limit: int
    ) -> tuple[Move, Consumer | None]:
        """See the port."""
        moved = await self._transactions.write(lambda connection: _move(connection, to, owner, expected))
        if moved is not None:
            return moved
        # Alone, because another process may create it at the same time.
        return await self._transactions.write(
            lambda connection: _move(connection, to, owner, expected) or _create(connection, to, expected, limit),
            alone=True,
        )

    async def remove(self, name: str, owner: str | None) -> bool:
        """See the port."""
        named = delete(consumers).where(_c.name == name)
        if owner is not None:
            named = named.where(_c.owner == owner)
        return await self._transactions.write(lambda connection: connection.execute(named).rowcount > 0)


def _move(
    connection: Connection, to: Consumer, owner: str | None, expected: int | None
) -> tuple[Move, Consumer | None] | None:
    """Set the position of a consumer; None if it does not exist."""
    row = connection.execute(_BY_NAME.with_for_update(), {"name": to.name}).one_or_none()
    if row is None:
        return None
    present = _consumer(row)
    if owner not in (None, present.owner):
        return Move.FOREIGN, None
    if expected not in (None, present.sequence):
        return Move.UNEXPECTED, present
    position = {"sequence": to.sequence, "time": to_microseconds(to.time)}
    connection.execute(update(consumers).where(_c.name == to.name).values(position))
    return Move.DONE, Consumer(to.name, present.owner, to.sequence, to.time)


def _create(connection: Connection, new: Consumer, expected: int | None, limit: int) -> tuple[Move, Consumer | None]:
    if expected:
        return Move.UNEXPECTED, None
    count = select(func.count()).select_from(consumers).where(_c.owner == new.owner)
    if connection.execute(count).scalar_one() >= limit:
        return Move.TOO_MANY, None
    row = {"name": new.name, "owner": new.owner, "sequence": new.sequence, "time": to_microseconds(new.time)}
    connection.execute(insert(consumers), row)
    return Move.DONE, new


def _consumer(row: Any) -> Consumer:
    return Consumer(row.name, row.owner, row.sequence, to_datetime(row.time))
