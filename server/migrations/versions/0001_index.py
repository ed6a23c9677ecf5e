"""The index: studies, series, instances, how to read them, and what happened to them.

Revision 0001, the first. Imports nothing of ours: the past does not change.
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create all tables, with the default partition in them."""
    op.create_table(
        "changes",
        sa.Column("sequence", KEY, autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.SmallInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        sa.Column("study_uid", LABEL, nullable=False),
        sa.Column("series_uid", LABEL, nullable=False),
        sa.Column("sop_uid", LABEL, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_changes"),
        comment="kept for ever; names what it is about, since that may be gone",
    )
    op.create_index("ix_changes_time_sequence", "changes", ["time", "sequence"])
    op.create_table(
        "counters",
        sa.Column("id", KEY, autoincrement=False, nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        sa.Column("study_key", sa.BigInteger(), nullable=False),
        sa.Column("series_key", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("change_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_counters"),
        comment="one row: the last of each that was given out",
    )
    op.create_table(
        "erasures",
        sa.Column("locator", LABEL, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("erase_after", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("locator", name="pk_erasures"),
        comment="blobs of deleted instances that still have to be erased",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_erasures_erase_after_version", "erasures", ["erase_after", "version"])
    op.create_table(
        "partitions",
        sa.Column("key", KEY, autoincrement=False, nullable=False),
        sa.Column("name", LABEL, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_partitions"),
        sa.UniqueConstraint("name", name="uq_partitions_name"),
    )
    op.create_table(
        "studies",
        sa.Column("key", KEY, autoincrement=False, nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        sa.Column("uid", LABEL, nullable=False),
        sa.Column("patient_name_1", LABEL),
        sa.Column("patient_name_2", LABEL),
        sa.Column("patient_name_3", LABEL),
        sa.Column("patient_name_words", LABEL),
        sa.Column("patient_id", LABEL),
        sa.Column("patient_birth_date", LABEL),
        sa.Column("accession_number", LABEL),
        sa.Column("referring_physician_name_1", LABEL),
        sa.Column("referring_physician_name_2", LABEL),
        sa.Column("referring_physician_name_3", LABEL),
        sa.Column("referring_physician_name_words", LABEL),
        sa.Column("study_date", LABEL),
        sa.Column("study_time", LABEL),
        sa.Column("study_id", LABEL),
        sa.Column("study_description", LABEL),
        sa.Column("elements", sa.Text(), nullable=False, comment="DICOM JSON"),
        sa.Column("series_count", sa.BigInteger(), nullable=False),
        sa.Column("instance_count", sa.BigInteger(), nullable=False),
        sa.Column("max_version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["partition_key"], ["partitions.key"], name="fk_studies_partition_key"),
        sa.PrimaryKeyConstraint("key", name="pk_studies"),
        sa.UniqueConstraint("partition_key", "uid", name="uq_studies_partition_key_uid"),
    )
    op.create_index(
        "ix_studies_partition_key_accession_number_key", "studies", ["partition_key", "accession_number", "key"]
    )
    op.create_index("ix_studies_partition_key_key", "studies", ["partition_key", "key"])
    op.create_index(
        "ix_studies_partition_key_patient_birth_date_key", "studies", ["partition_key", "patient_birth_date", "key"]
    )
    op.create_index("ix_studies_partition_key_patient_id_key", "studies", ["partition_key", "patient_id", "key"])
    op.create_index(
        "ix_studies_partition_key_patient_name_1_key", "studies", ["partition_key", "patient_name_1", "key"]
    )
    op.create_index(
        "ix_studies_partition_key_patient_name_2_key", "studies", ["partition_key", "patient_name_2", "key"]
    )
    op.create_index(
        "ix_studies_partition_key_patient_name_3_key", "studies", ["partition_key", "patient_name_3", "key"]
    )
    op.create_index("ix_studies_partition_key_study_date_key", "studies", ["partition_key", "study_date", "key"])
    op.create_index("ix_studies_partition_key_study_id_key", "studies", ["partition_key", "study_id", "key"])
    op.create_table(
        "series",
        sa.Column("key", KEY, autoincrement=False, nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        sa.Column("study_key", sa.BigInteger(), nullable=False),
        sa.Column("uid", LABEL, nullable=False),
        sa.Column("modality", LABEL),
        sa.Column("modality_as_stored", LABEL, nullable=True, comment="for Modalities in Study"),
        sa.Column("series_number", LABEL),
        sa.Column("performed_procedure_step_start_date", LABEL),
        sa.Column("performed_procedure_step_start_time", LABEL),
        sa.Column("manufacturer_model_name", LABEL),
        sa.Column("series_description", LABEL),
        sa.Column("elements", sa.Text(), nullable=False, comment="DICOM JSON"),
        sa.Column("instance_count", sa.BigInteger(), nullable=False),
        sa.Column("max_version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["study_key"], ["studies.key"], name="fk_series_study_key"),
        sa.PrimaryKeyConstraint("key", name="pk_series"),
        sa.UniqueConstraint("study_key", "uid", name="uq_series_study_key_uid"),
    )
    op.create_index("ix_series_partition_key_key", "series", ["partition_key", "key"])
    op.create_index("ix_series_partition_key_modality_key", "series", ["partition_key", "modality", "key"])
    op.create_index(
        "ix_series_partition_key_performed_procedure_step_start_date_key",
        "series",
        ["partition_key", "performed_procedure_step_start_date", "key"],
    )
    op.create_index("ix_series_partition_key_uid", "series", ["partition_key", "uid"])
    op.create_index("ix_series_study_key_key", "series", ["study_key", "key"])
    op.create_table(
        "instances",
        sa.Column("version", KEY, autoincrement=False, nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        sa.Column("study_key", sa.BigInteger(), nullable=False),
        sa.Column("series_key", sa.BigInteger(), nullable=False),
        sa.Column("uid", LABEL, nullable=False),
        sa.Column("sop_class_uid", LABEL, nullable=False),
        sa.Column("transfer_syntax_uid", LABEL, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("crc32c", sa.BigInteger(), nullable=False),
        sa.Column("locator", LABEL, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("instance_number", LABEL),
        sa.Column("elements", sa.Text(), nullable=False, comment="DICOM JSON"),
        sa.Column("number_of_frames", sa.BigInteger(), nullable=True, comment="NULL: no pixel data"),
        sa.Column("pixel_offset", sa.BigInteger()),
        sa.Column("pixel_length", sa.BigInteger()),
        sa.Column("bits_allocated", sa.BigInteger()),
        sa.Column("frame_bits", sa.BigInteger()),
        sa.ForeignKeyConstraint(["series_key"], ["series.key"], name="fk_instances_series_key"),
        sa.PrimaryKeyConstraint("version", name="pk_instances"),
        sa.UniqueConstraint("locator", name="uq_instances_locator"),
        sa.UniqueConstraint("partition_key", "uid", "series_key", name="uq_instances_partition_key_uid_series_key"),
    )
    op.create_index("ix_instances_partition_key_version", "instances", ["partition_key", "version"])
    op.create_index("ix_instances_series_key_version", "instances", ["series_key", "version"])
    op.create_index("ix_instances_study_key_version", "instances", ["study_key", "version"])
    op.create_table(
        "series_values",
        sa.Column("series_key", KEY, autoincrement=False, nullable=False),
        sa.Column("keyword", LABEL, nullable=False),
        sa.Column("value", LABEL, nullable=False),
        sa.ForeignKeyConstraint(["series_key"], ["series.key"], name="fk_series_values_series_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("series_key", "keyword", "value", name="pk_series_values"),
        comment="search keys that may have several values, each of which counts",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_series_values_keyword_value", "series_values", ["keyword", "value"])
    op.create_table(
        "bulk_elements",
        sa.Column("version", KEY, autoincrement=False, nullable=False),
        sa.Column("path", LABEL, nullable=False),
        sa.Column("vr", LABEL, nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"], ["instances.version"], name="fk_bulk_elements_version", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("version", "path", name="pk_bulk_elements"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "frame_chunks",
        sa.Column("version", KEY, autoincrement=False, nullable=False),
        sa.Column("chunk", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "records", sa.LargeBinary(), nullable=False, comment="of FRAMES_PER_CHUNK frames, see PixelLayout.table"
        ),
        sa.ForeignKeyConstraint(["version"], ["instances.version"], name="fk_frame_chunks_version", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("version", "chunk", name="pk_frame_chunks"),
    )
    op.create_table(
        "metadata",
        sa.Column("version", KEY, autoincrement=False, nullable=False),
        sa.Column("dicom_json", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["version"], ["instances.version"], name="fk_metadata_version", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("version", name="pk_metadata"),
    )
    _fill()
    if op.get_bind().dialect.name == "sqlite":
        _describe_a_typical_archive()


def _fill() -> None:
    counters = sa.table(
        "counters",
        *map(sa.column, ("id", "partition_key", "study_key", "series_key", "version", "sequence", "change_time")),
    )
    op.bulk_insert(
        counters,
        [
            {
                "id": 1,
                "partition_key": 1,
                "study_key": 0,
                "series_key": 0,
                "version": 0,
                "sequence": 0,
                "change_time": 0,
            }
        ],
    )
    partitions = sa.table("partitions", *map(sa.column, ("key", "name", "created")))
    op.bulk_insert(partitions, [{"key": 1, "name": "Microsoft.Default", "created": time.time_ns() // 1000}])


# Rows of a table, then how many of them share the first column of an index, the first two, and so on.
_STATISTICS = {
    "studies": {
        "sqlite_autoindex_studies_1": "5000 5000 1",
        "ix_studies_partition_key_key": "5000 5000 1",
        "ix_studies_partition_key_patient_id_key": "5000 5000 2 1",
        "ix_studies_partition_key_accession_number_key": "5000 5000 1 1",
        "ix_studies_partition_key_study_date_key": "5000 5000 5 1",
        "ix_studies_partition_key_patient_birth_date_key": "5000 5000 2 1",
        "ix_studies_partition_key_study_id_key": "5000 5000 2 1",
        "ix_studies_partition_key_patient_name_1_key": "5000 5000 2 1",
        "ix_studies_partition_key_patient_name_2_key": "5000 5000 2 1",
        "ix_studies_partition_key_patient_name_3_key": "5000 5000 2 1",
    },
    "series": {
        "sqlite_autoindex_series_1": "20000 4 1",
        "ix_series_study_key_key": "20000 4 1",
        "ix_series_partition_key_key": "20000 20000 1",
        "ix_series_partition_key_uid": "20000 20000 1",
        "ix_series_partition_key_modality_key": "20000 20000 2000 1",
        "ix_series_partition_key_performed_procedure_step_start_date_key": "20000 20000 20 1",
    },
    "instances": {
        "sqlite_autoindex_instances_1": "1000000 1",  # locator
        "sqlite_autoindex_instances_2": "1000000 1000000 1 1",  # partition_key, uid, series_key
        "ix_instances_partition_key_version": "1000000 1000000 1",
        "ix_instances_study_key_version": "1000000 200 1",
        "ix_instances_series_key_version": "1000000 50 1",
    },
}


def _describe_a_typical_archive() -> None:
    """Tell SQLite's planner what to expect; left alone, it takes a partition for ten rows (sqlite.org/fileformat2).

    Fixed numbers keep plans from changing with what happens to be stored. PostgreSQL looks for itself.
    """
    op.execute("ANALYZE")  # makes the table
    op.execute("DELETE FROM sqlite_stat1")
    op.bulk_insert(
        sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat"))),
        [
            {"tbl": table, "idx": index, "stat": stat}
            for table, indexes in _STATISTICS.items()
            for index, stat in indexes.items()
        ],
    )


def downgrade() -> None:
    """Drop all tables."""
    op.drop_table("metadata")
    op.drop_table("frame_chunks")
    op.drop_table("bulk_elements")
    op.drop_table("series_values")
    op.drop_table("instances")
    op.drop_table("series")
    op.drop_table("studies")
    op.drop_table("partitions")
    op.drop_table("erasures")
    op.drop_table("counters")
    op.drop_table("changes")
