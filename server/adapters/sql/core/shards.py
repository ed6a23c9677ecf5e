"""Assignment of studies to shards. The number is stored in the database, so the computation must never change."""

import zlib

from sqlalchemy import Connection

SHARDS = {"sqlite": 1, "postgresql": 4096}
"""Number of shards by database. Transactions on studies of the same shard are serialised, so there are many shards."""


def shard_of(connection: Connection, partition_key: int, study: str) -> int:
    """Return the shard of a study in a partition."""
    return zlib.crc32(f"{partition_key}/{study}".encode()) % SHARDS[connection.dialect.name]
