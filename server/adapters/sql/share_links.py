"""The record of share links."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.access import share_links
from server.model.ids import Address, PartitionName, Uid
from server.model.security.share_link import ShareLink, SharePurpose

_c = share_links.c
_BY_ID = select(share_links).where(_c.id == bindparam("id"))
_LAST_KEY = select(func.coalesce(func.max(_c.key), 0))


class SqlShareLinks:
    """`server.ports.security.share_links.ShareLinks` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def add(self, link: ShareLink) -> None:
        """See the port."""

        def work(connection: Connection) -> None:
            key = connection.execute(_LAST_KEY).scalar_one() + 1
            connection.execute(delete(share_links).where(_c.expires <= to_microseconds(link.created)))
            row = {
                "key": key,
                "id": link.id,
                "purpose": int(link.purpose),
                "partition": link.scope.partition,
                "study": link.scope.study,
                "series": link.scope.series,
                "instance": link.scope.instance,
                "label": link.label,
                "creator": link.creator,
                "created": to_microseconds(link.created),
                "expires": to_microseconds(link.expires),
            }
            connection.execute(insert(share_links), row)

        await self._transactions.write(work, alone=True)

    async def find(self, link_id: str) -> ShareLink | None:
        """See the port."""

        def work(connection: Connection) -> ShareLink | None:
            row = connection.execute(_BY_ID, {"id": link_id}).one_or_none()
            return None if row is None else _link(row)

        return await self._transactions.read(work)

    async def list(
        self, *, valid_at: datetime, partitions: Collection[PartitionName] | None, before: int | None, limit: int
    ) -> Sequence[tuple[int, ShareLink]]:
        """See the port."""
        newest = select(share_links).where(_c.expires > to_microseconds(valid_at)).order_by(_c.key.desc()).limit(limit)
        if partitions is not None:
            newest = newest.where(_c.partition.in_(partitions))
        if before is not None:
            newest = newest.where(_c.key < before)
        return await self._transactions.read(
            lambda connection: [(row.key, _link(row)) for row in connection.execute(newest)]
        )

    async def remove(self, link_id: str, partitions: Collection[PartitionName] | None) -> bool:
        """See the port."""
        named = delete(share_links).where(_c.id == link_id)
        if partitions is not None:
            named = named.where(_c.partition.in_(partitions))
        return await self._transactions.write(lambda connection: connection.execute(named).rowcount > 0)


def _link(row: Any) -> ShareLink:
    return ShareLink(
        id=row.id,
        purpose=SharePurpose(row.purpose),
        scope=Address(
            PartitionName(row.partition),
            None if row.study is None else Uid(row.study),
            None if row.series is None else Uid(row.series),
            None if row.instance is None else Uid(row.instance),
        ),
        label=row.label,
        creator=row.creator,
        created=to_datetime(row.created),
        expires=to_datetime(row.expires),
    )
