"""Contents of each partition: stored bytes, series and instances. The transactions that add and remove them count.

The number of studies follows from `study_blocks`.
"""

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from server.adapters.sql.core.prepared import Prepared

_COUNT = Prepared(
    text(
        "INSERT INTO partition_usage (partition_key, shard, stored_bytes, series, instances) "
        "VALUES (:partition_key, :shard, :stored_bytes, :series, :instances) "
        "ON CONFLICT (partition_key, shard) "
        "DO UPDATE SET stored_bytes = partition_usage.stored_bytes + excluded.stored_bytes, "
        "series = partition_usage.series + excluded.series, instances = partition_usage.instances + excluded.instances"
    )
)

Place = tuple[int, int]
"""Key of a partition, and a shard."""


@dataclass(frozen=True, slots=True)
class UsageChanges:
    """Additions to the contents of partitions, by partition and shard."""

    stored_bytes: Counter[Place] = field(default_factory=Counter)
    series: Counter[Place] = field(default_factory=Counter)
    instances: Counter[Place] = field(default_factory=Counter)

    def write(self, connection: Connection) -> None:
        """Add them to the stored counts.

        Transactions on other shards do not wait, because each shard has its row. The order prevents deadlocks.
        """
        rows = [
            {
                "partition_key": place[0],
                "shard": place[1],
                "stored_bytes": self.stored_bytes[place],
                "series": self.series[place],
                "instances": self.instances[place],
            }
            for place in sorted({*self.stored_bytes, *self.series, *self.instances})
        ]
        if rows:
            _COUNT.send(connection, rows)
