"""Staged versions in the index. Each call is one transaction."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.lifecycle import staging
from server.adapters.sql.partitions import PartitionKeys
from server.model.ids import Address, Version
from server.model.instance import StoredInstance
from server.model.lifecycle.update import Applied, ChangedFile, Content
from server.model.operation import Update
from server.ports.lifecycle.updates import Conclude, Describe
from server.ports.tags import Extract


class SqlUpdates:
    """`server.ports.lifecycle.updates.Updates` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys, extract: Extract) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys
        self._extract = extract

    async def contents(self, resource: Address, after: int, limit: int) -> Sequence[Content]:
        """See the port."""

        def work(connection: Connection) -> Sequence[Content]:
            key = self._partition_keys.one(connection, resource.partition)
            return [] if key is None else staging.contents(connection, key, resource, after, limit)

        return await self._transactions.read(work)

    async def earlier(self, versions: Collection[Version], time: datetime) -> Mapping[Version, StoredInstance]:
        """See the port."""
        return await self._transactions.read(lambda connection: staging.earlier(connection, versions, time))

    async def stage(
        self, operation_id: str, files: Sequence[tuple[StoredInstance, ChangedFile]], update: Update
    ) -> bool:
        """See the port."""
        return await self._transactions.write(
            lambda connection: staging.stage(connection, self._partition_keys, operation_id, files, update)
        )

    async def staged(self, operation_id: str, versions: Collection[Version]) -> set[Version]:
        """See the port."""
        return await self._transactions.read(lambda connection: staging.staged(connection, operation_id, versions))

    async def apply(
        self,
        operation_id: str,
        study: Address,
        describe: Describe,
        now: datetime,
        conclude: Conclude,
        restart: Update = lambda _: None,
        earlier: datetime | None = None,
    ) -> Applied:
        """See the port."""
        keys, extract = self._partition_keys, self._extract
        return await self._transactions.write(
            lambda connection: staging.apply(
                connection, keys, operation_id, study, describe, now, extract, conclude, restart, earlier
            )
        )

    async def discard(self, operation_id: str, now: datetime, update: Update | None = None) -> None:
        """See the port."""
        await self._transactions.write(lambda connection: staging.discard(connection, operation_id, now, update))

    async def discard_abandoned(self, now: datetime) -> None:
        """See the port."""
        await self._transactions.write(lambda connection: staging.discard_abandoned(connection, now))
