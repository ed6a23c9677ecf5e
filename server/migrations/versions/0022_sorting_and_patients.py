"""Indexes for sorting, the issuer of patient IDs, and the numbers of series and instances of each partition.

Revision 0022, after 0021. Imports no module of this project, because migrations must not change later.
"""

import json
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_INDEXED = {"study_description": 50, "referring_physician_name_1": 50}
"""Indexed columns, and the number of studies with equal values, for the planner of SQLite."""

_ISSUER = "00100021"
_AT_ONCE = 500
_MAX_TEXT_LENGTH = 512
_COUNTS = """
INSERT INTO partition_usage (partition_key, shard, stored_bytes, series, instances)
SELECT partition_key, shard, 0, sum(series_count), sum(instance_count) FROM studies WHERE true
GROUP BY partition_key, shard
ON CONFLICT (partition_key, shard) DO UPDATE SET series = excluded.series, instances = excluded.instances
"""


def upgrade() -> None:
    """Add columns and indexes. Code before this revision would not count series and instances."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    for name in ("series", "instances"):
        column: sa.Column[int] = sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        op.add_column("partition_usage", column)
    op.execute(_COUNTS)
    for table in ("studies", "deleted_studies"):
        op.add_column(table, sa.Column("issuer_of_patient_id", label))
        _fill(table, is_postgresql)
    for name in _INDEXED:
        op.create_index(f"ix_studies_partition_key_{name}_key", "studies", ["partition_key", name, "key"])
    if not is_postgresql:
        statistics = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.bulk_insert(
            statistics,
            [
                {
                    "tbl": "studies",
                    "idx": f"ix_studies_partition_key_{name}_key",
                    "stat": f"5000 5000 {same} 1 noskipscan",
                }
                for name, same in _INDEXED.items()
            ],
        )


def _fill(table: str, is_postgresql: bool) -> None:
    """Set the issuer from the metadata of the newest instance of each study."""
    connection = op.get_bind()
    has_issuer = (
        f"position('{_ISSUER}'::bytea in dicom_json) > 0" if is_postgresql else f"instr(dicom_json, '{_ISSUER}')"
    )
    page = sa.text(
        f"SELECT key, elements, dicom_json FROM {table} JOIN metadata ON version = max_version "  # noqa: S608
        f"WHERE key > :after AND {has_issuer} ORDER BY key LIMIT {_AT_ONCE}"
    )
    change = sa.text(
        f"UPDATE {table} SET issuer_of_patient_id = :issuer, elements = :elements WHERE key = :key"  # noqa: S608
    )
    after = -1
    while rows := connection.execute(page, {"after": after}).all():
        after = rows[-1].key
        for key, elements, dicom_json in rows:
            element = json.loads(bytes(dicom_json)).get(_ISSUER) or {}
            issuer = _normal((element.get("Value") or [""])[0])
            if issuer:
                line = f'"{_ISSUER}":{json.dumps(element, ensure_ascii=False, separators=(",", ":"))}'
                lines = "\n".join(sorted([*filter(None, elements.split("\n")), line]))
                connection.execute(change, {"issuer": issuer, "elements": lines, "key": key})


def _normal(value: object) -> str:
    """Return a value as it is compared in searches."""
    composed = unicodedata.normalize("NFC", str(value or "").strip(" \0"))
    folded = unicodedata.normalize("NFC", composed.casefold()).strip(" \0")
    return folded[:_MAX_TEXT_LENGTH].replace("\0", " ")


def downgrade() -> None:
    """Remove columns and indexes; the issuers remain among the return keys."""
    for name in _INDEXED:
        op.drop_index(f"ix_studies_partition_key_{name}_key", "studies")
        if op.get_bind().dialect.name == "sqlite":
            op.execute(f"DELETE FROM sqlite_stat1 WHERE idx = 'ix_studies_partition_key_{name}_key'")  # noqa: S608
    for table in ("studies", "deleted_studies"):
        op.drop_column(table, "issuer_of_patient_id")
    for name in ("series", "instances"):
        op.drop_column("partition_usage", name)
