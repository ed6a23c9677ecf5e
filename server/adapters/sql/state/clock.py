"""The recorded time in the database."""

from datetime import datetime

from sqlalchemy import Connection, select, text

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.archive import clock

_LATEST = select(clock.c.time)
_ADVANCE = text(
    "INSERT INTO clock (key, time) VALUES (1, :time) "
    "ON CONFLICT (key) DO UPDATE SET time = excluded.time WHERE clock.time < excluded.time"
)


class SqlClockRecord:
    """ClockRecord (see `server.ports.clock`)."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def latest(self) -> datetime | None:
        """See the port."""
        return await self._transactions.read(_latest)

    async def advance(self, time: datetime) -> datetime:
        """See the port."""

        def write(connection: Connection) -> datetime:
            connection.execute(_ADVANCE, {"time": to_microseconds(time)})
            latest = _latest(connection)
            assert latest is not None, "it was written above"
            return latest

        return await self._transactions.write(write)


def _latest(connection: Connection) -> datetime | None:
    microseconds = connection.execute(_LATEST).scalar()
    return None if microseconds is None else to_datetime(microseconds)
