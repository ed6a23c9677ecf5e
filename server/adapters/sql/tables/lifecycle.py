"""Holds, expiries, labels and storage commitments."""

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text, UniqueConstraint, text

from server.adapters.sql.tables.columns import OF_A_STUDY, Key, Label, key, schema, shard

holds = Table(
    "holds",
    schema,
    key("key"),
    shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("study_uid", Label, nullable=False),
    Column("series_uid", Label, nullable=False, comment="empty: the whole study"),
    Column("sop_uid", Label, nullable=False, comment="empty: the whole series"),
    Column("name", Label, nullable=False, comment="empty: the hold without a name"),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False, comment="id of the principal"),
    Column("time", BigInteger, nullable=False),
    UniqueConstraint("partition_key", "study_uid", "series_uid", "sop_uid", "name"),
    info=OF_A_STUDY,
    comment="by UID, because they also apply to instances that are stored later",
)

expiries = Table(
    "expiries",
    schema,
    key("study_key"),
    shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("study_uid", Label, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("author", Text, nullable=False, comment="id of the principal that set it"),
    Column("time", BigInteger, nullable=False, comment="when it was set"),
    Index(None, "expires", "study_key"),
    info=OF_A_STUDY,
    comment="studies that are deleted at a time",
)

labels = Table(
    "labels",
    schema,
    Column("level", SmallInteger, primary_key=True, autoincrement=False, comment="1: study, 2: series, 3: instance"),
    Column("owner", Key, primary_key=True, autoincrement=False, comment="key of the study, series or instance"),
    Column("name", Label, primary_key=True),
    Column("value", Label, nullable=False),
    Column("partition_key", BigInteger, nullable=False),
    shard(),
    Index(None, "partition_key", "name", "value", "level", "owner"),
    info=OF_A_STUDY,
    comment="labels of studies, series and instances; those of deleted ones remain until their bytes are erased",
    sqlite_with_rowid=False,
)

commitments = Table(
    "commitments",
    schema,
    key("key"),
    Column("partition_key", BigInteger, nullable=False),
    Column("transaction_uid", Label, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("author", Text, nullable=False, comment="id of the principal"),
    Column("request", Text, nullable=False, comment="JSON: the referenced instances"),
    Column("failures", Text, comment="JSON: failure reasons by position of the reference; NULL: not finished"),
    UniqueConstraint("partition_key", "transaction_uid"),
    Index(None, "created"),
    Index(
        "ix_commitments_unfinished",
        "key",
        sqlite_where=text("failures IS NULL"),
        postgresql_where=text("failures IS NULL"),
    ),
    comment="storage commitment requests and their results",
)
