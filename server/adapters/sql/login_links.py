"""The record of login links."""

import json
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.access import login_links
from server.model.security.login_link import LoginLink

_c = login_links.c


class SqlLoginLinks:
    """`server.ports.security.login_links.LoginLinks` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def add(self, link: LoginLink, digest: bytes, now: datetime) -> None:
        """See the port."""
        row = {
            "digest": digest,
            "roles": json.dumps(link.roles),
            "creator": link.creator,
            "expires": to_microseconds(link.expires),
        }

        def work(connection: Connection) -> None:
            connection.execute(delete(login_links).where(_c.expires <= to_microseconds(now)))
            connection.execute(insert(login_links), row)

        await self._transactions.write(work)

    async def exists(self, digest: bytes) -> bool:
        """See the port."""
        found = select(_c.digest).where(_c.digest == digest)
        return await self._transactions.read(lambda connection: connection.execute(found).first() is not None)

    async def take(self, digest: bytes) -> LoginLink | None:
        """See the port."""

        def work(connection: Connection) -> LoginLink | None:
            row = connection.execute(select(login_links).where(_c.digest == digest)).one_or_none()
            # Of concurrent transactions, one deletes the row.
            if row is None or not connection.execute(delete(login_links).where(_c.digest == digest)).rowcount:
                return None
            return LoginLink(tuple(json.loads(row.roles)), row.creator, to_datetime(row.expires))

        return await self._transactions.write(work)
