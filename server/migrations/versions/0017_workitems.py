"""Workitems and the values of their search keys.

Revision 0017, after 0016. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_STATISTICS = {
    "workitems": {
        "sqlite_autoindex_workitems_1": "100000 100000 1",
        "ix_workitems_partition_key_key": "100000 100000 1",
    },
    "workitem_values": {
        "ix_workitem_values_partition_key_keyword_text_part_workitem_key": "2000000 2000000 100000 20 20 1",
    },
}
"""As in the baseline: fixed numbers, so that query plans do not depend on the stored data."""


def upgrade() -> None:
    """Create the tables. The release before this one does not use them."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "workitems",
        sa.Column("key", key, autoincrement=False, nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        sa.Column("uid", label, nullable=False),
        sa.Column("state", label, nullable=False),
        sa.Column("lock", label, nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("elements", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_workitems"),
        sa.UniqueConstraint("partition_key", "uid", name="uq_workitems_partition_key_uid"),
    )
    op.create_index("ix_workitems_partition_key_key", "workitems", ["partition_key", "key"])
    op.create_table(
        "workitem_values",
        sa.Column("workitem_key", key, autoincrement=False, nullable=False),
        sa.Column("keyword", label, nullable=False),
        sa.Column("item", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("part", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("text", label, nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("workitem_key", "keyword", "item", "part", "text", name="pk_workitem_values"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_workitem_values_partition_key_keyword_text_part_workitem_key",
        "workitem_values",
        ["partition_key", "keyword", "text", "part", "workitem_key"],
    )
    if is_postgresql:
        op.execute("CREATE SEQUENCE workitem_keys AS BIGINT")
    else:
        op.bulk_insert(
            sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat"))),
            [
                {"tbl": table, "idx": index, "stat": f"{stat} noskipscan"}
                for table, indexes in _STATISTICS.items()
                for index, stat in indexes.items()
            ],
        )


def downgrade() -> None:
    """Remove the tables, and with them all workitems."""
    op.drop_table("workitem_values")
    op.drop_table("workitems")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP SEQUENCE workitem_keys")
    else:
        op.execute("DELETE FROM sqlite_stat1 WHERE tbl IN ('workitems', 'workitem_values')")
