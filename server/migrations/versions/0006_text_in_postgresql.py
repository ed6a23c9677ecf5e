"""Find text within text on every PostgreSQL, and series and instances by what they are.

Revision 0006, after 0005. Imports nothing of ours: the past does not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TRIGRAMS = """
CREATE FUNCTION dicomstore_trigrams(parts text[]) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
SELECT array_to_tsvector(coalesce(array_agg(DISTINCT left(part, 1) || substr(part, start, 3)), '{}'))
FROM unnest(parts) AS part, generate_series(2, length(part) - 2) AS start $$
"""
TEXT_INDEX = """
CREATE INDEX ix_studies_text ON studies USING gin (dicomstore_trigrams(ARRAY[
    'p' || patient_name_1, 'p' || patient_name_2, 'p' || patient_name_3,
    'r' || referring_physician_name_1, 'r' || referring_physician_name_2, 'r' || referring_physician_name_3,
    'i' || patient_id, 'a' || accession_number, 'd' || study_description])) WITH (gin_pending_list_limit = 256)
"""
INDEXES = {
    "ix_series_partition_key_modality_study_key": ("series", ["partition_key", "modality", "study_key"]),
    "ix_series_partition_key_series_number_key": ("series", ["partition_key", "series_number", "key"]),
    "ix_series_partition_key_manufacturer_model_name_key": (
        "series",
        ["partition_key", "manufacturer_model_name", "key"],
    ),
    "ix_instances_partition_key_sop_class_uid_version": ("instances", ["partition_key", "sop_class_uid", "version"]),
}
# Rows of a table, then how many of them share the first column of an index, the first two, and so on.
STATISTICS = {
    "ix_series_partition_key_modality_study_key": "20000 20000 2000 3 noskipscan",
    "ix_series_partition_key_series_number_key": "20000 20000 1000 1 noskipscan",
    "ix_series_partition_key_manufacturer_model_name_key": "20000 20000 1000 1 noskipscan",
    "ix_instances_partition_key_sop_class_uid_version": "1000000 1000000 100000 1 noskipscan",
}


def upgrade() -> None:
    """Add the indexes. An earlier program that still runs keeps them in step without knowing."""
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)
    if op.get_bind().dialect.name == "sqlite":
        described = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        rows = [{"tbl": INDEXES[name][0], "idx": name, "stat": stat} for name, stat in STATISTICS.items()]
        op.bulk_insert(described, rows)
    else:
        op.execute("DROP INDEX IF EXISTS ix_studies_text")  # that of the extension pg_trgm, where there was one
        op.execute(TRIGRAMS)
        op.execute(TEXT_INDEX)


def downgrade() -> None:
    """Take them away again. Without the extension's index, text within text is found by reading all studies."""
    if op.get_bind().dialect.name == "sqlite":
        names = ", ".join(f"'{name}'" for name in INDEXES)
        op.execute(f"DELETE FROM sqlite_stat1 WHERE idx IN ({names})")  # noqa: S608 - our names
    else:
        op.execute("DROP INDEX ix_studies_text")
        op.execute("DROP FUNCTION dicomstore_trigrams")
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table)
