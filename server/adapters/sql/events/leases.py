"""The record of leases."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.archive import leases
from server.ports.events.leases import LeaseState

_c = leases.c
_STATES = select(_c.holder, _c.renewals, _c.wakes)
_STATE = _STATES.where(_c.name == bindparam("of_name"))
_LOCKED_STATE = _STATE.with_for_update()
_RENEW = update(leases).where(_c.name == bindparam("of_name"))


class SqlLeases:
    """`server.ports.events.leases.Leases` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def take(self, name: str, holder: str, stale: LeaseState | None) -> LeaseState:
        """See the port."""

        def work(connection: Connection) -> LeaseState | None:
            present = _state(connection, _LOCKED_STATE, name)
            if present is None or (present.holder != holder and present != stale):
                return present
            taken = LeaseState(holder, present.renewals + 1, present.wakes)
            connection.execute(_RENEW.values(holder=holder, renewals=taken.renewals), {"of_name": name})
            return taken

        def create(connection: Connection) -> LeaseState:
            if (present := work(connection)) is not None:
                return present
            connection.execute(insert(leases).values(name=name, holder=holder, renewals=1, wakes=0))
            return LeaseState(holder, 1)

        # Most processes do not hold it: they need no writing transaction, which costs a sync of the log.
        present = await self._transactions.read(lambda connection: _state(connection, _STATE, name))
        if present is not None and present.holder != holder and present != stale:
            return present
        present = await self._transactions.write(work)
        if present is not None:
            return present
        # Alone, because another process may create it at the same time.
        return await self._transactions.write(create, alone=True)

    async def release(self, name: str, holder: str) -> None:
        """See the port."""
        held = delete(leases).where(_c.name == name, _c.holder == holder)
        await self._transactions.write(lambda connection: connection.execute(held))

    async def wake(self, name: str) -> None:
        """See the port."""
        woken = update(leases).where(_c.name == name).values(wakes=_c.wakes + 1)
        await self._transactions.write(lambda connection: connection.execute(woken))

    async def states(self, prefix: str) -> Mapping[str, LeaseState]:
        """See the port."""
        found = _STATES.add_columns(_c.name).where(_c.name.startswith(prefix, autoescape=True))
        return await self._transactions.read(
            lambda connection: {row.name: _state_of(row) for row in connection.execute(found)}
        )


def is_held(connection: Connection, name: str, holder: str) -> bool:
    """Return whether a holder has a lease; it keeps it until the end of this transaction."""
    state = _state(connection, _LOCKED_STATE, name)
    return state is not None and state.holder == holder


def _state(connection: Connection, query: Any, name: str) -> LeaseState | None:
    row = connection.execute(query, {"of_name": name}).one_or_none()
    return None if row is None else _state_of(row)


def _state_of(row: Any) -> LeaseState:
    return LeaseState(row.holder, row.renewals, row.wakes)
