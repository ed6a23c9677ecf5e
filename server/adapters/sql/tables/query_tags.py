"""Extended query tags and their values."""

from sqlalchemy import BigInteger, Column, Double, Index, SmallInteger, Table, Text, UniqueConstraint, text

from server.adapters.sql.tables.columns import OF_A_STUDY, Key, Label, key, schema, shard

tags = Table(
    "extended_query_tags",
    schema,
    key("key"),
    Column("tag", Label, nullable=False),
    Column("keyword", Label, nullable=False),
    Column("vr", Label, nullable=False),
    Column("private_creator", Label, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("query_status", SmallInteger, nullable=False),
    Column("operation_id", Label, nullable=False),
    Column("last_error", BigInteger, nullable=False, comment="last assigned error number"),
    Column("error_count", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("tag"),
)

tag_values = Table(
    "extended_query_tag_values",
    schema,
    Column("tag_key", Key, primary_key=True, autoincrement=False),
    Column(
        "owner",
        Key,
        primary_key=True,
        autoincrement=False,
        comment="key of a study or series, or version of an instance",
    ),
    Column("part", SmallInteger, primary_key=True, autoincrement=False, comment="see tag_values"),
    Column("text", Label),
    Column("number", Double),
    shard(),
    Index(None, "tag_key", "text", "owner"),
    Index(None, "tag_key", "number", "owner"),
    info=OF_A_STUDY,
    sqlite_with_rowid=False,
)

tag_errors = Table(
    "extended_query_tag_errors",
    schema,
    Column("tag_key", Key, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    shard(),
    Column("partition_key", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("version", "tag_key"),
    Index(None, "tag_key", "partition_key", "number"),
    info=OF_A_STUDY,
    sqlite_with_rowid=False,
)
