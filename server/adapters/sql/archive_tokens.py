"""The record of archive tokens."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, exists, func, insert, or_, select, update

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.access import archive_tokens
from server.model.ids import PartitionName
from server.model.security.archive_token import ArchiveToken

_c = archive_tokens.c
_BY_DIGEST = select(archive_tokens).where(_c.digest == bindparam("digest"))
_BY_ID = select(archive_tokens).where(_c.id == bindparam("token_id"))
_ANY = select(exists(select(_c.key)))
_LAST_KEY = select(func.coalesce(func.max(_c.key), 0))
_USED = (
    update(archive_tokens)
    .where(_c.id == bindparam("used_id"), or_(_c.last_used.is_(None), _c.last_used < bindparam("time")))
    .values(last_used=bindparam("time"))
)


class SqlArchiveTokens:
    """`server.ports.security.archive_tokens.ArchiveTokens` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def add(self, token: ArchiveToken, digest: bytes) -> None:
        """See the port."""

        def work(connection: Connection) -> None:
            key = connection.execute(_LAST_KEY).scalar_one() + 1
            row = {
                "key": key,
                "id": token.id,
                "digest": digest,
                "name": token.name,
                "roles": json.dumps(token.roles),
                "partitions": json.dumps(token.partitions),
                "created": to_microseconds(token.created),
                "creator": token.creator,
                "expires": to_microseconds(token.expires),
            }
            connection.execute(insert(archive_tokens), row)

        await self._transactions.write(work, alone=True)

    async def find(self, digest: bytes) -> ArchiveToken | None:
        """See the port."""
        return await self._transactions.read(lambda connection: _one(connection, _BY_DIGEST, digest=digest))

    async def get(self, token_id: str) -> ArchiveToken | None:
        """See the port."""
        return await self._transactions.read(lambda connection: _one(connection, _BY_ID, token_id=token_id))

    async def exist(self) -> bool:
        """See the port."""
        return await self._transactions.read(lambda connection: bool(connection.execute(_ANY).scalar_one()))

    async def list(
        self, *, valid_at: datetime | None, before: int | None, limit: int
    ) -> Sequence[tuple[int, ArchiveToken]]:
        """See the port."""
        newest = select(archive_tokens).order_by(_c.key.desc()).limit(limit)
        if valid_at is not None:
            newest = newest.where(_c.revoked.is_(None), _c.expires > to_microseconds(valid_at))
        if before is not None:
            newest = newest.where(_c.key < before)
        return await self._transactions.read(
            lambda connection: [(row.key, _token(row)) for row in connection.execute(newest)]
        )

    async def revoke(self, token_id: str, now: datetime) -> ArchiveToken | None:
        """See the port."""
        unrevoked = update(archive_tokens).where(_c.id == token_id, _c.revoked.is_(None))

        def work(connection: Connection) -> ArchiveToken | None:
            connection.execute(unrevoked.values(revoked=to_microseconds(now)))
            return _one(connection, _BY_ID, token_id=token_id)

        return await self._transactions.write(work)

    async def set_last_used(self, times: Mapping[str, datetime]) -> None:
        """See the port."""
        rows = [{"used_id": token_id, "time": to_microseconds(time)} for token_id, time in sorted(times.items())]
        if rows:
            await self._transactions.write(lambda connection: connection.execute(_USED, rows))


def _one(connection: Connection, query: Select[Any], **parameters: Any) -> ArchiveToken | None:
    row = connection.execute(query, parameters).one_or_none()
    return None if row is None else _token(row)


def _token(row: Any) -> ArchiveToken:
    return ArchiveToken(
        id=row.id,
        name=row.name,
        roles=tuple(json.loads(row.roles)),
        partitions=tuple(map(PartitionName, json.loads(row.partitions))),
        created=to_datetime(row.created),
        creator=row.creator,
        expires=to_datetime(row.expires),
        revoked=None if row.revoked is None else to_datetime(row.revoked),
        last_used=None if row.last_used is None else to_datetime(row.last_used),
    )
