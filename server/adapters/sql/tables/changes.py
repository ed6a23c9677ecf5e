"""The change feed and its consumers."""

from typing import Any

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text

from server.adapters.sql.tables.columns import OF_A_STUDY, Label, key, schema, shard

feed = Table(
    "feed",
    schema,
    key("key"),
    Column("sequence", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    comment="one row: sequence and time of the last numbered entry",
)


def _entry() -> list[Column[Any]]:
    """Return the columns of a change-feed entry."""
    return [
        Column("time", BigInteger, nullable=False),
        Column("action", SmallInteger, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("partition_key", BigInteger, nullable=False),
        Column("study_uid", Label, nullable=False),
        Column("series_uid", Label, nullable=False),
        Column("sop_uid", Label, nullable=False),
    ]


def _trace() -> Column[str]:
    return Column("trace", Text, comment="trace of the change, as header traceparent; NULL: not recorded")


changes = Table(
    "changes",
    schema,
    key("sequence"),
    *_entry(),
    _trace(),
    Index(None, "time", "sequence"),
    Index(None, "partition_key", "sequence"),
    comment="never deleted; without foreign keys, because the instances may be deleted",
)

unsequenced = Table(
    "unsequenced",
    schema,
    key("position"),
    shard(),
    *_entry(),
    Column("deletion_key", BigInteger, comment="set if the entry represents those of all instances of a deletion"),
    _trace(),
    info=OF_A_STUDY,
    comment="PostgreSQL only: entries not yet numbered by the sequencer",
)

consumers = Table(
    "change_feed_consumers",
    schema,
    Column("name", Label, primary_key=True),
    Column("owner", Label, nullable=False, index=True, comment="id of the principal"),
    Column("sequence", BigInteger, nullable=False, comment="of the last processed entry"),
    Column("time", BigInteger, nullable=False, comment="when the position was last set"),
    comment="consumers of the change feed",
)
