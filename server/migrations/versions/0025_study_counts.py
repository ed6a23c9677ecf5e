"""Numbers of series and instances of studies with indexes, for sorting.

Revision 0025, after 0024. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_SORTED_BY = ("series_count", "instance_count")
_FILL = """
INSERT INTO study_counts (study_key, shard, partition_key, series_count, instance_count)
SELECT key, shard, partition_key, series_count, instance_count FROM studies
"""
_FUNCTION = """
CREATE FUNCTION dicomstore_study_counts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO study_counts (study_key, shard, partition_key, series_count, instance_count)
        VALUES (new.key, new.shard, new.partition_key, new.series_count, new.instance_count);
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM study_counts WHERE study_key = old.key AND shard = old.shard;
    ELSE
        UPDATE study_counts SET series_count = new.series_count, instance_count = new.instance_count
        WHERE study_key = new.key AND shard = new.shard;
    END IF;
    RETURN NULL;
END $$
"""
_TRIGGERS = {
    "insert AFTER INSERT ON studies": """
    INSERT INTO study_counts (study_key, shard, partition_key, series_count, instance_count)
    VALUES (new.key, new.shard, new.partition_key, new.series_count, new.instance_count);
""",
    "delete AFTER DELETE ON studies": """
    DELETE FROM study_counts WHERE study_key = old.key;
""",
    "update AFTER UPDATE OF series_count, instance_count ON studies": """
    UPDATE study_counts SET series_count = new.series_count, instance_count = new.instance_count
    WHERE study_key = new.key;
""",
}
"""In SQLite; those of PostgreSQL call the function."""


def upgrade() -> None:
    """Add the table. Its triggers serve code before this revision, too."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    key = sa.BigInteger() if is_postgresql else sa.Integer()
    shard_comment = "hash of partition and study; see core/shards.py"
    op.create_table(
        "study_counts",
        sa.Column("study_key", key, autoincrement=False, nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False, comment=shard_comment),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SORTED_BY),
        sa.PrimaryKeyConstraint(*(("study_key", "shard") if is_postgresql else ("study_key",)), name="pk_study_counts"),
        comment="counts of studies with indexes, for sorting; triggers of studies update it",
    )
    if is_postgresql:
        op.execute(_FUNCTION)
    for when, work in _TRIGGERS.items():
        rest = "FOR EACH ROW EXECUTE FUNCTION dicomstore_study_counts()" if is_postgresql else f"BEGIN {work} END"
        op.execute(f"CREATE TRIGGER study_counts_{when} {rest}")
    # No other transaction can change studies from here on: PostgreSQL has locked them for the triggers.
    op.execute(_FILL)
    for name in _SORTED_BY:
        op.create_index(
            f"ix_study_counts_partition_key_{name}_study_key", "study_counts", ["partition_key", name, "study_key"]
        )
    if not is_postgresql:
        statistics = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.bulk_insert(
            statistics,
            [
                {
                    "tbl": "study_counts",
                    "idx": f"ix_study_counts_partition_key_{name}_study_key",
                    "stat": "5000 5000 500 1 noskipscan",
                }
                for name in _SORTED_BY
            ],
        )


def downgrade() -> None:
    """Remove the table and its triggers."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for name in ("insert", "delete", "update"):
        op.execute(f"DROP TRIGGER study_counts_{name}{' ON studies' if is_postgresql else ''}")
    if is_postgresql:
        op.execute("DROP FUNCTION dicomstore_study_counts()")
    op.drop_table("study_counts")
    if not is_postgresql:
        op.execute("DELETE FROM sqlite_stat1 WHERE tbl = 'study_counts'")
