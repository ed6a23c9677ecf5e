"""Series, instances and their versions."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from server.adapters.sql.tables.columns import OF_A_STUDY, Key, Label, key, schema, shard

FRAMES_PER_CHUNK = 1024

series = Table(
    "series",
    schema,
    key("key"),
    Column("partition_key", BigInteger, nullable=False),
    shard(),
    Column("study_key", BigInteger, nullable=False),
    Column("uid", Label, nullable=False),
    Column("modality", Label),
    Column("modality_as_stored", Label, comment="for Modalities in Study"),
    Column("series_number", Label),
    Column("performed_procedure_step_start_date", Label),
    Column("performed_procedure_step_start_time", Label),
    Column("manufacturer_model_name", Label),
    Column("series_description", Label),
    Column("elements", Text, nullable=False, comment="DICOM JSON"),
    Column("instance_count", BigInteger, nullable=False),
    Column("max_version", BigInteger, nullable=False),
    Column("utc_offset", Label, comment="+HHMM or -HHMM"),
    Column("performed_procedure_step_start_date_time", Label, comment="as study_date_time"),
    UniqueConstraint("study_key", "uid"),
    Index(None, "study_key", "key"),
    Index(None, "partition_key", "key"),
    Index(None, "partition_key", "uid"),
    Index(None, "partition_key", "modality", "key"),
    Index(None, "partition_key", "modality", "study_key"),
    Index(None, "partition_key", "series_number", "key"),
    Index(None, "partition_key", "manufacturer_model_name", "key"),
    Index(None, "partition_key", "performed_procedure_step_start_date", "key"),
    info=OF_A_STUDY,
)

series_values = Table(
    "series_values",
    schema,
    Column("series_key", Key, primary_key=True, autoincrement=False),
    Column("keyword", Label, primary_key=True),
    Column("item", Integer, primary_key=True, autoincrement=False, comment="item number in the sequence, from 0"),
    Column("value", Label, primary_key=True),
    shard(),
    Index(None, "keyword", "value"),
    info=OF_A_STUDY,
    comment="search keys of sequence items",
    sqlite_with_rowid=False,
)

instances = Table(
    "instances",
    schema,
    key("version"),
    shard(),
    Column("key", BigInteger, nullable=False, comment="version of the first store; never changes"),
    Column("partition_key", BigInteger, nullable=False),
    Column("study_key", BigInteger, nullable=False),
    Column("series_key", BigInteger, nullable=False),
    Column("uid", Label, nullable=False),
    Column("sop_class_uid", Label, nullable=False),
    Column("instance_number", Label),
    Column("elements", Text, nullable=False, comment="DICOM JSON"),
    Column("damage", Label, comment="damage of the current version, see model/damage.py"),
    UniqueConstraint("partition_key", "uid", "series_key"),
    Index(None, "partition_key", "version"),
    Index(None, "partition_key", "sop_class_uid", "version"),
    Index(None, "study_key", "version"),
    Index(None, "series_key", "version"),
    Index(
        "ix_instances_damaged",
        "study_key",
        "version",
        sqlite_where=text("damage IS NOT NULL"),
        postgresql_where=text("damage IS NOT NULL"),
    ),
    Index(
        "ix_instances_renumbered",
        "key",
        sqlite_where=text("version <> key"),
        postgresql_where=text("version <> key"),
    ),
    info=OF_A_STUDY,
    comment="visible instances; version is the current one",
)

versions = Table(
    "versions",
    schema,
    key("version"),
    shard(),
    Column("instance_key", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("replaced", BigInteger, comment="time at which a newer version became current; NULL: this is the last one"),
    Column("reason", Label, comment="text of the client"),
    Column("author", Label, comment="id of the principal"),
    Column("transfer_syntax_uid", Label, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("crc32c", BigInteger, nullable=False),
    Column("locator", Label, nullable=False),
    Column("number_of_frames", BigInteger, comment="NULL: no pixel data"),
    Column("pixel_offset", BigInteger),
    Column("pixel_length", BigInteger),
    Column("bits_allocated", BigInteger),
    Column("frame_bits", BigInteger),
    Column("is_mislabelled", SmallInteger, comment="1: the VR encoding is not that of the transfer syntax"),
    Column("origin", SmallInteger, comment="see model/lifecycle/version.py; NULL: stored"),
    # Set when it is replaced; until then they are in instances.
    Column("study_key", BigInteger),
    Column("sop_class_uid", Label),
    Column("series_key", BigInteger),
    Column("uid", Label),
    UniqueConstraint("locator"),
    Index(
        "ix_versions_replaced",
        "instance_key",
        "version",
        sqlite_where=text("replaced IS NOT NULL"),
        postgresql_where=text("replaced IS NOT NULL"),
    ),
    Index(
        "ix_versions_of_study",
        "study_key",
        "version",
        sqlite_where=text("study_key IS NOT NULL"),
        postgresql_where=text("study_key IS NOT NULL"),
    ),
    info=OF_A_STUDY,
    comment="all versions of instances",
)


def _of_version(name: str, *columns: Any, **options: Any) -> Table:
    """Return a table whose rows belong to a version, and are deleted or renumbered with it."""
    return Table(
        name,
        schema,
        Column("version", Key, primary_key=True, autoincrement=False),
        *columns,
        shard(),
        ForeignKeyConstraint(["version"], ["versions.version"], ondelete="CASCADE", onupdate="CASCADE"),
        info=OF_A_STUDY,
        **options,
    )


metadata = _of_version(
    "metadata",
    Column("dicom_json", LargeBinary, nullable=False),
    Column("invalid_tags", Text, comment="separated by spaces, see NewInstance; NULL: none"),
)

frame_chunks = _of_version(
    "frame_chunks",
    Column("chunk", Integer, primary_key=True, autoincrement=False),
    Column("records", LargeBinary, nullable=False, comment="of FRAMES_PER_CHUNK frames, see PixelLayout.table"),
)

bulk_elements = _of_version(
    "bulk_elements",
    Column("path", Label, primary_key=True),
    Column("vr", Label, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
