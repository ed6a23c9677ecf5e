"""The record of leases."""

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from server.adapters.sql.core.tables import leases
from server.adapters.sql.core.transactions import Transactions
from server.ports.events.leases import LeaseState

_c = leases.c
_STATE = select(_c.holder, _c.renewals).where(_c.name == bindparam("of_name")).with_for_update()
_RENEW = update(leases).where(_c.name == bindparam("of_name"))


class SqlLeases:
    """`server.ports.events.leases.Leases` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def take(self, name: str, holder: str, stale: LeaseState | None) -> LeaseState:
        """See the port."""

        def work(connection: Connection) -> LeaseState | None:
            row = connection.execute(_STATE, {"of_name": name}).one_or_none()
            if row is None:
                return None
            present = LeaseState(row.holder, row.renewals)
            if present.holder != holder and present != stale:
                return present
            taken = LeaseState(holder, present.renewals + 1)
            connection.execute(_RENEW.values(holder=holder, renewals=taken.renewals), {"of_name": name})
            return taken

        def create(connection: Connection) -> LeaseState:
            if (present := work(connection)) is not None:
                return present
            connection.execute(insert(leases).values(name=name, holder=holder, renewals=1))
            return LeaseState(holder, 1)

        present = await self._transactions.write(work)
        if present is not None:
            return present
        # Alone, because another process may create it at the same time.
        return await self._transactions.write(create, alone=True)

    async def release(self, name: str, holder: str) -> None:
        """See the port."""
        held = delete(leases).where(_c.name == name, _c.holder == holder)
        await self._transactions.write(lambda connection: connection.execute(held))


def is_held(connection: Connection, name: str, holder: str) -> bool:
    """Return whether a holder has a lease; it keeps it until the end of this transaction."""
    row = connection.execute(_STATE, {"of_name": name}).one_or_none()
    return row is not None and row.holder == holder
