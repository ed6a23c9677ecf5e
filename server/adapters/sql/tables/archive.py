"""The archive itself: its counters and identity, partitions, and leases of processes."""

from sqlalchemy import BigInteger, Column, Sequence, SmallInteger, Table, UniqueConstraint, text

from server.adapters.sql.tables.columns import SHARD, Key, Label, key, schema

counters = Table(
    "counters",
    schema,
    key(SHARD),
    Column("version", BigInteger, nullable=False),
    Column("study_key", BigInteger, nullable=False, comment="SQLite only; PostgreSQL has sequences"),
    Column("series_key", BigInteger, nullable=False, comment="as study_key"),
    comment="one row per shard: the last assigned numbers",
)

SEQUENCES = ("study_keys", "series_keys", "version_numbers", "workitem_keys", "workitem_event_keys")
"""Sequences of PostgreSQL for keys and versions: transactions do not wait for each other. Unused numbers leave gaps."""

for _name_of_sequence in SEQUENCES:
    Sequence(_name_of_sequence, data_type=BigInteger, metadata=schema)

archive = Table(
    "archive",
    schema,
    key("key"),
    Column("id", Label, nullable=False, comment="the same as in archive.json of the data directory"),
    comment="one row: identity of the archive",
)

compatibility = Table(
    "compatibility",
    schema,
    key("key"),
    Column("oldest_code", Label, nullable=False, comment="as OLDEST_CODE of the program that migrated last"),
    comment="one row",
)

clock = Table(
    "clock",
    schema,
    key("key"),
    Column("time", BigInteger, nullable=False, comment="microseconds since 1970-01-01 UTC"),
    comment="one row: the latest time of the clock for erasing deadlines",
)

partitions = Table(
    "partitions",
    schema,
    key("key"),
    Column("name", Label, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("duplicates", SmallInteger, comment="see model/partition.py; NULL: the setting applies"),
    Column("deleted", BigInteger, comment="time of its deletion; NULL: it exists"),
    Column("deletion_key", BigInteger, comment="number of its deletion in the journal, until it is completed"),
    UniqueConstraint("name"),
    comment="deleted ones remain, because entries of the change feed refer to them",
)

partition_usage = Table(
    "partition_usage",
    schema,
    Column("partition_key", Key, primary_key=True, autoincrement=False),
    Column(SHARD, SmallInteger, primary_key=True, autoincrement=False, comment="see core/shards.py"),
    Column("stored_bytes", BigInteger, nullable=False, comment="of all versions whose bytes are not erased"),
    Column("series", BigInteger, nullable=False, server_default=text("0")),
    Column("instances", BigInteger, nullable=False, server_default=text("0")),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    schema,
    Column("name", Label, primary_key=True),
    Column("holder", Label, nullable=False, comment="of one process"),
    Column("renewals", BigInteger, nullable=False, comment="a lease that is not renewed for some time may be taken"),
    Column("wakes", BigInteger, nullable=False, server_default=text("0"), comment="requests to look for work"),
    comment="work that one process does at a time",
)
