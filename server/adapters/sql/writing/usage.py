"""Stored bytes of each partition. The transactions that add and remove versions count them."""

from collections.abc import Mapping

from sqlalchemy import Connection, text

from server.adapters.sql.core.prepared import Prepared

_COUNT = Prepared(
    text(
        "INSERT INTO partition_usage (partition_key, shard, stored_bytes) "
        "VALUES (:partition_key, :shard, :stored_bytes) "
        "ON CONFLICT (partition_key, shard) "
        "DO UPDATE SET stored_bytes = partition_usage.stored_bytes + excluded.stored_bytes"
    )
)


def count_bytes(connection: Connection, changes: Mapping[tuple[int, int], int]) -> None:
    """Add to the stored bytes, by partition and shard.

    Transactions on other shards do not wait, because each shard has its row. The order prevents deadlocks.
    """
    if changes:
        rows = [
            {"partition_key": partition, "shard": shard, "stored_bytes": change}
            for (partition, shard), change in sorted(changes.items())
        ]
        _COUNT.send(connection, rows)
