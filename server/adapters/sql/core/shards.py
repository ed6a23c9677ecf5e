"""Which shard a study belongs to. The number is in the database, so it must never be computed in another way."""

import zlib

from sqlalchemy import Connection

SHARDS = {"sqlite": 1, "postgresql": 4096}
"""Shards by database. Transactions on studies of the same shard follow each other, so there are many."""


def shard_of(connection: Connection, partition_key: int, study: str) -> int:
    """Return the shard of a study in a partition."""
    return zlib.crc32(f"{partition_key}/{study}".encode()) % SHARDS[connection.dialect.name]
