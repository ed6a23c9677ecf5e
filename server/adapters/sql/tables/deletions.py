"""Deletions, deleted rows, and blobs to be erased."""

from typing import Any

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, text

from server.adapters.sql.tables.columns import OF_A_STUDY, Label, key, schema, shard
from server.adapters.sql.tables.instances import instances, series
from server.adapters.sql.tables.studies import studies

deletions = Table(
    "deletions",
    schema,
    key("key"),
    shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("study_key", BigInteger, nullable=False),
    Column("series_key", BigInteger, comment="NULL: the whole study"),
    Column("study_uid", Label, nullable=False),
    Column("series_uid", Label),
    Column("sop_uid", Label),
    Column("time", BigInteger, nullable=False),
    Column("erase_after", BigInteger, nullable=False),
    Column("reason", Label),
    Column("author", Label),
    Column("instances", BigInteger, nullable=False),
    Column("first_sequence", BigInteger, comment="first sequence of its entries; NULL: not numbered yet"),
    Column("done", BigInteger, nullable=False, comment="number of instances already moved to deleted_instances"),
    Column("is_pending", SmallInteger, comment="1: more instances have to be moved"),
    Index(None, "partition_key", "study_uid", "key"),
    Index(
        "ix_deletions_pending",
        "is_pending",
        "key",
        sqlite_where=text("is_pending IS NOT NULL"),
        postgresql_where=text("is_pending IS NOT NULL"),
    ),
    info=OF_A_STUDY,
    comment="deletions of studies, series and instances, with their authors",
)


def _deleted(table: Table, *others: Any) -> Table:
    """Return the table for the deleted rows of another table."""
    return Table(
        f"deleted_{table.name}",
        schema,
        *(
            Column(
                column.name, column.type, primary_key=column.primary_key, nullable=column.nullable, autoincrement=False
            )
            for column in table.c
        ),
        *others,
        info=OF_A_STUDY,
    )


deleted_studies = _deleted(studies, Index(None, "partition_key", "uid"))
deleted_series = _deleted(series, Index(None, "study_key", "uid"))
deleted_instances = _deleted(
    instances,
    Column("deletion_key", BigInteger, nullable=False),
    Column("erase_after", BigInteger, nullable=False),
    Column("erase_author", Label, comment="principal that ended the retention time after the deletion"),
    Column("erase_reason", Label, comment="reason for ending the retention time"),
    Index(None, "erase_after", "version"),
    Index(None, "study_key", "version"),
    Index(None, "series_key", "version"),
    Index(None, "deletion_key"),
    Index(None, "key"),
    Index(None, "partition_key", "uid"),
)

erasures = Table(
    "erasures",
    schema,
    Column("locator", Label, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("erase_after", BigInteger, nullable=False),
    Index(None, "erase_after", "version"),
    comment="old locators of moved blobs, to be erased",
    sqlite_with_rowid=False,
)
